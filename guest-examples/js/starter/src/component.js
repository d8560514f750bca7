// What the component exports. The application is in `app.js`, which knows nothing of components and runs in Node as well.

import { handle } from './app.js';
import { fetch, serve } from './wasi-http.js';

globalThis.fetch = fetch;

export const incomingHandler = serve(handle);
