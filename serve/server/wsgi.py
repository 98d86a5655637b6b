"""The server's side of WSGI (PEP 3333), for requests that Flask answers."""

from __future__ import annotations

import io
import sys
from typing import TYPE_CHECKING, Any
from wsgiref.types import WSGIApplication

from serve.http.messages import Answer, header_line

if TYPE_CHECKING:
    from serve.server.dispatch import Call


def respond(app: WSGIApplication, call: Call, length: int | None) -> Answer:
    """Answer a call with a WSGI application.

    Parameters
    ----------
    app : the application.
    call : the request. If it is not complete, the application refuses it by its Content-Length.
    length : the Content-Length of a body that is too large to read; else None.
    """
    started: list[tuple[str, list[tuple[str, str]]]] = []
    content = app(_environ(call, length), lambda status, head, exc_info=None: started.append((status, head)))  # type: ignore[arg-type]
    try:
        body = b"".join(content)
    finally:
        if hasattr(content, "close"):
            content.close()
    status, head = started[-1]
    # The connection counts the body itself, except for HEAD, whose response has no body.
    lines = [header_line(*field) for field in head if field[0] != "Content-Length" or call.head.method == "HEAD"]
    return Answer(int(status[:3]), "".join(lines), body)


def _environ(call: Call, length: int | None) -> dict[str, Any]:
    # A name with an underscore would replace the name with a hyphen, which a proxy may have checked (CVE-2015-0219).
    environ: dict[str, Any] = {
        f"HTTP_{name.decode('latin-1').upper().replace('-', '_')}": value.decode("latin-1")
        for name, value in call.head.headers.items()
        if b"_" not in name
    }
    for name in ("CONTENT_TYPE", "CONTENT_LENGTH"):
        if f"HTTP_{name}" in environ:
            environ[name] = environ.pop(f"HTTP_{name}")
    if length is not None:
        environ["CONTENT_LENGTH"] = str(length)
    host, port = call.connection.server
    return environ | {
        "REQUEST_METHOD": call.head.method,
        "SCRIPT_NAME": "",
        "PATH_INFO": call.head.target.path_info,
        "QUERY_STRING": call.head.target.query,
        "SERVER_NAME": host,
        "SERVER_PORT": str(port),
        "SERVER_PROTOCOL": f"HTTP/{call.head.version.decode()}",
        "REMOTE_ADDR": call.connection.client,
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(b"".join(call.chunks)),
        "wsgi.input_terminated": True,
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }
