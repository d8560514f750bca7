/** What a component exports as `incomingHandler`. Only the host calls it. */
export interface IncomingHandler {
  handle(incoming: unknown, out: unknown): Promise<void>;
}

/**
 * Makes a component's request handler.
 *
 * What `answer` throws is logged and becomes a 500. The request ends with the response: a promise that is left pending
 * then, or a timer, may never go on.
 */
export function serve(answer: (request: Request) => Response | Promise<Response>): IncomingHandler;

/** What the web's `fetch` is, except that it does not follow redirects. */
export const fetch: typeof globalThis.fetch;
