"""Both worker classes, our event loop and plain Flask under gthread, answer the same bytes."""

import contextlib
import http.client
import random
import re
import signal
import socket
import threading
import urllib.request
from types import SimpleNamespace

import pytest

from tests.support import ROOT
from tests.support.http import BAD, GOOD, LIMIT, ROW, Kept, ask, chunked, raw, read, send
from tests.support.service import post, service
from tests.support.wait import until


@pytest.fixture(scope="module")
def services(models, tmp_path_factory):
    """(host, port) of a service of each worker class, and of one with the batch thread alone."""
    folder = tmp_path_factory.mktemp("threads")
    (folder / "sitecustomize.py").write_text("import serve.server.dispatch; serve.server.dispatch.SMALL = 0")
    in_thread = {"PYTHONPATH": f"{folder}:{ROOT}"}
    settings = {"MODEL_NAME": "admissions", "WEB_CONCURRENCY": "1", "MAX_BODY_BYTES": str(LIMIT), "MAX_ROWS": "300"}
    with contextlib.ExitStack() as stack:
        addresses = []
        for environ in ({"WORKER_CLASS": "asgi"}, {"WORKER_CLASS": "gthread"}, in_thread):
            address, _ = stack.enter_context(service(models, **settings, **environ))
            host, port = address.removeprefix("http://").split(":")
            addresses.append((host, int(port)))
        yield addresses


@pytest.mark.parametrize("sent", [*GOOD.values(), *BAD.values()], ids=[*GOOD, *BAD])
def test_every_way_to_an_answer_gives_the_same(services, sent):
    in_loop, gthread, in_thread = (ask(address, sent) for address in services)

    assert in_loop == gthread == in_thread
    assert (in_loop[0] == 200) == (sent in GOOD.values())


# Bytes that are refused before they are a request: each worker class has its own error text.
MALFORMED = {
    "no http": b"hello\r\n\r\n",
    "a version of its own": b"GET / HTTP/9.9\r\n\r\n",
    "a space in a header's name": raw().replace(b"Host:", b"Ho st:"),
    "two content lengths": raw(body=ROW).replace(b"\r\n", b"\r\nContent-Length: 1\r\n", 1),
    "a length that is none": raw(Content_Length="1x"),
    "a length and chunks": chunked(ROW).replace(b"\r\n", b"\r\nContent-Length: 5\r\n", 1),
    "two content types": raw(body=ROW).replace(b"\r\n", b"\r\nContent-Type: text/csv\r\n", 1),
    "a chunk of no size": chunked(ROW).replace(b"25\r\n", b"zz\r\n"),
    "a chunk that goes on": chunked(ROW).replace(b"}\r\n", b"} \r\n"),
    "a line too long": raw(path="/" + "a" * 5000),
    "a header too long": raw(X="a" * 9000),
    "too many headers": raw(**{f"X{i}": "1" for i in range(101)}),
}


@pytest.mark.parametrize("sent", MALFORMED.values(), ids=MALFORMED)
def test_both_worker_classes_refuse_what_is_not_http(services, sent):
    asgi, gthread = (ask(address, sent)[0] for address in services[:2])

    assert asgi == gthread
    assert 400 <= asgi <= 501


# {what is sent: (the bytes, the status)}: docs/reference/errors.md lists them.
STRICTER = {
    "a method of its own": (raw("BREW", body=ROW), 501),
    "a tunnel": (raw("CONNECT", "there:443"), 501),
    "a coding that is none": (raw(Content_Length=None, Transfer_Encoding="magic"), 501),
    "two codings": (raw(Content_Length=None, Transfer_Encoding="gzip, chunked", body=b"0\r\n\r\n"), 501),
    "two spaces": (raw(body=ROW).replace(b" ", b"  ", 1), 400),
    "a space behind the version": (raw(body=ROW).replace(b"1.1\r\n", b"1.1 \r\n", 1), 400),
    "another protocol's version": (raw("OPTIONS").replace(b"HTTP/1.1", b"RTSP/1.0"), 400),
    "HTTP/2 without an agreement": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    "no Host": (raw(body=ROW, Host=None), 400),
    "a Host with a space": (raw(body=ROW, Host="here there"), 400),
    "a Host with a path": (raw(body=ROW, Host="here/there"), 400),
    "no version": (b"GET /\r\n\r\n", 400),
    "bare line feeds": (raw().replace(b"\r\n", b"\n"), 400),
    "a folded field": (raw(body=ROW).replace(b"Host: here", b"Host: here\r\n there"), 400),
    "a control character": (raw(X="a\x01b"), 400),
    "a target that is not ASCII": (raw(path="/\xe4"), 400),
    "chunks in HTTP/1.0": (chunked(ROW).replace(b"HTTP/1.1", b"HTTP/1.0"), 400),
    "an expectation of its own": (raw(Expect="a miracle"), 417),
    "a trailer of routing": (chunked(ROW).replace(b"\r\n0\r\n", b"\r\n0\r\nHost: there\r\n"), 400),
    "a trailer without an end": (chunked(ROW)[:-2] + b"X: " + b"a" * 600_000 + b"\r\n\r\n", 431),
    "a head of many short fields": (raw(**{f"X{i}": "1" * 1000 for i in range(80)}), 431),
    "a handshake of TLS": (bytes.fromhex("160301020001000f"), 400),
}


