"""Raw HTTP requests, good and bad, and connections that send and read them byte by byte."""

import http.client
import io
import random
import socket
from types import SimpleNamespace

LIMIT = 40_000
NEVER_SAME = {"date", "connection", "keep-alive", "server"}  # the hour, and the worker's own about itself


def ask(address, sent):
    """(status, headers, body) of the answer to these raw bytes."""
    with socket.create_connection(address, timeout=120) as connection:
        connection.sendall(sent)
        return read(connection, sent.startswith(b"HEAD"))


def read(connection, head=False):
    response = http.client.HTTPResponse(connection, method="HEAD" if head else "POST")
    response.begin()
    headers = {name.lower(): value for name, value in response.getheaders()}
    headers["allow"] = sorted(headers.get("allow", "").split(", "))  # Flask keeps them in a set
    return response.status, {k: v for k, v in headers.items() if k not in NEVER_SAME}, response.read()


def raw(method="POST", path="/predict", body=b"", **changed):
    """A request. changed: headers, as Content_Type="text/csv"; None leaves one out."""
    headers = {"Host": "here", "Content-Type": "application/json", "Content-Length": str(len(body))}
    headers["X-Request-Id"] = "mine"  # otherwise each answer has a fresh one
    headers |= {name.replace("_", "-"): value for name, value in changed.items()}
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items() if value is not None)
    return f"{method} {path} HTTP/1.1\r\n{lines}\r\n".encode("latin-1") + body


def chunked(*chunks, **headers):
    body = b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"
    return raw(body=body, Content_Length=None, Transfer_Encoding="chunked", **headers)


class Kept(io.BufferedReader):
    """A stream of several answers: what reads one of them doesn't close it."""

    def close(self):
        pass


def answers(connection):
    """Each answer that comes, (status, headers, body), until the connection ends."""
    stream = Kept(socket.SocketIO(connection, "r"))
    while stream.peek(1):
        response = http.client.HTTPResponse(SimpleNamespace(makefile=lambda mode: stream))
        response.begin()
        yield response.status, dict(response.getheaders()), response.read()


