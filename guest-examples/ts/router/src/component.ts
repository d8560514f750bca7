// What the component exports. The application is in `app.ts`, which knows nothing of components and runs in Node as well.
// What joins it to wasi:http, and the interfaces of that, are those of the starter next door.

import { serve } from '../../starter/src/wasi-http.js';
import app from './app';

// Hono's router prepares itself at the first match. This one is made when the component is built, so that no fresh instance
// has it before it.
app.router.match('GET', '/');

// The request alone: Hono would pass on a second argument to handlers as their environment.
export const incomingHandler = serve((request) => app.fetch(request));
