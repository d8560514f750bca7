// Tests of the application in Node, whose `Request` and `Response` are those of the component. `npm test` runs them,
// once it has made `build/app.js` of `src/app.ts`.

import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { test } from 'node:test';

import app from '../build/app.js';

test('the start page greets', async () => {
  assert.match(await (await app.request('/')).text(), /^Hello from /);
});

test('a user is shown as JSON', async () => {
  const response = await app.request('/users/7');
  assert.equal(response.status, 200);
  assert.deepEqual(await response.json(), { id: 7, name: 'user 7' });
});

test('a user is added', async () => {
  const response = await app.request('/users', { method: 'POST', body: '{"name":"someone"}' });
  assert.equal(response.status, 201);
  assert.deepEqual(await response.json(), { id: 8, name: 'someone' });
});

test('what is not a user is refused', async () => {
  for (const body of ['', '{', 'null', '{"name":7}']) {
    const response = await app.request('/users', { method: 'POST', body });
    assert.equal(response.status, 400, body);
  }
  assert.equal((await app.request('/users/seven')).status, 404);
});

test('other paths are refused', async () => {
  const response = await app.request('/nowhere');
  assert.equal(response.status, 404);
  assert.deepEqual(await response.json(), { error: 'no such path' });
});

test('events come one after the other', async () => {
  const response = await app.request('/events');
  const times = [];
  let text = '';
  for await (const chunk of response.body) {
    text += new TextDecoder().decode(chunk);
    times.push(Date.now());
  }
  assert.equal(text, 'event 1\nevent 2\nevent 3\nevent 4\nevent 5\n');
  assert.ok(times.at(-1) - times[0] > 600, 'the first line did not wait for the last one');
});

test('a body is echoed', async () => {
  const response = await app.request('/echo', { method: 'POST', body: 'to and fro' });
  assert.equal(await response.text(), 'to and fro');
});

test('what another server answers is passed on', async () => {
  const server = createServer((request, response) => {
    response.writeHead(418, { 'content-type': 'text/plain' });
    response.end('short and stout');
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = `http://127.0.0.1:${server.address().port}/`;
  const response = await app.request(`/fetch?url=${encodeURIComponent(address)}`);
  assert.equal(response.status, 418);
  assert.equal(await response.text(), 'short and stout');
  server.close();
  server.closeAllConnections();
});

test('a server that cannot be reached is a 502, no address a 400', async () => {
  assert.equal((await app.request('/fetch?url=http://127.0.0.1:1/')).status, 502);
  assert.equal((await app.request('/fetch')).status, 400);
});
