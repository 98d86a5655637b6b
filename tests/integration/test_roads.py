"""The two roads a request can take, gunicorn's ASGI worker and plain Flask under gthread, answer the same bytes."""

import contextlib
import http.client
import io
import random
import re
import signal
import socket
import threading
import time
import urllib.request
from types import SimpleNamespace

import pytest

from tests.support.service import ROOT, post, service

LIMIT = 40_000
NEVER_SAME = {"date", "connection", "keep-alive", "server"}  # the hour, and the worker's own about itself


@pytest.fixture(scope="module")
def roads(models):
    """(host, port) of one service for each worker class."""
    settings = {"MODEL_NAME": "admissions", "WEB_CONCURRENCY": "1", "MAX_BODY_BYTES": str(LIMIT), "MAX_ROWS": "300"}
    with contextlib.ExitStack() as stack:
        addresses = []
        for worker_class in ("asgi", "gthread"):
            address, _ = stack.enter_context(service(models, WORKER_CLASS=worker_class, **settings))
            host, port = address.removeprefix("http://").split(":")
            addresses.append((host, int(port)))
        yield addresses


def ask(address, sent):
    """(status, headers, body) of the answer to these raw bytes."""
    with socket.create_connection(address, timeout=30) as connection:
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
    "nested too deep": raw(body=b"[" * 30_000),
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
    "a method of its own": raw("BREW", body=ROW),
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


@pytest.mark.parametrize("sent", [*GOOD.values(), *BAD.values()], ids=[*GOOD, *BAD])
def test_both_roads_answer_the_same(roads, sent):
    """And on the first so do the quick way and gunicorn's own, which a header makes a request take."""
    asgi, gthread = (ask(address, sent) for address in roads)
    not_quick = ask(roads[0], sent.replace(b"\r\n", b"\r\nX-Forwarded-Ssl: off\r\n", 1))

    assert asgi == gthread == not_quick
    assert (asgi[0] == 200) == (sent in GOOD.values())


# What gunicorn itself refuses: the page that says so is its own, and another on each worker.
MALFORMED = {
    "no http": b"hello\r\n\r\n",
    "a version of its own": b"GET / HTTP/9.9\r\n\r\n",
    "a space in a header's name": raw().replace(b"Host:", b"Ho st:"),
    "two content lengths": raw(body=ROW).replace(b"\r\n", b"\r\nContent-Length: 1\r\n", 1),
    "a length that is none": raw(Content_Length="1x"),
    "a length and chunks": chunked(ROW).replace(b"\r\n", b"\r\nContent-Length: 5\r\n", 1),
    "two content types": raw(body=ROW).replace(b"\r\n", b"\r\nContent-Type: text/csv\r\n", 1),
    "a coding that is none": raw(Content_Length=None, Transfer_Encoding="magic"),
    "a chunk of no size": chunked(ROW).replace(b"25\r\n", b"zz\r\n"),
    "a chunk that goes on": chunked(ROW).replace(b"}\r\n", b"} \r\n"),
    "a line too long": raw(path="/" + "a" * 5000),
    "a header too long": raw(X="a" * 9000),
    "too many headers": raw(**{f"X{i}": "1" for i in range(101)}),
}


@pytest.mark.parametrize("sent", MALFORMED.values(), ids=MALFORMED)
def test_both_roads_refuse_what_is_not_http(roads, sent):
    asgi, gthread = (ask(address, sent)[0] for address in roads)

    assert asgi == gthread
    assert 400 <= asgi <= 501


@pytest.fixture(scope="module")
def in_python(models):
    """(host, port) of the default road with gunicorn's own parser, which serves where nothing could compile C."""
    settings = {"MODEL_NAME": "admissions", "WEB_CONCURRENCY": "1", "MAX_BODY_BYTES": str(LIMIT)}
    with service(models, GUNICORN_CMD_ARGS="--http-parser python", **settings) as (address, _):
        host, port = address.removeprefix("http://").split(":")
        yield host, int(port)


ALIKE = [sent for name, sent in MALFORMED.items() if name != "a coding that is none"]


@pytest.mark.parametrize("sent", [*ALIKE, GOOD["an object"], GOOD["a chunked body"]])
def test_gunicorns_two_parsers_refuse_the_same(roads, in_python, sent):
    """Where the one in C is installed. It differs in this: a coding that is none is 400 there, not 501; and two spaces
    behind the method pass."""
    pytest.importorskip("gunicorn_h1c._protocol")

    assert ask(roads[0], sent)[0] == ask(in_python, sent)[0]


def test_the_parser_in_c_is_taken_where_it_is_installed(roads, in_python):
    pytest.importorskip("gunicorn_h1c._protocol")
    sent = GOOD["an object"].replace(b" ", b"  ", 1)

    assert (ask(roads[0], sent)[0], ask(in_python, sent)[0]) == (200, 400)


@pytest.fixture(params=["asgi", "gthread"])
def road_name(request):
    return request.param


@pytest.fixture
def road(road_name, roads):
    return roads[road_name == "gthread"]


def test_pipelined_requests_are_answered_in_order(road):
    sent = [GOOD["an object"], BAD["not json"], GOOD["csv"], GOOD["ready"], GOOD["a chunked body"]]
    alone = [ask(road, one) for one in sent]

    with socket.create_connection(road, timeout=30) as connection:
        connection.sendall(b"".join(sent))
        kept = Kept(socket.SocketIO(connection, "r"))
        answers = SimpleNamespace(makefile=lambda mode: kept)
        assert [read(answers) for _ in sent] == alone


class Kept(io.BufferedReader):
    """A stream of several answers: what reads one of them doesn't close it."""

    def close(self):
        pass


