"""Tests of the application in ordinary Python. `python -m unittest` runs them."""

import io
import json
import time
import unittest
import wsgiref.util

from router import application


def call(method, path, body=b"", **more):
    """Calls the application as a server does, and gives the status, the headers, and the parts of the body to come."""
    environ = {"REQUEST_METHOD": method, "PATH_INFO": path, "wsgi.input": io.BytesIO(body), **more}
    wsgiref.util.setup_testing_defaults(environ)
    head = []

    def start(status, headers, exc_info=None):
        head.extend([int(status.split()[0]), {name.lower(): value for name, value in headers}])

    parts = application(environ, start)
    return *head, parts


def call_json(method, path, body=b"", **more):
    status, headers, parts = call(method, path, body, **more)
    assert headers["content-type"] == "application/json", headers
    return status, json.loads(b"".join(parts))


class Application(unittest.TestCase):
    def test_the_start_page_says_what_to_try(self):
        self.assertEqual(b"".join(call("GET", "/")[2]), b"try /users/7 and /events\n")

    def test_a_user_is_shown(self):
        self.assertEqual(call_json("GET", "/users/7"), (200, {"id": 7, "name": "user 7"}))

    def test_a_user_is_added_whether_or_not_the_length_is_known(self):
        body = b'{"name": "Ada"}'
        for more in ({}, {"CONTENT_LENGTH": str(len(body))}):
            self.assertEqual(call_json("POST", "/users", body, **more), (201, {"id": 8, "name": "Ada"}))

    def test_what_is_not_a_user_is_refused(self):
        for body in (b"", b"{", b"\xff", b"null", b"{}", b'{"name": 7}', b'{"name": ""}'):
            self.assertEqual(call_json("POST", "/users", body)[0], 400, body)
        self.assertEqual(call_json("GET", "/users/seven")[0], 404)

    def test_a_body_that_is_too_large_is_refused(self):
        self.assertEqual(call_json("POST", "/users", b" " * (64 << 10) + b"{}")[0], 413)

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

    def test_every_response_has_the_name_of_its_request(self):
        def name(path="/", **more):
            return call("GET", path, **more)[1]["x-request-id"]

        self.assertEqual(name(HTTP_X_REQUEST_ID="abc-1"), "abc-1")
        self.assertEqual(name("/nowhere", HTTP_X_REQUEST_ID="abc-1"), "abc-1")
        self.assertNotEqual(name(HTTP_X_REQUEST_ID="no good"), "no good")
        self.assertNotEqual(name(), name())


if __name__ == "__main__":
    unittest.main()
