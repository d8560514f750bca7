// A small JSON service: routes, JSON in and out, a response that is streamed, a request to another server.

const ROUTES = [
  ['GET', /^\/$/, index],
  ['GET', /^\/users\/([^/]+)$/, showUser],
  ['POST', /^\/users$/, addUser],
  ['GET', /^\/events$/, events],
  ['GET', /^\/fetch$/, relay],
  ['POST', /^\/echo$/, echo],
];

/** Answers one request. What is thrown becomes a 500, and its message stands in the log. */
export async function handle(request) {
  const url = new URL(request.url);
  // The path may exist, and the method be another one.
  const allowed = [];
  for (const [method, pattern, answer] of ROUTES) {
    const match = pattern.exec(url.pathname);
    if (match && method === request.method) {
      return answer(request, url, ...match.slice(1));
    }
    if (match) {
      allowed.push(method);
    }
  }
  return allowed.length > 0
    ? problem(405, 'method not allowed', { allow: allowed.join(', ') })
    : problem(404, 'no such path');
}

function index() {
  return new Response('Hello from starter\n', { headers: { 'content-type': 'text/plain' } });
}

function showUser(request, url, id) {
  if (!/^\d+$/.test(id)) {
    return problem(404, "a user's id is a number");
  }
  return Response.json({ id: Number(id), name: `user ${id}` });
}

async function addUser(request) {
  let user;
  try {
    user = await request.json();
  } catch {
    return problem(400, 'the body is not JSON');
  }
  if (typeof user?.name !== 'string') {
    return problem(400, 'a user has a name');
  }
  return Response.json({ id: 8, name: user.name }, { status: 201 });
}

/** Five lines, one every 200 ms, each of which reaches the client when it is made. */
function events() {
  const encoder = new TextEncoder();
  let number = 0;
  const lines = new ReadableStream({
    // Called when the line before is on its way, so a client that is slow, or gone, stops the work.
    async pull(controller) {
      await new Promise((resolve) => setTimeout(resolve, 200));
      number += 1;
      controller.enqueue(encoder.encode(`event ${number}\n`));
      if (number === 5) {
        controller.close();
      }
    },
  });
  return new Response(lines, { headers: { 'content-type': 'text/plain' } });
}

/**
 * Passes on what another server answers.
 *
 * The client names the server here. That is fine for a try, because `allow-outbound` in wasmcluster.toml bounds what can
 * be reached; an application had better know its servers.
 */
async function relay(request, url) {
  const target = url.searchParams.get('url') ?? '';
  if (!/^https?:\/\//.test(target)) {
    return problem(400, 'give an address: /fetch?url=http://...');
  }
  try {
    const answer = await fetch(target);
    const type = answer.headers.get('content-type') ?? 'application/octet-stream';
    return new Response(answer.body, { status: answer.status, headers: { 'content-type': type } });
  } catch (error) {
    return problem(502, `cannot fetch ${target}: ${error.message}`);
  }
}

/** Sends the body back as it comes. */
function echo(request) {
  const type = request.headers.get('content-type') ?? 'application/octet-stream';
  return new Response(request.body, { headers: { 'content-type': type } });
}

function problem(status, error, headers = {}) {
  return Response.json({ error }, { status, headers });
}
