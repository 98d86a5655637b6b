"""The ASGI front, for what does not go the quick way: a thread answers the hot endpoints, Flask every other request."""

import asyncio
import contextlib
import io
import re
import sys
from concurrent.futures import ThreadPoolExecutor

from serve.http.messages import CLIENT_GONE, Answer, Request, completed, failure, problem, too_large
from serve.protocols.routes import hot, is_probe, overloaded
from serve.server.flask_app import from_gunicorn as flask_from_gunicorn
from serve.server.quick import SMALL, Quick

# Larger bodies held at the same time; the others wait unread, on their connections.
LARGE_AT_ONCE = 4
# How long a body may take, once some of it is there.
BODY_SECONDS = 30
# How long a refused body is still read, so that its sender gets to see the answer.
DRAIN_SECONDS = 5
# What is counted of a request whose client has gone before it had its answer.
BROKEN_OFF = Answer(CLIENT_GONE, (), b"")


def from_gunicorn():
    """The front for gunicorn's ASGI worker."""
    return Front(flask_from_gunicorn())


class Front:
    """An ASGI application around the Flask app that create_app made."""

    def __init__(self, app):
        self._app = app
        self._service = app.service
        self._recorder = app.recorder
        self._door = app.door
        self._limit = app.service.config.max_body_bytes
        self.quick = Quick(app)
        # Of serve/server/connection.py, which counts: the requests that are whole and not yet answered.
        self.in_flight, self.most_in_flight = 0, app.service.config.max_in_flight
        self._large = asyncio.Semaphore(LARGE_AT_ONCE)
        self._waiting = 0  # large bodies, unread, until there is room
        self._probing = ThreadPoolExecutor(1, "probe")
        self._batches = ThreadPoolExecutor(1, "batch")
        self._pages = ThreadPoolExecutor(2, "page")

    def leave(self):
        """From now on the service says that it is not ready."""
        self._service.leaving = True

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http":  # a WebSocket's handshake; gunicorn answers 403
            await send({"type": "websocket.close"})
            return
        headers = _headers(scope["headers"])
        # A chunked body may be of any size.
        size = None if b"transfer-encoding" in headers else int(headers.get(b"content-length", 0))
        shut = self._door is not None and not self._lets_in(scope, headers)
        if shut or (size is not None and (size <= SMALL or size > self._limit)):
            await self._exchange(scope, headers, size, receive, send, shut=shut)
        elif self._waiting >= self.most_in_flight:
            await self._exchange(scope, headers, size, receive, send, refused=True)
        else:
            self._waiting += 1
            try:
                await self._large.acquire()
            finally:  # or cancelled, because its client has left
                self._waiting -= 1
            try:
                await self._exchange(scope, headers, size, receive, send)
            finally:
                self._large.release()

    def _lets_in(self, scope, headers):
        path = _path(scope)
        return self._door.serves(path, scope["server"][1]) and self._door.admits(path, headers)

    async def _exchange(self, scope, headers, size, receive, send, refused=False, shut=False):
        if refused or shut or (size is not None and size > self._limit):
            body, whole = b"", shut and size == 0
        else:
            message = await receive()  # nearly always the whole body: it came with its headers
            body, whole = message.get("body"), not message.get("more_body")
            if body is None or not whole:
                body, whole = await _read(message, receive, self._limit)
        if refused or (whole and not receive.__self__.protocol.admitted and not self._is_probe(_path(scope))):
            answer = self._refused(scope, headers)
        elif body is None:
            # Nothing came for gunicorn's `timeout` seconds; where the client has left, nobody hears this.
            answer = problem(408, "Request timeout", "the body did not come in time")
            self._recorder.end(self._recorder.begin(), scope["method"], _path(scope), None, headers, answer)
        else:
            answer = await self._answer(scope, headers, body, whole, shut)
        await send({"type": "http.response.start", "status": answer.status, "headers": _sized(answer)})
        await send({"type": "http.response.body", "body": answer.body})
        if not whole and body is not None and headers.get(b"expect") is None:
            await _drain(receive)

    def _is_probe(self, path):
        return is_probe(self._service.config, path)

    def _refused(self, scope, headers):
        path = _path(scope)
        answer = overloaded(self._service.config, path)
        found = hot(path) if scope["method"] == "POST" else None
        self._recorder.end(self._recorder.begin(), scope["method"], path, found and found[0], headers, answer)
        return answer

    async def _answer(self, scope, headers, body, whole, shut):
        path = _path(scope)
        found = hot(path) if scope["method"] == "POST" and not shut else None
        if found is None:
            if not whole and not body:  # a body that was announced and not read: Flask is to refuse it by its length
                headers = headers | {b"content-length": b"%d" % (self._limit + 2)}
            threads = self._probing if self._is_probe(path) else self._pages
            return await self._later(threads, self._flask, scope, path, headers, body)
        began = self._recorder.begin()
        rule, endpoint, names = found
        sent = body if whole and len(body) <= self._limit else too_large(self._limit)
        request = Request(path, scope["query_string"].decode("latin-1"), headers, sent)
        answer = BROKEN_OFF
        try:
            # The endpoint is called there, too: where the client leaves before its turn, it is not begun.
            answer = await self._later(self._batches, lambda: completed(endpoint(self._service, request, **names)))
        except Exception:
            answer = failure(self._app.logger, "POST", path)
        finally:
            self._recorder.end(began, "POST", path, rule, headers, answer)
        return answer

    def _later(self, threads, function, *arguments):
        return asyncio.get_running_loop().run_in_executor(threads, function, *arguments)

    def _flask(self, scope, path, headers, body):
        """What the Flask app answers: the server's part of WSGI (PEP 3333)."""
        environ = {
            f"HTTP_{name.decode('latin-1').upper().replace('-', '_')}": value.decode("latin-1")
            for name, value in headers.items()
        }
        for name in ("CONTENT_TYPE", "CONTENT_LENGTH"):
            if f"HTTP_{name}" in environ:
                environ[name] = environ.pop(f"HTTP_{name}")
        host, port = scope["server"]
        environ |= {
            "REQUEST_METHOD": scope["method"],
            "SCRIPT_NAME": "",
            "PATH_INFO": path.encode().decode("latin-1"),
            "QUERY_STRING": scope["query_string"].decode("latin-1"),
            "SERVER_NAME": host,
            "SERVER_PORT": str(port),
            "SERVER_PROTOCOL": f"HTTP/{scope['http_version']}",
            "REMOTE_ADDR": scope["client"][0],
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": scope["scheme"],
            "wsgi.input": io.BytesIO(body),
            "wsgi.input_terminated": True,
            "wsgi.errors": sys.stderr,
            "wsgi.multithread": True,
            "wsgi.multiprocess": True,
            "wsgi.run_once": False,
        }
        started = []
        content = self._app(environ, lambda status, head, exc_info=None: started.append((status, head)))
        try:
            body = b"".join(content)
        finally:
            content.close()
        status, head = started[-1]
        head = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in head]
        return Answer(int(status[:3]), head, body)


