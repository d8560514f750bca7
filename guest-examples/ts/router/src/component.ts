// What the component exports. The application is in `app.ts`, which knows nothing of components and runs in Node as well.
// What joins it to wasi:http, and the interfaces of that, are those of the starter next door.

import { serve } from '../../starter/src/wasi-http.js';
import app from './app';

// The request alone: Hono would pass on a second argument to handlers as their environment.
export const incomingHandler = serve((request) => app.fetch(request));
