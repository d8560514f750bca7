// Tests of the application in Node, whose `Request` and `Response` are those of the component. `npm test` runs them,
// once it has made `build/app.js` of `src/app.ts`.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import app from '../build/app.js';

const post = (body) => app.request('/users', { method: 'POST', body, duplex: 'half' });

test('the start page says what to try', async () => {
  assert.equal(await (await app.request('/')).text(), 'try /users/7 and /events\n');
});

test('a user is shown', async () => {
  const response = await app.request('/users/7');
  assert.equal(response.status, 200);
  assert.deepEqual(await response.json(), { id: 7, name: 'user 7' });
});

test('a user is added, whether or not the length is known', async () => {
  for (const body of ['{"name":"Ada"}', new Blob(['{"name":', '"Ada"}']).stream()]) {
    const response = await post(body);
    assert.equal(response.status, 201);
    assert.deepEqual(await response.json(), { id: 8, name: 'Ada' });
  }
});

test('what is not a user is refused', async () => {
  for (const body of ['', '{', 'null', '{}', '{"name":7}', '{"name":""}']) {
    assert.equal((await post(body)).status, 400, body);
  }
  assert.equal((await app.request('/users/seven')).status, 404);
});

test('a body that is too large is refused', async () => {
  const body = `${' '.repeat(64 << 10)}{}`;
  assert.equal((await post(body)).status, 413);
  assert.equal((await post(new Blob([body]).stream())).status, 413);
});

test('other paths and methods are refused', async () => {
  const nowhere = await app.request('/nowhere');
  assert.equal(nowhere.status, 404);
  assert.deepEqual(await nowhere.json(), { error: 'no such path' });
  for (const [path, allowed] of [['/', 'GET'], ['/users/7', 'GET'], ['/users', 'POST'], ['/events', 'GET']]) {
    const response = await app.request(path, { method: 'DELETE' });
    assert.deepEqual([response.status, response.headers.get('allow')], [405, allowed]);
  }
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

test('every response has the name of its request', async () => {
  const name = async (path, headers) => (await app.request(path, { headers })).headers.get('x-request-id');
  assert.equal(await name('/', { 'x-request-id': 'abc-1' }), 'abc-1');
  assert.equal(await name('/nowhere', { 'x-request-id': 'abc-1' }), 'abc-1');
  assert.notEqual(await name('/', { 'x-request-id': 'no good' }), 'no good');
  assert.notEqual(await name('/'), await name('/'));
});
