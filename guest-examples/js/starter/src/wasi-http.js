// Lets a function from `Request` to `Response` answer the requests of a component, and gives it a `fetch`.
//
// JavaScript's engine for components has both, but not for instances that serve more than one request. As of
// componentize-js 0.23 its `fetch` event fails when it comes a second time, and neither of them ever gives back the handles
// that it takes from the host for every few KB of a body: after 80 MB there are too many. So this file goes below both, to
// the interfaces of `wasi:http`, and leaves nothing behind when a request ends.
//
// There is nothing in it that belongs to the application.

import { subscribeDuration } from 'wasi:clocks/monotonic-clock@0.2.10';
import { handle } from 'wasi:http/outgoing-handler@0.2.10';
import { Fields, OutgoingBody, OutgoingRequest, OutgoingResponse, ResponseOutparam } from 'wasi:http/types@0.2.10';
import { poll } from 'wasi:io/poll@0.2.10';

// Bodies, streams and so on are resources of the host. Each is given back when it is no longer needed, and before what
// it came from: a stream before its body. The host ends a request that does it the other way round.
const drop = Symbol.dispose ?? Symbol.for('dispose');

// How much of a body is asked for at once.
const CHUNK = 65536n;

// Headers that are about one connection. WASI refuses them; a response that was fetched elsewhere may have some.
const OF_CONNECTIONS = new Set([
  'connection',
  'host',
  'http2-settings',
  'keep-alive',
  'proxy-authenticate',
  'proxy-authorization',
  'proxy-connection',
  'transfer-encoding',
  'upgrade',
]);

const encoder = new TextEncoder();

const WITHOUT_BODY = new Set([101, 204, 205, 304]);

// What is to be given back at the latest when the request ends. An instance serves one at a time.
const open = new Set();

// The bodies that come in, by their streams.
const incomings = new WeakMap();

/**
 * Makes a component's request handler, to be exported as `incomingHandler`.
 *
 * What `answer` throws is logged and becomes a 500. The request ends with the response: a promise that is left pending
 * then, or a timer, may never go on.
 */
export function serve(answer) {
  return {
    async handle(incoming, out) {
      try {
        await send(await respond(answer, incoming), out);
      } finally {
        for (const resource of open) {
          resource.end();
        }
        incoming[drop]();
      }
    },
  };
}

/** Calls the application. Gives the response and, made from it, the response of WASI. */
async function respond(answer, incoming) {
  let request;
  try {
    request = requestOf(incoming);
  } catch (error) {
    // The host may let pass what `URL` and `Request` refuse.
    return prepare(new Response(`bad request: ${error.message}\n`, { status: 400 }));
  }
  try {
    return prepare(await answer(request));
  } catch (error) {
    log('the request failed', error);
    return prepare(new Response('internal error\n', { status: 500 }));
  }
}

function requestOf(incoming) {
  const method = nameOf(incoming.method());
  const scheme = nameOf(incoming.scheme() ?? { tag: 'HTTP' }).toLowerCase();
  const url = new URL(`${scheme}://${incoming.authority() ?? 'localhost'}${incoming.pathWithQuery() ?? '/'}`);
  const init = { method, headers: headersOf(incoming) };
  // A `Request` cannot have a body with these two.
  if (method !== 'GET' && method !== 'HEAD') {
    init.body = new Incoming(incoming).content;
    init.duplex = 'half';
  }
  return new Request(url, init);
}

/** Makes the head of the response, so that one that cannot be sent is found before anything is. */
function prepare(response) {
  if (!(response instanceof Response)) {
    throw new TypeError('the handler gave no Response');
  }
  const outgoing = new OutgoingResponse(fieldsOf(response.headers));
  if (response.status !== 200) {
    outgoing.setStatusCode(response.status);
  }
  return { outgoing, content: response.body };
}

/** Sends head and body, each part of the body when it is made. */
async function send({ outgoing, content }, out) {
  const body = outgoing.body();
  ResponseOutparam.set(out, { tag: 'ok', val: outgoing });
  try {
    await new Outgoing(body).send(content);
  } catch (error) {
    // A client that has gone away is no fault of ours.
    if (!isClosed(error)) {
      log('the response was cut short', error);
    }
  }
}