async def _read(message, receive, limit):
    """(body, whole), from its first message on: of a body beyond the limit no more than shows that it is.

    whole: whether nothing more of it is to come. (None, False) where it ends early.
    """
    body = bytearray()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(BODY_SECONDS):
            while message["type"] == "http.request":
                body += message["body"]
                if len(body) > limit or not message["more_body"]:
                    return bytes(body), not message["more_body"]
                message = await receive()
    return None, False


async def _drain(receive):
    """Read on and forget: a sender whose connection is closed while it still sends may never see the answer."""
    try:
        async with asyncio.timeout(DRAIN_SECONDS):
            while (await receive()).get("more_body"):
                pass
    except TimeoutError:
        pass  # gunicorn closes a connection with a body left unread


def _headers(pairs):
    """Names in lower case -> values; those of a repeated name are joined, as WSGI joins them."""
    headers = dict(pairs)
    if len(headers) < len(pairs):
        headers = {}
        for name, value in pairs:
            headers[name] = b"%b,%b" % (headers[name], value) if name in headers else value
    return headers


def _path(scope):
    """The path as Flask sees it; gunicorn leaves the host in that of an absolute-form target (RFC 9112, 3.2.2)."""
    path = scope["path"]
    return path if path.startswith("/") else re.sub("^[A-Za-z]+://[^/]*", "", path)


def _sized(answer):
    """The answer's headers with its length, which Flask's have; but for 304, whose body is what the client has."""
    if answer.status == 304:
        return answer.headers
    for name, _ in answer.headers:
        if name == b"Content-Length":
            return answer.headers
    return [*answer.headers, (b"Content-Length", b"%d" % len(answer.body))]
