// A small JSON service of users and events with Hono: routes, middleware, JSON in and out, a response that is streamed.

import { Hono, type Context } from 'hono';
import { bodyLimit } from 'hono/body-limit';
import { HTTPException } from 'hono/http-exception';
import { requestId } from 'hono/request-id';
import { streamText } from 'hono/streaming';

// What a user may be long in JSON.
const LARGEST = 64 << 10;

interface User {
  id: number;
  name: string;
}

const users = new Hono();

users.get('/:id{[0-9]+}', (c) => {
  const id = Number(c.req.param('id'));
  return c.json<User>({ id, name: `user ${id}` });
});

users.all('/:id{[0-9]+}', only('GET'));

users.post(
  '/',
  bodyLimit({ maxSize: LARGEST, onError: (c) => problem(c, 413, `a user is ${LARGEST} bytes at most`) }),
  async (c) => {
    const user: unknown = await c.req.json().catch(() => {
      throw new HTTPException(400, { message: 'the body is not JSON' });
    });
    if (!isNamed(user)) {
      return problem(c, 400, 'a user has a name');
    }
    return c.json<User>({ id: 8, name: user.name }, 201);
  },
);

users.all('/', only('POST'));

const app = new Hono();

// Every response has the request's `x-request-id`, or a new one where it has none that is fit for logs.
app.use(requestId());

app.get('/', (c) => c.text('try /users/7 and /events\n'));
app.all('/', only('GET'));

app.route('/users', users);

// Five lines, one every 200 ms, each of which reaches the client when it is made.
app.get('/events', (c) =>
  streamText(c, async (stream) => {
    for (let number = 1; number <= 5 && !stream.aborted; number += 1) {
      await stream.sleep(200);
      await stream.writeln(`event ${number}`);
    }
  }),
);
app.all('/events', only('GET'));

app.notFound((c) => problem(c, 404, 'no such path'));

app.onError((error, c) => {
  if (error instanceof HTTPException) {
    return problem(c, error.status, error.message);
  }
  // The log is for us, the client has no use for it.
  console.error(error.stack ?? error);
  return problem(c, 500, 'internal error');
});

function isNamed(value: unknown): value is { name: string } {
  return (
    typeof value === 'object' && value !== null && 'name' in value && typeof value.name === 'string' && value.name !== ''
  );
}

// The path exists, the method is another one.
function only(method: string) {
  return (c: Context) => {
    c.header('allow', method);
    return problem(c, 405, 'method not allowed');
  };
}

function problem(c: Context, status: HTTPException['status'], error: string) {
  return c.json({ error }, status);
}

export default app;
