// A small JSON service with Hono: routes, JSON in and out, a response that is streamed, a request to another server.

import { Hono } from 'hono';
import { HTTPException } from 'hono/http-exception';
import { streamText } from 'hono/streaming';

interface User {
  id: number;
  name: string;
}

const app = new Hono();

app.get('/', (c) => c.text('Hello from starter\n'));

app.get('/users/:id{[0-9]+}', (c) => {
  const id = Number(c.req.param('id'));
  return c.json<User>({ id, name: `user ${id}` });
});

app.post('/users', async (c) => {
  const user: unknown = await c.req.json().catch(() => {
    throw problem(400, 'the body is not JSON');
  });
  if (!isNamed(user)) {
    throw problem(400, 'a user has a name');
  }
  return c.json<User>({ id: 8, name: user.name }, 201);
});

// Five lines, one every 200 ms, each of which reaches the client when it is made.
app.get('/events', (c) =>
  streamText(c, async (stream) => {
    for (let number = 1; number <= 5 && !stream.aborted; number += 1) {
      await stream.sleep(200);
      await stream.writeln(`event ${number}`);
    }
  }),
);

// Passes on what another server answers. The client names the server here. That is fine for a try, because
// `allow-outbound` in wasmcluster.toml bounds what can be reached; an application had better know its servers.
app.get('/fetch', async (c) => {
  const target = c.req.query('url') ?? '';
  if (!/^https?:\/\//.test(target)) {
    throw problem(400, 'give an address: /fetch?url=http://...');
  }
  const answer = await fetch(target).catch((error: Error) => {
    throw problem(502, `cannot fetch ${target}: ${error.message}`);
  });
  const type = answer.headers.get('content-type') ?? 'application/octet-stream';
  return new Response(answer.body, { status: answer.status, headers: { 'content-type': type } });
});

// Sends the body back as it comes.
app.post('/echo', (c) => {
  const type = c.req.header('content-type') ?? 'application/octet-stream';
  return new Response(c.req.raw.body, { headers: { 'content-type': type } });
});

app.notFound((c) => c.json({ error: 'no such path' }, 404));

app.onError((error, c) => {
  if (error instanceof HTTPException) {
    return c.json({ error: error.message }, error.status);
  }
  // The log is for us, the client has no use for it.
  console.error(error.stack ?? error);
  return c.json({ error: 'internal error' }, 500);
});

function isNamed(value: unknown): value is { name: string } {
  return typeof value === 'object' && value !== null && 'name' in value && typeof value.name === 'string';
}

function problem(status: 400 | 502, message: string): HTTPException {
  return new HTTPException(status, { message });
}

export default app;