@pytest.mark.parametrize(("sent", "status"), STRICTER.values(), ids=STRICTER)
def test_what_only_one_parser_refuses_is_refused(services, sent, status):
    with socket.create_connection(services[0], timeout=120) as connection:
        connection.sendall(sent)
        assert read(connection)[0] == status
        assert connection.recv(1) == b""  # the connection ends


UPGRADES = {
    "http2": {"Connection": "Upgrade, HTTP2-Settings", "Upgrade": "h2c", "HTTP2-Settings": "AAEAAEAAAAIAAAAB"},
    "websocket": {"Connection": "upgrade", "UPGRADE": "websocket", "Sec-WebSocket-Version": "13"},
}


@pytest.mark.parametrize("headers", UPGRADES.values(), ids=UPGRADES)
@pytest.mark.parametrize("chunks", [False, True], ids=["sized", "chunked"])
def test_an_upgrade_is_ignored_and_its_body_is_read(services, chunks, headers):
    """Java's HttpClient asks for one by default, with its first POST."""
    sent = chunked(ROW, **headers) if chunks else raw(body=ROW, **headers)
    with socket.create_connection(services[0], timeout=120) as connection:
        connection.sendall(sent + raw("GET", "/health/live"))
        stream = Kept(socket.SocketIO(connection, "r"))
        both = SimpleNamespace(makefile=lambda mode: stream)
        assert [read(both)[0] for _ in range(2)] == [200, 200]


@pytest.fixture(params=["asgi", "gthread"])
def worker_class(request):
    return request.param


@pytest.fixture
def address(worker_class, services):
    return services[worker_class == "gthread"]


def test_pipelined_requests_are_answered_in_order(address):
    sent = [GOOD["an object"], BAD["not json"], GOOD["csv"], GOOD["ready"], GOOD["a chunked body"]]
    alone = [ask(address, one) for one in sent]

    with socket.create_connection(address, timeout=120) as connection:
        connection.sendall(b"".join(sent))
        kept = Kept(socket.SocketIO(connection, "r"))
        answers = SimpleNamespace(makefile=lambda mode: kept)
        assert [read(answers) for _ in sent] == alone


ONE_BY_ONE = {"far beyond the limit", "far beyond the limit, chunked", "one byte beyond the limit, chunked"}
ONE_BY_ONE |= {name for name in GOOD | BAD if "head" in name or "HTTP/1.0" in name}
ONE_BY_ONE |= {"the page"}  # it shows the rows that have been answered meanwhile


@pytest.mark.parametrize("seed", range(4))
def test_requests_of_all_kinds_in_pieces_are_answered_as_alone(address, seed):
    """The requests share a connection and take every way; pieces may end anywhere."""
    kinds = {name: sent for name, sent in (GOOD | BAD).items() if name not in ONE_BY_ONE}
    alone, chance = {}, random.Random(seed)
    for _ in range(12):
        names = chance.choices([*kinds, *["an object", "tensors", "not json"] * 10], k=40)
        data, most = b"".join(kinds[name] for name in names), chance.choice([300, 3000, 70_000, 1 << 20])
        with socket.create_connection(address, timeout=120) as connection:
            stream = Kept(socket.SocketIO(connection, "r"))
            sender = threading.Thread(target=send, args=(connection, data, most, chance.randrange(1 << 32)))
            sender.start()
            answers = SimpleNamespace(makefile=lambda mode, stream=stream: stream)
            for name in names:
                if name not in alone:
                    alone[name] = ask(address, kinds[name])
                assert read(answers) == alone[name], name
            sender.join()


