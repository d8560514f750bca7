"""Lets a WSGI application answer the requests of a component, and `urllib.request` send requests from it.

WSGI (PEP 3333) is what Python's web frameworks speak. The two functions for `app.py` are `serve` and `install_urllib`.
There is nothing here that belongs to the application. `wit_world` is what componentize-py makes from `wit/`, so this
module can be imported in a component only.

Bodies, streams and so on are resources of the host. Each is given back, by `with`, when it is no longer needed, and
before what it came from: a stream before its body. The host ends a request that does it the other way round.
"""

import http.client
import io
import sys
import traceback
import urllib.error
import urllib.parse
import urllib.request
import urllib.response

from wit_world.imports import outgoing_handler, types
from wit_world.imports.streams import StreamError_Closed

try:
    from componentize_py_types import Err, Ok
except ImportError:
    # Where componentize-py before 0.19 has them.
    from wit_world.types import Err, Ok

# How much of a body is asked for at once.
CHUNK = 65536

# Headers that are about one connection. WASI refuses them.
OF_CONNECTIONS = {
    "connection",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "transfer-encoding",
    "upgrade",
}


def serve(application):
    """Makes a component's request handler of a WSGI application, to be called `IncomingHandler` in `app.py`."""

    class IncomingHandler:
        def handle(self, request, response_out):
            with request, _Reader(request.consume()) as raw:
                environ = _environ(request, io.BufferedReader(raw, CHUNK))
                _Response(response_out).send(application, environ)
            # An instance may be gone after its request, and with it what nobody has flushed.
            sys.stdout.flush()
            sys.stderr.flush()

    return IncomingHandler