ONE_BY_ONE = {"far beyond the limit", "far beyond the limit, chunked", "one byte beyond the limit, chunked", "HTTP/1.0"}
ONE_BY_ONE |= {name for name in GOOD | BAD if "head" in name}


@pytest.mark.parametrize("seed", range(4))
def test_requests_of_all_kinds_in_pieces_are_answered_as_alone(road, seed):
    """Behind each other on one connection, whichever way each one takes, wherever the pieces are cut."""
    kinds = {name: sent for name, sent in (GOOD | BAD).items() if name not in ONE_BY_ONE}
    alone, chance = {}, random.Random(seed)
    for _ in range(12):
        names = chance.choices([*kinds, *["an object", "tensors", "not json"] * 10], k=40)
        data, most = b"".join(kinds[name] for name in names), chance.choice([300, 3000, 70_000, 1 << 20])
        with socket.create_connection(road, timeout=30) as connection:
            stream = Kept(socket.SocketIO(connection, "r"))
            sender = threading.Thread(target=send, args=(connection, data, most, chance.randrange(1 << 32)))
            sender.start()
            answers = SimpleNamespace(makefile=lambda mode, stream=stream: stream)
            for name in names:
                if name not in alone:
                    alone[name] = ask(road, kinds[name])
                assert read(answers) == alone[name], name
            sender.join()


def send(connection, data, most, seed):
    """The data in pieces of up to `most` bytes, each a packet."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    chance = random.Random(seed)
    while data:
        size = chance.randint(1, most)
        connection.sendall(data[:size])
        data = data[size:]


def test_a_kept_connection_outlives_a_refusal(road):
    with socket.create_connection(road, timeout=30) as connection:
        for sent in (BAD["not json"], BAD["one byte beyond the limit"], GOOD["an object"]):
            connection.sendall(sent)
            assert read(connection) == ask(road, sent)


def test_a_connection_is_kept_for_many_large_bodies(models, road_name):
    """gunicorn's ASGI worker alone drops it: serve/server/asgi.py keeps it from reading ahead."""
    body = b"[" + b",".join([b'{"hours": 1.5}'] * 20_000) + b"]"
    with service(models, MODEL_NAME="hours", WEB_CONCURRENCY="1", WORKER_CLASS=road_name) as (address, _):
        connection = http.client.HTTPConnection(address.removeprefix("http://"), timeout=30)
        for rows in (20_000, 5_000, 20_000, 5_000) * 3:
            connection.request("POST", "/predict", body[: 15 * rows] + b"]", {"Content-Type": "application/json"})
            with connection.getresponse() as response:
                assert response.status == 200
                assert response.read().count(b'"logit"') == rows
        connection.close()


def test_expect_100_continue(road):
    with socket.create_connection(road, timeout=30) as connection:
        connection.sendall(raw(body=ROW, Expect="100-continue").removesuffix(ROW))
        assert connection.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(ROW)
        assert read(connection)[0] == 200


def test_a_slow_sender_holds_nobody_up(road):
    sent = raw(body=ROW)
    with socket.create_connection(road, timeout=30) as connection:
        for byte in range(len(sent)):
            connection.sendall(sent[byte : byte + 1])
            if byte % 50 == 0:
                assert ask(road, GOOD["live"])[0] == 200
        assert read(connection) == ask(road, sent)


def test_a_client_that_leaves_half_way_is_no_error(road):
    for sent in (raw(body=ROW)[:-5], chunked(ROW)[:-8], raw(body=ROW)[:20], b""):
        with socket.create_connection(road, timeout=30) as connection:
            connection.sendall(sent)
    assert ask(road, GOOD["an object"])[0] == 200


def test_an_error_of_ours_is_one_answer_and_a_logged_traceback(models, road_name, tmp_path):
    """A model whose runtime breaks after its start: 500, and nothing of the traceback in the answer."""
    breaks = "from passfail.codecs.json_rows import Payload; Payload.read_json = lambda *_: 1 / 0"
    (tmp_path / "sitecustomize.py").write_text(breaks)
    path = f"{tmp_path}:{ROOT}"
    with service(models, MODEL_NAME="hours", WEB_CONCURRENCY="1", WORKER_CLASS=road_name, PYTHONPATH=path) as (
        address,
        process,
    ):
        status, body = post(address, b'{"hours": 7}')
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=40)

    assert status == 500
    assert b"its log says why" in body
    assert b"ZeroDivisionError" not in body
    assert "POST /predict failed" in output
    assert "ZeroDivisionError" in output


def test_health_is_answered_beside_large_batches(models, road_name):
    """A probe never waits for the batches before it, and SIGTERM finishes them."""
    body = b"[" + b",".join([b'{"hours": 1.5}'] * 100_000) + b"]"
    with service(models, MODEL_NAME="hours", WEB_CONCURRENCY="1", WORKER_CLASS=road_name) as (address, process):
        results = []
        clients = [threading.Thread(target=lambda: results.append(post(address, body)[0])) for _ in range(3)]
        for client in clients:
            client.start()
        probes = []
        while any(client.is_alive() for client in clients):
            began = time.monotonic()
            assert post(address, b'{"hours": 7}')[0] == 200
            probes.append(time.monotonic() - began)
        assert results == [200] * 3
        assert len(probes) > 3

        last = threading.Thread(target=lambda: results.append(post(address, body)[0]))
        last.start()
        while in_flight(address) < 2:  # the other is this question
            pass
        process.send_signal(signal.SIGTERM)
        last.join()
        output, _ = process.communicate(timeout=40)

    assert results == [200] * 4
    assert process.returncode == 0
    assert "Traceback" not in output


def in_flight(address):
    with urllib.request.urlopen(f"{address}/metrics", timeout=30) as answer:
        return float(re.search(rb"^passfail_requests_in_flight (.*)", answer.read(), re.M)[1])