def test_a_kept_connection_outlives_a_refusal(address):
    with socket.create_connection(address, timeout=120) as connection:
        for sent in (BAD["not json"], BAD["one byte beyond the limit"], GOOD["an object"]):
            connection.sendall(sent)
            assert read(connection) == ask(address, sent)


def test_a_connection_is_kept_for_many_large_bodies(models, worker_class):
    body = b"[" + b",".join([b'{"hours": 1.5}'] * 20_000) + b"]"
    with service(models, MODEL_NAME="hours", WEB_CONCURRENCY="1", WORKER_CLASS=worker_class) as (address, _):
        connection = http.client.HTTPConnection(address.removeprefix("http://"), timeout=120)
        for rows in (20_000, 5_000, 20_000, 5_000) * 3:
            connection.request("POST", "/predict", body[: 15 * rows] + b"]", {"Content-Type": "application/json"})
            with connection.getresponse() as response:
                assert response.status == 200
                assert response.read().count(b'"logit"') == rows
        connection.close()


def test_expect_100_continue(address):
    with socket.create_connection(address, timeout=120) as connection:
        connection.sendall(raw(body=ROW, Expect="100-continue").removesuffix(ROW))
        assert connection.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(ROW)
        assert read(connection)[0] == 200


def test_a_slow_sender_holds_nobody_up(address):
    sent = raw(body=ROW)
    with socket.create_connection(address, timeout=120) as connection:
        for byte in range(len(sent)):
            connection.sendall(sent[byte : byte + 1])
            if byte % 50 == 0:
                assert ask(address, GOOD["live"])[0] == 200
        assert read(connection) == ask(address, sent)


def test_a_client_that_leaves_half_way_is_no_error(address):
    for sent in (raw(body=ROW)[:-5], chunked(ROW)[:-8], raw(body=ROW)[:20], b""):
        with socket.create_connection(address, timeout=120) as connection:
            connection.sendall(sent)
    assert ask(address, GOOD["an object"])[0] == 200


def test_an_error_of_ours_is_one_answer_and_a_logged_traceback(models, worker_class, tmp_path):
    """The runtime breaks after its start: the answer is a 500 without the traceback."""
    breaks = "from passfail.model import Model; Model.predict_rows = lambda *_: 1 / 0"
    (tmp_path / "sitecustomize.py").write_text(breaks)
    path = f"{tmp_path}:{ROOT}"
    with service(models, MODEL_NAME="hours", WEB_CONCURRENCY="1", WORKER_CLASS=worker_class, PYTHONPATH=path) as (
        address,
        process,
    ):
        status, body = post(address, b'{"hours": 7}')
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=120)

    assert status == 500
    assert b"its log says why" in body
    assert b"ZeroDivisionError" not in body
    assert "POST /predict failed" in output
    assert "ZeroDivisionError" in output


def test_health_is_answered_beside_large_batches(models, worker_class):
    """SIGTERM finishes what is in flight."""
    body = b"[" + b",".join([b'{"hours": 1.5}'] * 50_000) + b"]"
    with service(models, MODEL_NAME="hours", WEB_CONCURRENCY="1", WORKER_CLASS=worker_class) as (address, process):
        results = []
        clients = [threading.Thread(target=lambda: results.append(post(address, body)[0])) for _ in range(3)]
        for client in clients:
            client.start()
        while any(client.is_alive() for client in clients):
            assert post(address, b'{"hours": 7}')[0] == 200
        assert results == [200] * 3

        last = threading.Thread(target=lambda: results.append(post(address, body)[0]))
        last.start()
        until(lambda: in_flight(address) == 2 or not last.is_alive())  # the other is this question
        process.send_signal(signal.SIGTERM)
        last.join()
        output, _ = process.communicate(timeout=120)

    assert results == [200] * 4
    assert process.returncode == 0
    assert "Traceback" not in output


def in_flight(address):
    with urllib.request.urlopen(f"{address}/metrics", timeout=120) as answer:
        return float(re.search(rb"^passfail_requests_in_flight (.*)", answer.read(), re.M)[1])
