"""Tests of the application in ordinary Python. `python -m unittest` runs them."""

import http.server
import io
import json
import threading
import time
import unittest
import urllib.parse
import wsgiref.util

from handler import application


def call(method, target, body=b""):
    """Calls the application as a server does, and gives the status, the headers, and the parts of the body to come."""
    path, _, query = target.partition("?")
    environ = {"REQUEST_METHOD": method, "PATH_INFO": path, "QUERY_STRING": query, "wsgi.input": io.BytesIO(body)}
    wsgiref.util.setup_testing_defaults(environ)
    head = []
    parts = application(environ, lambda status, headers: head.extend([int(status.split()[0]), dict(headers)]))
    return *head, parts


def call_json(method, target, body=b""):
    status, _, parts = call(method, target, body)
    return status, json.loads(b"".join(parts))


class Application(unittest.TestCase):
    def test_the_start_page_greets(self):
        self.assertTrue(b"".join(call("GET", "/")[2]).startswith(b"Hello from "))

    def test_a_user_is_shown(self):
        self.assertEqual(call_json("GET", "/users/7"), (200, {"id": 7, "name": "user 7"}))

    def test_a_user_is_added(self):
        self.assertEqual(call_json("POST", "/users", b'{"name": "someone"}'), (201, {"id": 8, "name": "someone"}))

    def test_what_is_not_a_user_is_refused(self):
        for body in (b"", b"{", b"\xff", b"null", b'{"name": 7}'):
            self.assertEqual(call_json("POST", "/users", body)[0], 400, body)
        self.assertEqual(call_json("GET", "/users/seven")[0], 404)

    def test_other_paths_and_methods_are_refused(self):
        self.assertEqual(call_json("GET", "/nowhere")[0], 404)
        status, headers, _ = call("DELETE", "/users/7")
        self.assertEqual((status, headers["allow"]), (405, "GET"))

    def test_events_come_one_after_the_other(self):
        lines, times = [], []
        for part in call("GET", "/events")[2]:
            lines.append(part)
            times.append(time.monotonic())
        self.assertEqual(lines, [f"event {number}\n".encode() for number in range(1, 6)])
        self.assertGreater(times[4] - times[0], 0.6, "the first line did not wait for the last one")

    def test_a_body_is_echoed(self):
        status, _, parts = call("POST", "/echo", b"to and fro")
        self.assertEqual((status, b"".join(parts)), (200, b"to and fro"))

    def test_what_another_server_answers_is_passed_on(self):
        class Teapot(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(418)
                self.end_headers()
                self.wfile.write(b"short and stout")

            def log_message(self, *_):
                pass

        with http.server.HTTPServer(("127.0.0.1", 0), Teapot) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            url = urllib.parse.quote(f"http://127.0.0.1:{server.server_port}/", safe="")
            status, _, parts = call("GET", f"/fetch?url={url}")
            self.assertEqual((status, b"".join(parts)), (418, b"short and stout"))
            server.shutdown()

    def test_a_server_that_cannot_be_reached_is_a_502_and_no_address_a_400(self):
        self.assertEqual(call_json("GET", "/fetch?url=http://127.0.0.1:1/")[0], 502)
        self.assertEqual(call_json("GET", "/fetch?url=file:///etc/passwd")[0], 400)


if __name__ == "__main__":
    unittest.main()
