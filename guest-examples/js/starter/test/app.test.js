// Tests of the application in Node, whose `Request` and `Response` are those of the component. `npm test` runs them.

import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { test } from 'node:test';

import { handle } from '../src/app.js';

function call(path, init) {
  return handle(new Request(`http://localhost${path}`, init));
}

test('the start page greets', async () => {
  assert.match(await (await call('/')).text(), /^Hello from /);
});

test('a user is shown as JSON', async () => {
  const response = await call('/users/7');
  assert.equal(response.status, 200);
  assert.deepEqual(await response.json(), { id: 7, name: 'user 7' });
});

test('a user is added', async () => {
  const response = await call('/users', { method: 'POST', body: '{"name":"someone"}' });
  assert.equal(response.status, 201);
  assert.deepEqual(await response.json(), { id: 8, name: 'someone' });
});

test('what is not a user is refused', async () => {
  for (const body of ['', '{', 'null', '{"name":7}']) {
    const response = await call('/users', { method: 'POST', body });
    assert.equal(response.status, 400, body);
  }
  assert.equal((await call('/users/seven')).status, 404);
});

test('other paths and methods are refused', async () => {
  assert.equal((await call('/nowhere')).status, 404);
  const response = await call('/users/7', { method: 'DELETE' });
  assert.equal(response.status, 405);
  assert.equal(response.headers.get('allow'), 'GET');
});

test('events come one after the other', async () => {
  const response = await call('/events');
  const lines = [];
  const times = [];
  for await (const chunk of response.body) {
    lines.push(new TextDecoder().decode(chunk));
    times.push(Date.now());
  }
  assert.deepEqual(lines, [1, 2, 3, 4, 5].map((number) => `event ${number}\n`));
  assert.ok(times[4] - times[0] > 600, 'the first line did not wait for the last one');
});

test('a body is echoed', async () => {
  const response = await call('/echo', { method: 'POST', body: 'to and fro' });
  assert.equal(await response.text(), 'to and fro');
});

test('what another server answers is passed on', async () => {
  const server = createServer((request, response) => {
    response.writeHead(418, { 'content-type': 'text/plain' });
    response.end('short and stout');
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = `http://127.0.0.1:${server.address().port}/`;
  const response = await call(`/fetch?url=${encodeURIComponent(address)}`);
  assert.equal(response.status, 418);
  assert.equal(await response.text(), 'short and stout');
  server.close();
  server.closeAllConnections();
});

test('a server that cannot be reached is a 502, no address a 400', async () => {
  assert.equal((await call('/fetch?url=http://127.0.0.1:1/')).status, 502);
  assert.equal((await call('/fetch')).status, 400);
});