def send(connection, data, most, seed):
    """The data in pieces of up to `most` bytes, each a packet."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    chance = random.Random(seed)
    while data:
        size = chance.randint(1, most)
        connection.sendall(data[:size])
        data = data[size:]


ROW = b'{"gre": 700, "gpa": 3.5, "rank": "1"}'
CSV = b"gre,gpa,rank\n700,3.5,1\n400,2.5,4\n"
INFER = "/v2/models/admissions/infer"
TENSOR = b'{"inputs": [{"name": "x", "shape": [1, 3], "datatype": "FP64", "data": [700, 3.5, 0]}]}'
HEAD = TENSOR.replace(b'"data": [700, 3.5, 0]', b'"parameters": {"binary_data_size": 24}')
GOOD = {
    "an object": raw(body=ROW),
    "an explanation and its evidence": raw(path="/predict?explain=true&evidence=true", body=ROW),
    "an explanation": raw(path="/explain", body=ROW),
    "an array": raw(body=b"[" + b",".join([ROW] * 250) + b"]"),
    "no rows": raw(body=b"[]"),
    "csv": raw(body=CSV, Content_Type="text/csv"),
    "csv without rows": raw(body=b"gre,gpa,rank\n", Content_Type="text/csv; charset=utf-8"),
    "a charset and capitals": raw(body=ROW, Content_Type="Application/JSON; charset=utf-8"),
    "a level as a number": raw(body=ROW.replace(b'"1"', b"1")),
    "a chunked body": chunked(ROW[:5], ROW[5:]),
    "chunked byte by byte": chunked(*(bytes([byte]) for byte in ROW)),
    "a chunk extension and a trailer": raw(
        body=b"%x;a=b\r\n%s\r\n0\r\nX-Trailer: 1\r\n\r\n" % (len(ROW), ROW),
        Content_Length=None,
        Transfer_Encoding="chunked",
    ),
    "a query": raw(path="/predict?explain=false", body=ROW),
    "an escaped path": raw(path="/%70redict", body=ROW),
    "an absolute target": raw(path="http://elsewhere/predict", body=ROW),
    "two slashes": raw(path="//predict", body=ROW),
    "a header sent twice": raw(body=ROW).replace(b"\r\n\r\n", b"\r\nX-A: 1\r\nX-A: 2\r\n\r\n", 1),
    "a header that would move the service": raw(body=ROW).replace(b"\r\n\r\n", b"\r\nScript_Name: /at\r\n\r\n", 1),
    "exactly the limit": raw(body=ROW.ljust(LIMIT)),
    "exactly the limit, chunked": chunked(ROW, b" " * (LIMIT - len(ROW))),
    "HTTP/1.0 without a Host": raw(body=ROW, Host=None).replace(b"HTTP/1.1", b"HTTP/1.0"),
    "an IPv6 address as Host": raw(body=ROW, Host="[::1]:8000"),
    "an empty Host": raw(body=ROW, Host=""),
    "HTTP/1.0": raw(body=ROW).replace(b"HTTP/1.1", b"HTTP/1.0"),
    "ready": raw("GET", "/health/ready"),
    "live": raw("GET", "/health/live", Content_Length=None),
    "live, head": raw("HEAD", "/health/live"),
    "model": raw("GET", "/model"),
    "options": raw("OPTIONS"),
    "live, options": raw("OPTIONS", "/health/live"),
    "the page": raw("GET", "/"),
    "the documentation": raw("GET", "/docs"),
    "the description": raw("GET", "/openapi.json"),
    "tensors": raw(path=INFER, body=TENSOR),
    "tensors of a version": raw(path="/v2/models/admissions/versions/1/infer", body=TENSOR),
    "tensors without a media type": raw(path=INFER, body=TENSOR, Content_Type=None),
    "tensors in bytes": raw(path=INFER, body=HEAD + bytes(24), Inference_Header_Content_Length=str(len(HEAD))),
    "a signature": raw("GET", "/v2/models/admissions"),
    "the index": raw(path="/v2/repository/index", body=b"{}"),
    "an invocation": raw(path="/invocations", body=b'{"instances": [%b]}' % ROW),
}
BAD = {
    "an unknown parameter": raw(path="/predict?x=1", body=ROW),
    "not json": raw(body=b"{"),
    "no body": raw(),
    "no length": raw(Content_Length=None),
    "not utf-8": raw(body=b'{"gre": "\xff"}'),
    "nested too deeply": raw(body=b"[" * 30_000),
    "a repeated name": raw(body=b'{"gre": 1, "gre": 2, "gpa": 3, "rank": "1"}'),
    "an unknown name": raw(body=b'{"gre": 1, "gpa": 3, "rank": "1", "x": 1}'),
    "an unknown level": raw(body=ROW.replace(b'"1"', b'"9"')),
    "not a number": raw(body=ROW.replace(b"700", b'"700"')),
    "not finite": raw(body=ROW.replace(b"700", b"1e999")),
    "a logit beyond float64": raw(body=ROW.replace(b"700", b"1e308").replace(b"3.5", b"-1e308")),
    "too many rows": raw(body=b"[" + b",".join([ROW] * 301) + b"]"),
    "a csv of too few cells": raw(body=CSV + b"1,2\n", Content_Type="text/csv"),
    "an unknown media type": raw(body=ROW, Content_Type="text/plain"),
    "no media type": raw(body=ROW, Content_Type=None),
    "one byte beyond the limit": raw(body=ROW.ljust(LIMIT + 1)),
    "far beyond the limit": raw(body=b" " * (50 * LIMIT)),
    "one byte beyond the limit, chunked": chunked(b" " * LIMIT, b" "),
    "far beyond the limit, chunked": chunked(*[b" " * LIMIT] * 50),
    "beyond the limit, elsewhere": raw(path="/nowhere", body=b" " * (LIMIT + 1)),
    "beyond the limit and the wrong media type": raw(body=b" " * (LIMIT + 1), Content_Type="text/plain"),
    "get": raw("GET"),
    "head": raw("HEAD"),
    "delete": raw("DELETE"),
    "a slash too many": raw(path="/predict/", body=ROW),
    "no such route": raw(path="/nowhere", body=ROW),
    "no such route, get": raw("GET", "/nowhere"),
    "a path that is not utf-8": raw("GET", "/%ff%fe"),
    "a path in other letters": raw("GET", "/%C3%A4"),
    "a tensor of another shape": raw(path=INFER, body=TENSOR.replace(b"[1, 3]", b"[2, 3]")),
    "a version that isn't there": raw(path="/v2/models/admissions/versions/7/infer", body=TENSOR),
    "a model that isn't there": raw(path="/v2/models/other/infer", body=TENSOR),
    "get a tensor": raw("GET", INFER),
    "tensors beyond the limit": raw(path=INFER, body=b" " * (LIMIT + 1)),
    "a size that lies": raw(path=INFER, body=TENSOR, Inference_Header_Content_Length="9999"),
    "an invocation of two": raw(path="/invocations", body=b'{"inputs": [], "instances": []}'),
    "an invocation beyond the limit": raw(path="/invocations", body=b" " * (LIMIT + 1)),
    "post to a probe": raw(path="/health/live", body=ROW),
    "what the client has": raw("GET", "/page/style.css", If_Modified_Since="Fri, 01 Jan 2100 00:00:00 GMT"),
    "a part": raw("GET", "/page/style.css", Range="bytes=2-5"),
    "a part that isn't there": raw("GET", "/page/style.css", Range="bytes=9999999-"),
}
