// What the component exports. The application is in `app.ts`, which knows nothing of components and runs in Node as well.

import app from './app';
import { fetch, serve } from './wasi-http.js';

globalThis.fetch = fetch;

// The request alone: Hono would pass on a second argument to handlers as their environment.
export const incomingHandler = serve((request) => app.fetch(request));