/** What the web's `fetch` is, except that it does not follow redirects. */
export async function fetch(input, init) {
  const request = new Request(input, init);
  const signal = init?.signal ?? request.signal;
  signal?.throwIfAborted();

  const url = new URL(request.url);
  let future;
  try {
    const outgoing = new OutgoingRequest(fieldsOf(request.headers));
    outgoing.setMethod({ tag: 'other', val: request.method });
    outgoing.setScheme({ tag: url.protocol === 'https:' ? 'HTTPS' : 'HTTP' });
    outgoing.setAuthority(url.host);
    outgoing.setPathWithQuery(url.pathname + url.search);
    const body = new Outgoing(outgoing.body());
    future = new Future(handle(outgoing));
    // The answer may come before all is sent. Who does not want the rest has said so with it.
    body.send(request.body).catch(() => {});
  } catch (error) {
    throw new TypeError(reasonOf(error));
  }
  const answer = await future.response(signal);

  const status = answer.status();
  const headers = headersOf(answer);
  const content = new Incoming(answer, answer).content;
  return new Response(WITHOUT_BODY.has(status) ? null : content, { status, headers });
}

/** The response to a request that was sent. */
class Future {
  constructor(future) {
    this.future = future;
    this.pollable = future.subscribe();
    open.add(this);
  }

  async response(signal) {
    try {
      await ready(this.pollable, signal);
      const { val: result } = this.future.get();
      if (result.tag === 'err') {
        throw new TypeError(reasonOf({ payload: result.val }));
      }
      return result.val;
    } finally {
      this.end();
    }
  }

  end() {
    if (open.delete(this)) {
      forget(this.pollable);
      this.future[drop]();
    }
  }
}

/** A body that comes in. It is read as it is asked for. `owner` is to be given back with it. */
class Incoming {
  constructor(message, owner) {
    this.owner = owner;
    this.body = message.consume();
    this.stream = this.body.stream();
    open.add(this);
    this.content = new ReadableStream(
      { pull: (controller) => this.pull(controller), cancel: () => this.end() },
      // Nothing is read ahead.
      { highWaterMark: 0 },
    );
    incomings.set(this.content, this);
  }

  async pull(controller) {
    try {
      for (;;) {
        if (!open.has(this)) {
          throw new TypeError('the request is over');
        }
        const chunk = this.stream.read(CHUNK);
        if (chunk.length > 0) {
          // What WASI's functions return belongs to another realm, where `Uint8Array` is another class than ours.
          controller.enqueue(new Uint8Array(chunk.buffer, chunk.byteOffset, chunk.length));
          return;
        }
        await this.ready();
      }
    } catch (error) {
      if (isClosed(error)) {
        controller.close();
      } else {
        controller.error(new TypeError(`the body broke off: ${reasonOf(error)}`));
      }
      this.end();
    }
  }

  ready() {
    this.pollable ??= this.stream.subscribe();
    return ready(this.pollable);
  }

  end() {
    if (open.delete(this)) {
      forget(this.pollable);
      this.stream[drop]();
      this.body[drop]();
      this.owner?.[drop]();
    }
  }
}

/** A body that goes out. */
class Outgoing {
  constructor(body) {
    this.body = body;
    this.stream = body.write();
    open.add(this);
  }

  /** Sends all of `content`, which may be null. */
  async send(content) {
    const incoming = incomings.get(content);
    const passes = open.has(incoming) && !content.locked;
    const reader = passes ? undefined : content?.getReader();
    try {
      if (passes) {
        await this.pass(incoming);
      }
      while (reader) {
        const { done, value } = await reader.read();
        if (done) {
          break;
        }
        await this.write(value);
      }
      this.close();
      // Without this whoever reads is told that the body was cut short.
      OutgoingBody.finish(this.body);
    } catch (error) {
      // Whoever makes the content learns that nobody wants it. Not waited for: it may be what does not end.
      reader?.cancel(error).catch(() => {});
      incoming?.end();
      this.end();
      throw error;
    }
  }

  /**
   * Sends what comes in without taking it to JavaScript.
   *
   * That is quick, and it has no bound: what JavaScript writes stays in the memory of the instance until the request ends.
   */
  async pass(incoming) {
    for (;;) {
      const room = this.stream.checkWrite();
      if (room === 0n) {
        await this.ready();
        continue;
      }
      let passed;
      try {
        passed = this.stream.splice(incoming.stream, room);
      } catch (error) {
        // Which of the two has come to its end? If it is this one, this says so.
        this.stream.checkWrite();
        if (isClosed(error)) {
          return;
        }
        throw error;
      }
      if (passed === 0n) {
        await incoming.ready();
      }
    }
  }

