"""A small JSON service: routes, JSON in and out, a response that is streamed, a request to another server.

`application` is a WSGI function, so the tests call it, and any Python web server could.
"""

import http.client
import json
import time
import urllib.error
import urllib.parse
import urllib.request


def application(environ, start_response):
    """Answers one request. What it raises becomes a 500, and stands in the log."""
    status, headers, body = route(environ)
    start_response(f"{status} {http.client.responses.get(status, 'Unknown')}", headers)
    return body


def route(environ):
    # "/users/7" is ["users", "7"].
    path = [part for part in environ["PATH_INFO"].split("/") if part]

    match environ["REQUEST_METHOD"], path:
        case "GET", []:
            return text(["Hello from starter\n"])
        case "GET", ["users", user]:
            return show_user(user)
        case "POST", ["users"]:
            return add_user(environ["wsgi.input"], environ.get("CONTENT_LENGTH"))
        case "GET", ["events"]:
            return text(events())
        case "GET", ["fetch"]:
            return relay(environ["QUERY_STRING"])
        case "POST", ["echo"]:
            return echo(environ)
        # The path exists, the method is another one.
        case _, [] | ["users", _] | ["events"] | ["fetch"]:
            return problem(405, "method not allowed", [("allow", "GET")])
        case _, ["users"] | ["echo"]:
            return problem(405, "method not allowed", [("allow", "POST")])
    return problem(404, "no such path")


def show_user(user):
    if not (user.isascii() and user.isdigit()):
        return problem(404, "a user's id is a number")
    return in_json(200, {"id": int(user), "name": f"user {user}"})


def add_user(body, length):
    try:
        # Without a length a body ends where it ends; with one, other servers than ours want it to be kept to.
        user = json.loads(body.read(int(length)) if length else body.read())
    except ValueError:
        return problem(400, "the body is not JSON")
    if not isinstance(user, dict) or not isinstance(user.get("name"), str):
        return problem(400, "a user has a name")
    return in_json(201, {"id": 8, "name": user["name"]})


def events():
    """Five lines, one every 200 ms, each of which reaches the client when it is made."""
    for number in range(1, 6):
        time.sleep(0.2)
        yield f"event {number}\n"


def relay(query):
    """Passes on what another server answers.

    The client names the server here. That is fine for a try, because `allow-outbound` in wasmcluster.toml bounds what
    can be reached; an application had better know its servers.
    """
    target = urllib.parse.parse_qs(query).get("url", [""])[0]
    if not target.startswith(("http://", "https://")):
        return problem(400, "give an address: /fetch?url=http://...")
    try:
        answer = urllib.request.urlopen(target, timeout=10)
    except urllib.error.HTTPError as error:
        # A 404 is an answer, too.
        answer = error
    except (urllib.error.URLError, ValueError) as error:
        return problem(502, f"cannot fetch {target}: {getattr(error, 'reason', error)}")
    headers = [("content-type", answer.headers.get("content-type", "application/octet-stream"))]
    return answer.status, headers, parts(answer)


def echo(environ):
    """Sends the body back as it comes."""
    headers = [("content-type", environ.get("CONTENT_TYPE", "application/octet-stream"))]
    return 200, headers, parts(environ["wsgi.input"])


def parts(file):
    """What can be read of a file, part by part. `read1` gives what is there instead of waiting for more."""
    with file:
        while part := file.read1(65536):
            yield part


def text(lines):
    return 200, [("content-type", "text/plain")], (line.encode() for line in lines)


def in_json(status, value, headers=()):
    body = json.dumps(value).encode()
    return status, [("content-type", "application/json"), ("content-length", str(len(body))), *headers], [body]


def problem(status, error, headers=()):
    return in_json(status, {"error": error}, headers)
