"""The ASGI front: answers the hot endpoints in the event loop, hands every other request to the Flask app."""

import asyncio
import io
import re
import sys
from concurrent.futures import ThreadPoolExecutor

from serve.app import from_gunicorn as flask_from_gunicorn
from serve.exchange import Answer, Request, failure, problem, too_large
from serve.routes import hot

# Bytes of a body that are read and answered at once: a millisecond or two. A larger one takes its turn in a thread.
SMALL = 128 * 1024
# Larger bodies held at the same time; the others wait unread, on their connections.
LARGE_AT_ONCE = 4
# How long a refused body is still read, so that its sender gets to see the answer.
DRAIN_SECONDS = 5
# What is counted of a request whose client has gone before it had its answer.
BROKEN_OFF = Answer("other", (), b"")


def from_gunicorn():
    """The front for gunicorn's ASGI worker."""
    return Front(flask_from_gunicorn())


class Front:
    """An ASGI application around the Flask app that create_app made."""

    def __init__(self, app):
        self._app = app
        self._service = app.service
        self._watch = app.watch
        self._limit = app.service.config.max_body_bytes
        self._large = asyncio.Semaphore(LARGE_AT_ONCE)
        self._batches = ThreadPoolExecutor(1, "batch")
        self._pages = ThreadPoolExecutor(2, "page")

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http":  # a WebSocket's handshake; gunicorn answers 403
            await send({"type": "websocket.close"})
            return
        headers = _headers(scope["headers"])
        # A chunked body may be of any size.
        size = None if "transfer-encoding" in headers else int(headers.get("content-length", 0))
        if size is not None and (size <= SMALL or size > self._limit):
            await self._exchange(scope, headers, size, receive, send)
        else:
            async with self._large:
                await self._exchange(scope, headers, size, receive, send)

    async def _exchange(self, scope, headers, size, receive, send):
        if size is not None and size > self._limit:
            body, whole = b"", False
        elif size == 0:
            body, whole = b"", True
        else:
            body, whole = await _read(receive, self._limit)
        if body is None:
            # Nothing came for gunicorn's `timeout` seconds; where the client has left, nobody hears this.
            answer = problem(408, "Request timeout", "the body did not come in time")
            self._watch.end(self._watch.begin(), scope["method"], _path(scope), None, headers, answer)
        else:
            if whole:
                # gunicorn 27.0.1 closes a kept connection on which more than 64 KiB of the next request come before
                # it has tidied up after this one; it resumes reading itself.
                receive.__self__.protocol._pause_reading()
            answer = await self._answer(scope, headers, body, whole)
        start = {"type": "http.response.start", "status": answer.status, "headers": _encode(answer.headers)}
        await send(start)
        await send({"type": "http.response.body", "body": answer.body})
        if not whole and body is not None and headers.get("expect") is None:
            await _drain(receive)

    async def _answer(self, scope, headers, body, whole):
        path = _path(scope)
        found = hot(path) if scope["method"] == "POST" else None
        if found is None:
            if not whole and not body:  # a body that was announced and not read: Flask is to refuse it by its length
                headers = headers | {"content-length": str(self._limit + 2)}
            return await self._later(self._pages, self._flask, scope, path, headers, body)
        began = self._watch.begin()
        rule, endpoint, names = found
        sent = body if whole else too_large(self._limit)
        request = Request(path, scope["query_string"].decode("latin-1"), headers, sent)
        answer = BROKEN_OFF
        try:
            if len(body) <= SMALL and not request.query:  # an explanation takes longer than an answer
                answer = self._hot_answer(endpoint, request, names)
            else:
                answer = await self._later(self._batches, self._hot_answer, endpoint, request, names)
        finally:
            self._watch.end(began, "POST", path, rule, headers, answer)
        return answer

    def _later(self, threads, function, *arguments):
        return asyncio.get_running_loop().run_in_executor(threads, function, *arguments)

    def _hot_answer(self, endpoint, request, names):
        try:
            answer = endpoint(self._service, request, **names)
        except Exception:
            answer = failure(self._app.logger, "POST", request.path)
        return answer._replace(headers=(*answer.headers, ("Content-Length", str(len(answer.body)))))

    def _flask(self, scope, path, headers, body):
        """What the Flask app answers: the server's part of WSGI (PEP 3333)."""
        environ = {f"HTTP_{name.upper().replace('-', '_')}": value for name, value in headers.items()}
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
        return Answer(int(status[:3]), tuple(head), body)


async def _read(receive, limit):
    """(body, whole): of a body beyond the limit no more than shows that it is; (None, False) where it ends early."""
    message = await receive()
    if message["type"] == "http.request" and not message["more_body"]:
        body = message["body"]  # nearly always: it came with its headers
        return body, len(body) <= limit
    body = bytearray()
    while message["type"] == "http.request":
        body += message["body"]
        if len(body) > limit:
            return bytes(body), False
        if not message["more_body"]:
            return bytes(body), True
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
    headers = {}
    for name, value in pairs:
        name, value = name.decode("latin-1"), value.decode("latin-1")
        headers[name] = f"{headers[name]},{value}" if name in headers else value
    return headers


def _path(scope):
    """The path as Flask sees it; gunicorn leaves the host in that of an absolute-form target (RFC 9112, 3.2.2)."""
    path = scope["path"]
    return path if path.startswith("/") else re.sub("^[A-Za-z]+://[^/]*", "", path)


def _encode(headers):
    # The ASGI worker would name itself otherwise than the other one does.
    return [(b"Server", b"gunicorn"), *((name.encode("latin-1"), value.encode("latin-1")) for name, value in headers)]
