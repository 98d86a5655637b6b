"""The parser of a request's head and of a chunked body, with httptools (llhttp).

llhttp and gunicorn's parser differ; the stricter rule of the two applies here:

- gunicorn's rules, which llhttp lacks: one space between the parts of the request line; HTTP/1.0 or HTTP/1.1 only; a
  target of printable ASCII; one Host and one Content-Type; only chunked as transfer coding, and none in HTTP/1.0; only
  100-continue in Expect; no trailer that changes routing, framing or authentication; limits on the request line, on a
  field and on the number of fields. Header names with an underscore don't reach Flask.
- llhttp's rules, which gunicorn lacks: only registered methods (others: 501), and no CONNECT; no Transfer-Encoding with
  a Content-Length, even if they agree; chunk extensions and sizes after RFC 9112.
- Rules that both lack: a well-formed Host in HTTP/1.1; 64 KiB for a whole head, or for a trailer section.

The server ignores an Upgrade (h2c, WebSocket), as RFC 9110 (7.8) allows, and answers over HTTP/1.1.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import unquote_to_bytes

import httptools

from serve.telemetry.recorder import Asked

if TYPE_CHECKING:
    from serve.http.messages import Answer, Pending
    from serve.protocols.routes import Routes

LINE = re.compile(rb"([A-Z-]+) ([!-~]+) HTTP/(1\.[01])\r\n")
LINE_MOST, FIELD_MOST, FIELDS_MOST, HEAD_MOST = 4094, 8190, 100, 65_536
SHORT = 400  # bytes; a head of this size is within each limit, because 100 fields have four bytes each
KNOWN = 256  # heads in a worker's cache
SINGLE = {b"host", b"content-type"}  # fields with a single value (RFC 9110, 5.3)
HOST = re.compile(rb"[\w.~!$&'()*+,;=:%[\]-]*")  # the characters of a host and its port (RFC 3986, 3.2.2)
NO_TRAILERS = {b"host", b"trailer", b"authorization", b"te"}  # RFC 9110, 6.5.1; llhttp refuses those of framing
UPGRADE = re.compile(rb"\r\nupgrade:[^\r]*", re.IGNORECASE)


class Refused(Exception):
    """The client's bytes are not a valid request; the connection ends.

    Its arguments are the status and the reason.
    """


class Target(NamedTuple):
    """A parsed request target.

    Attributes
    ----------
    path : decoded, as in Flask.
    path_info : decoded, as in WSGI (PEP 3333): one character for each byte.
    query : as sent, without the question mark.
    rule : the rule of the route, or None.
    found : the rule, endpoint and names of the route that needs no Flask, or None.
    """

    path: str
    path_info: str
    query: str
    rule: str | None
    found: tuple[str, Callable[..., Answer | Pending], Mapping[str, str]] | None


@lru_cache(256)
def target(routes: Routes, method: str, sent: bytes) -> Target:
    """Parse a target; of an absolute form (RFC 9112, 3.2.2), keep the path and the query."""
    text = sent.decode("latin-1").partition("#")[0]
    if not text.startswith("/") and "://" in text:
        text = "/" + text.partition("://")[2].partition("/")[2]
    raw, _, query = text.partition("?")
    decoded = unquote_to_bytes(raw)
    path = "/" + decoded.decode("utf-8", "replace").lstrip("/")
    found = routes.hot(path, method) if method == "POST" or raw == path else None  # Flask redirects a GET for //a
    return Target(path, decoded.decode("latin-1"), query, routes.rule(path, method), found)


class Head(Asked, frozen=True):
    """A parsed head; requests with the same bytes share one.

    Attributes
    ----------
    target : the parsed target of the request line.
    version : of the request line, b"1.0" or b"1.1".
    size : the body's Content-Length; None for a chunked body.
    keep_alive : whether the connection may stay open after the response.
    plain : whether it asks a hot endpoint for nothing that takes long.
    """

    target: Target
    version: bytes
    size: int | None
    keep_alive: bool
    plain: bool


class Heads:
    """Parses heads, and caches short ones, because the requests of a client mostly share one.

    The cache holds only valid heads, and none with an API key, because no copy of a key may stay in memory.
    """

    def __init__(self, routes: Routes) -> None:
        self._routes = routes
        self._known: dict[bytes, Head] = {}

    def read(self, data: bytes) -> Head:
        """Parse a complete head. Raises Refused."""
        head = self._known.get(data)
        if head is None:
            if len(data) > SHORT:
                check(data, complete=True)
            head = self._read(data)
            if len(data) <= SHORT and b"authorization" not in head.headers:
                if len(self._known) == KNOWN:
                    self._known.clear()
                self._known[data] = head
        return head

    def _read(self, data: bytes) -> Head:
        line = LINE.match(data)
        if line is None:
            raise Refused(400, "the request line is not of HTTP/1.1")
        method, sent, version = line.groups()
        found = _Fields(data)
        if found.upgrade:
            found = _Fields(UPGRADE.sub(b"", data))
            if found.upgrade:
                raise Refused(501, "the method is not implemented")
        headers = found.headers
        size: int | None = int(headers.get(b"content-length", b"0"))
        coding = headers.get(b"transfer-encoding")
        if HOST.fullmatch(headers.get(b"host", b"" if version == b"1.0" else b" ")) is None:
            raise Refused(400, "Host is missing or malformed")  # RFC 9112, 3.2
        if coding is not None and version == b"1.0":
            raise Refused(400, "HTTP/1.0 has no transfer codings")
        if headers.get(b"expect", b"100-continue").lower() != b"100-continue":
            raise Refused(417, "the only expectation is 100-continue")
        verb = method.decode()
        asked = target(self._routes, verb, sent)
        plain = asked.found is not None and verb == "POST" and not asked.query and b"content-encoding" not in headers
        size = None if coding is not None else size
        return Head(verb, asked.path, asked.rule, headers, asked, version, size, found.kept, plain)


class _Fields:
    """The fields that llhttp finds in a head. Raises Refused."""

    def __init__(self, data: bytes) -> None:
        self.headers: dict[bytes, bytes] = {}
        self.kept = self.upgrade = False
        self._parser = httptools.HttpRequestParser(self)
        try:
            _feed(self._parser, data)
        finally:
            del self._parser  # break the reference cycle with this object

    def on_header(self, name: bytes, value: bytes) -> None:
        name, value = name.lower(), value.rstrip()
        if name not in self.headers:
            self.headers[name] = value
        elif name in SINGLE:
            raise Refused(400, "a field that has one value is given twice")
        else:
            self.headers[name] += b"," + value

    def on_headers_complete(self) -> None:
        if self.headers.get(b"transfer-encoding", b"chunked").lower() != b"chunked":
            raise Refused(501, "the only transfer coding is chunked")  # llhttp would call it malformed
        self.kept, self.upgrade = self._parser.should_keep_alive(), self._parser.should_upgrade()


class ChunkedBody:
    """Decodes one chunked body."""

    def __init__(self) -> None:
        self._found = _Chunks()
        self._parser = httptools.HttpRequestParser(self._found)
        self._parser.feed_data(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n")

    def read(self, data: memoryview) -> tuple[bytes, bool]:
        """Decode a piece; return its content, and whether the body ends there. Raises Refused."""
        found = self._found
        found.pieces, found.unframed = [], found.unframed + len(data)
        _feed(self._parser, data)
        if found.unframed > HEAD_MOST:
            raise Refused(431, "the trailers are too long")
        return b"".join(found.pieces), found.whole  # joined, since chunks of one byte would take 90 times their size


class _Chunks:
    """The content that llhttp finds in a chunked body.

    `unframed` counts the bytes since the last byte of a chunk's content.
    """

    pieces: list[bytes]
    unframed = 0
    whole = False

    def on_body(self, data: bytes) -> None:
        self.unframed = 0
        self.pieces.append(data)

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() in NO_TRAILERS:
            raise Refused(400, "a trailer has a field that must be in the head")

    def on_message_complete(self) -> None:
        self.whole = True


def check(data: bytes, complete: bool = False) -> None:
    """Raise Refused if a head, or its beginning, is too long or can't become valid."""
    line, end = LINE.match(data), data.find(b"\n", 0, LINE_MOST + 2) + 1
    if (line.end() if line else end or len(data)) > LINE_MOST + 2:
        raise Refused(414, "the request line is too long")
    if line is None and (end or (data and not data[:1].isupper() and data[:1] != b"\r")):
        raise Refused(400, "the request line is not of HTTP/1.1")
    if len(data) > HEAD_MOST or (complete and data.count(b"\r\n") - 2 > FIELDS_MOST):
        raise Refused(431, "the head is too long")
    if complete and len(data) > FIELD_MOST and max(map(len, data.split(b"\r\n")[1:])) > FIELD_MOST - 2:
        raise Refused(431, "a field is too long")


def _feed(parser: httptools.HttpRequestParser, data: bytes | memoryview) -> None:
    try:
        parser.feed_data(data)
    except httptools.HttpParserUpgrade:
        pass
    except httptools.HttpParserInvalidMethodError as error:
        raise Refused(501, "the method is not implemented") from error
    except httptools.HttpParserCallbackError as error:
        raise error.__context__ or error from None
    except httptools.HttpParserError as error:
        raise Refused(400, str(error)) from error