  async write(chunk) {
    if (!ArrayBuffer.isView(chunk)) {
      throw new TypeError('a body consists of Uint8Arrays');
    }
    for (let at = 0; at < chunk.length; ) {
      if (!open.has(this)) {
        throw new TypeError('the request is over');
      }
      // Writing more than the host has room for is an error. No room means: whoever reads is slower than we are.
      const room = Number(this.stream.checkWrite());
      if (room > 0) {
        const part = chunk.subarray(at, at + room);
        this.stream.write(part);
        at += part.length;
      } else {
        await this.ready();
      }
    }
  }

  ready() {
    this.pollable ??= this.stream.subscribe();
    return ready(this.pollable);
  }

  close() {
    if (!open.delete(this)) {
      throw new TypeError('the request is over');
    }
    forget(this.pollable);
    this.stream[drop]();
  }

  end() {
    if (open.has(this)) {
      this.close();
      this.body[drop]();
    }
  }
}

// What is waited for, each with what to call when it is there.
const awaited = new Map();

/** Waits until `pollable` is ready, or `signal` is aborted. */
function ready(pollable, signal) {
  return new Promise((resolve, reject) => {
    signal?.addEventListener('abort', () => {
      awaited.delete(pollable);
      reject(signal.reason);
    });
    awaited.set(pollable, resolve);
    // The loop runs already where there are others.
    if (awaited.size === 1) {
      wait(1);
    }
  });
}

/** Gives back a pollable, if there is one, that somebody may still wait for. */
function forget(pollable) {
  awaited.delete(pollable);
  pollable?.[drop]();
}

/**
 * Waits in the host, for everything at once.
 *
 * That stops all of JavaScript, and the engine's timers with it. So it is done in slices, and between two of them
 * everything else has its turn; short slices first, for what is about to come, longer ones later.
 */
function wait(milliseconds) {
  setTimeout(() => {
    if (awaited.size === 0) {
      return;
    }
    const pollables = [...awaited.keys()];
    const timer = subscribeDuration(BigInt(milliseconds) * 1_000_000n);
    const found = [...poll([...pollables, timer])].map((index) => pollables[index]).filter(Boolean);
    timer[drop]();
    for (const pollable of found) {
      const resolve = awaited.get(pollable);
      awaited.delete(pollable);
      resolve();
    }
    if (awaited.size > 0) {
      wait(found.length > 0 ? 1 : Math.min(2 * milliseconds, 32));
    }
  }, 0);
}

/** The name in a variant of WIT such as `method`, whose last case is `other` with a name of its own. */
function nameOf(variant) {
  return variant.tag === 'other' ? variant.val : variant.tag.toUpperCase();
}

// Headers are bytes in WASI, and in JavaScript strings with one character for each byte.

function headersOf(message) {
  const headers = new Headers();
  const fields = message.headers();
  for (const [name, value] of fields.entries()) {
    headers.append(name, String.fromCharCode.apply(undefined, value));
  }
  fields[drop]();
  return headers;
}

function fieldsOf(headers) {
  const entries = [];
  for (const [name, value] of headers) {
    if (!OF_CONNECTIONS.has(name.toLowerCase())) {
      entries.push([name, bytesOf(value)]);
    }
  }
  return Fields.fromList(entries);
}

function bytesOf(text) {
  // UTF-8 is right for ASCII, which nearly all headers are, and much quicker.
  const bytes = encoder.encode(text);
  return bytes.length === text.length ? bytes : Uint8Array.from(text, (character) => character.charCodeAt(0));
}

// What a function of WASI returns as its error is thrown, as an `Error` with the value in `payload`.

/** Whether a stream has come to its end: all was read, or nobody reads any more. */
function isClosed(error) {
  return error?.payload?.tag === 'closed';
}

/** An error in words: "connection refused" where WASI has `connection-refused`. */
function reasonOf(error) {
  const { tag, val } = error?.payload ?? {};
  if (tag === undefined) {
    return error?.message ?? String(error);
  }
  if (tag === 'last-operation-failed') {
    const reason = val.toDebugString();
    val[drop]();
    return reason;
  }
  const words = tag.replaceAll('-', ' ');
  return typeof val === 'string' ? `${words}: ${val}` : words;
}

function log(what, error) {
  console.error(`${what}: ${reasonOf(error)}\n${error?.stack ?? ''}`);
}