def _environ(request, body):
    """The request as WSGI has it."""
    path, _, query = (request.path_with_query() or "/").partition("?")
    scheme = _name(request.scheme() or types.Scheme_Http()).lower()
    server = urllib.parse.urlsplit(f"//{request.authority() or 'localhost'}")
    environ = {
        "REQUEST_METHOD": _name(request.method()).upper(),
        "SCRIPT_NAME": "",
        # Decoded, and one character for each byte.
        "PATH_INFO": urllib.parse.unquote_to_bytes(path).decode("latin-1"),
        "QUERY_STRING": query,
        "SERVER_NAME": server.hostname or "localhost",
        "SERVER_PORT": str(server.port or (443 if scheme == "https" else 80)),
        "SERVER_PROTOCOL": "HTTP/1.1",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scheme,
        "wsgi.input": body,
        # The body has an end also where it has no length.
        "wsgi.input_terminated": True,
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": False,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }
    with request.headers() as fields:
        for name, value in fields.entries():
            # `x_y` would be taken for `x-y`, which somebody on the way may have checked.
            if "_" in name:
                continue
            key = name.upper().replace("-", "_")
            if key not in ("CONTENT_TYPE", "CONTENT_LENGTH"):
                key = f"HTTP_{key}"
            value = value.decode("latin-1")
            if key in environ:
                value = environ[key] + ("; " if key == "HTTP_COOKIE" else ", ") + value
            environ[key] = value
    return environ


class _Response:
    """A response that is begun with the first part of its body, so that an error before that can still be a 500."""

    def __init__(self, response_out):
        self._out = response_out
        self._head = None
        self._body = None
        self._writer = None

    def send(self, application, environ):
        complete = self._try(application, environ)
        if self._body is None:
            complete = self._try(_failed, environ)
        self._writer.close()
        if not complete:
            self._body.__exit__(None, None, None)
            return
        try:
            # Without this the client is told that the response was cut short.
            types.OutgoingBody.finish(self._body, None)
        except Err as error:
            print(f"the response was cut short: {_reason(error.value)}", file=sys.stderr)

    def _try(self, application, environ):
        """Sends what the application answers, and says whether that is all of it."""
        try:
            parts = application(environ, self._start)
            try:
                for part in parts:
                    # An empty part says "not yet".
                    if part:
                        self._write(part)
                self._begin()
            finally:
                if hasattr(parts, "close"):
                    parts.close()
            return True
        except _ClientGone:
            return False
        except Exception:
            traceback.print_exc()
            return False

    def _start(self, status, headers, exc_info=None):
        """What WSGI calls `start_response`."""
        if exc_info and self._body is not None:
            raise exc_info[1].with_traceback(exc_info[2])
        if self._head and not exc_info:
            raise AssertionError("start_response was called before")
        self._head = (status, headers)
        return self._write

    def _begin(self):
        if self._body is not None:
            return
        if self._head is None:
            raise AssertionError("start_response was not called")
        status, headers = self._head
        fields = [(name, value.encode("latin-1")) for name, value in headers if name.lower() not in OF_CONNECTIONS]
        response = types.OutgoingResponse(types.Fields.from_list(fields))
        response.set_status_code(int(status.split(" ")[0]))
        self._body = response.body()
        types.ResponseOutparam.set(self._out, Ok(response))
        self._writer = _Writer(self._body)

    def _write(self, data):
        self._begin()
        self._writer.write(data)


def _failed(environ, start_response):
    start_response("500 Internal Server Error", [("content-type", "text/plain")], sys.exc_info())
    return [b"internal error\n"]


class _ClientGone(Exception):
    """Nobody reads the response any more."""


class _Writer:
    """Writes a body, waiting while whoever reads it is slower than we are."""

    def __init__(self, body):
        self._stream = body.write()
        self._ready = self._stream.subscribe()

    def write(self, data):
        data = memoryview(data)
        try:
            while data:
                # Writing more than the host has room for is an error.
                room = self._stream.check_write()
                if room == 0:
                    self._ready.block()
                    continue
                self._stream.write(bytes(data[:room]))
                data = data[room:]
        except Err as error:
            if isinstance(error.value, StreamError_Closed):
                raise _ClientGone() from None
            raise OSError(f"cannot write a body: {_reason(error.value)}") from None

    def close(self):
        self._ready.__exit__(None, None, None)
        self._stream.__exit__(None, None, None)


class _Reader(io.RawIOBase):
    """Reads a body as it comes. `keep` are resources to give back after it, the first one last."""

    def __init__(self, body, keep=()):
        self._keep = [*keep, body]
        self._stream = body.stream()
        self._keep.append(self._stream)

    def readable(self):
        return True

    def readinto(self, buffer):
        if self.closed:
            raise ValueError("the request is over")
        try:
            data = self._stream.blocking_read(min(len(buffer), CHUNK))
        except Err as error:
            if isinstance(error.value, StreamError_Closed):
                return 0
            raise OSError(f"cannot read a body: {_reason(error.value)}") from None
        buffer[: len(data)] = data
        return len(data)

    def close(self):
        while self._keep:
            self._keep.pop().__exit__(None, None, None)
        super().close()


def install_urllib():
    """Makes `urllib.request.urlopen` work, which otherwise wants sockets. It still follows redirects."""
    urllib.request.install_opener(urllib.request.build_opener(_Handler))


class _Handler(urllib.request.HTTPHandler):
    # urllib calls these two. What HTTPHandler itself is for is completing the headers.
    def http_open(self, request):
        return _send(request, types.Scheme_Http())

    def https_open(self, request):
        return _send(request, types.Scheme_Https())

    https_request = urllib.request.HTTPHandler.http_request


def _send(request, scheme):
    headers = [(n, v.encode("latin-1")) for n, v in request.header_items() if n.lower() not in OF_CONNECTIONS]
    try:
        outgoing = types.OutgoingRequest(types.Fields.from_list(headers))
        outgoing.set_method(_method(request.get_method()))
        outgoing.set_scheme(scheme)
        outgoing.set_authority(request.host)
        outgoing.set_path_with_query(request.selector)
        body = outgoing.body()
        # From here on it is on its way, and with it what is written to the body.
        with outgoing_handler.handle(outgoing, _options(request.timeout)) as future:
            writer = _Writer(body)
            try:
                for part in _parts(request.data):
                    writer.write(part)
            except _ClientGone:
                # The server wants no more of it, and has its answer ready.
                pass
            finally:
                writer.close()
            types.OutgoingBody.finish(body, None)
            with future.subscribe() as ready:
                ready.block()
            response = future.get().value
    except Err as error:
        raise urllib.error.URLError(_reason(error.value)) from None
    if isinstance(response, Err):
        raise urllib.error.URLError(_reason(response.value))
    return _answer(request, response.value)


def _answer(request, response):
    status = response.status()
    headers = http.client.HTTPMessage()
    with response.headers() as fields:
        for name, value in fields.entries():
            headers[name] = value.decode("latin-1")
    raw = _Reader(response.consume(), keep=[response])
    answer = urllib.response.addinfourl(io.BufferedReader(raw, CHUNK), headers, request.full_url, status)
    answer.msg = http.client.responses.get(status, "")
    return answer


def _parts(data):
    """What urllib allows as `data`: bytes, a file, parts of either kind."""
    if data is None:
        return ()
    if isinstance(data, (bytes, bytearray, memoryview)):
        return (data,)
    if hasattr(data, "read"):
        return iter(lambda: data.read(CHUNK), b"")
    return data


def _options(timeout):
    if not isinstance(timeout, (int, float)):
        return None
    options = types.RequestOptions()
    nanoseconds = int(timeout * 1_000_000_000)
    options.set_connect_timeout(nanoseconds)
    options.set_first_byte_timeout(nanoseconds)
    options.set_between_bytes_timeout(nanoseconds)
    return options


# A variant of WIT is a class for each case here: `Method_Get`, `Method_Other(value)`.


def _name(variant):
    return getattr(variant, "value", None) or type(variant).__name__.partition("_")[2]


def _method(name):
    case = getattr(types, f"Method_{name.capitalize()}", None)
    return case() if case and name != "OTHER" else types.Method_Other(name)


def _reason(error):
    """An error in words: "connection refused" for `ErrorCode_ConnectionRefused`."""
    value = getattr(error, "value", None)
    if hasattr(value, "to_debug_string"):
        with value:
            return value.to_debug_string()
    name = type(error).__name__.partition("_")[2] or str(error)
    words = "".join(f" {letter.lower()}" if letter.isupper() else letter for letter in name).strip()
    return f"{words}: {value}" if value is not None else words
