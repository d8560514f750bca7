"""A small JSON service of users and events with Bottle: routes, JSON in and out, a limit, a response that is streamed.

`application` is a WSGI function, so the tests call it, and any Python web server could.
"""

import json
import os
import re
import time

from bottle import Bottle, HTTPError, request, response

# Compiled with the component, and not by each fresh instance.
FIT_FOR_LOGS = re.compile(r"[A-Za-z0-9_=-]{1,255}")

# What a user may be long in JSON.
LARGEST = 64 << 10

app = Bottle()


@app.get("/")
def home():
    response.content_type = "text/plain"
    return "try /users/7 and /events\n"


@app.get("/users/<id:int>")
def show_user(id):
    return {"id": id, "name": f"user {id}"}


@app.post("/users")
def add_user():
    user = body_as_json()
    if not isinstance(user, dict) or not isinstance(user.get("name"), str) or not user["name"]:
        raise HTTPError(400, "a user has a name")
    response.status = 201
    return {"id": 8, "name": user["name"]}


@app.get("/events")
def events():
    """Five lines, one every 200 ms, each of which reaches the client when it is made."""
    response.content_type = "text/plain"
    for number in range(1, 6):
        time.sleep(0.2)
        yield f"event {number}\n"


def problem(error):
    """What Bottle and the handlers raise, as JSON. The traceback of what nobody meant to raise is in the log."""
    response.content_type = "application/json"
    return json.dumps({"error": error.body})


app.default_error_handler = problem


def body_as_json():
    # Not `request.json`, which takes a body that comes in chunks for an empty one, and writes a large one to a file.
    length = request.content_length
    body = request["wsgi.input"].read(LARGEST + 1 if length < 0 else min(length, LARGEST + 1))
    if len(body) > LARGEST:
        raise HTTPError(413, f"a user is {LARGEST} bytes at most")
    try:
        return json.loads(body)
    except ValueError:
        raise HTTPError(400, "the body is not JSON") from None


def with_request_id(inner):
    """Middleware: every response has the request's `x-request-id`, or a new one where it has none that is fit for logs."""

    def named(environ, start_response):
        given = environ.get("HTTP_X_REQUEST_ID", "")
        name = given if FIT_FOR_LOGS.fullmatch(given) else os.urandom(16).hex()

        def start(status, headers, exc_info=None):
            return start_response(status, [*headers, ("x-request-id", name)], exc_info)

        return inner(environ, start)

    return named


application = with_request_id(app)
