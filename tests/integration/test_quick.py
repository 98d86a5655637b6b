"""The quick way (serve/server/quick.py): which requests take it, and a connection that sends and reads as it likes."""

import asyncio
import contextlib
import signal
import socket
import threading

import pytest
from gunicorn.asgi.parser import PythonProtocol

from serve.http.messages import Answer, Pending
from serve.protocols.predict import predict
from serve.server.asgi import Front
from serve.server.flask_app import create_app
from serve.server.quick import SMALL
from serve.settings import Config
from tests.support.http import BAD, GOOD, ROW, answers, raw
from tests.support.service import service

LIMIT = 2 * SMALL
COUNT = 100
PARSERS = [PythonProtocol]
try:
    from gunicorn_h1c import H1CProtocol

    PARSERS.append(H1CProtocol)
except ImportError:
    pass


@pytest.fixture(scope="module")
def front(models):
    return Front(create_app(Config(models=models, model_name="admissions", max_body_bytes=LIMIT)))


@pytest.fixture(params=PARSERS)
def call(front, request):
    """What the quick way makes of raw bytes: a Call, or None."""

    def call(sent):
        found = []
        parser = request.param(on_headers_complete=lambda: found.append(front.quick.call(parser, 80)))
        parser.feed(sent)
        return found[0]

    return call


TAKEN = [
    "an object", "an array", "no rows", "csv", "tensors", "tensors of a version", "tensors in bytes", "an invocation",
]  # fmt: skip
NOT_TAKEN = [
    "an explanation", "a query", "a chunked body", "an escaped path", "an absolute target", "a header sent twice",
    "HTTP/1.0", "ready",
]  # fmt: skip


def test_small_requests_in_the_usual_form_are_taken(call):
    for name in TAKEN:
        assert call(GOOD[name]) is not None, name
    assert call(BAD["not json"]).rule == "/predict"
    assert call(BAD["a version that isn't there"]).names == {"name": "admissions", "version": "7"}
    assert call(raw(body=ROW.ljust(SMALL))) is not None
    for header in (
        "Connection: keep-alive",
        "Connection: close",
        "X-Forwarded-Proto: https",
        "traceparent: x",
        "Cookie: a=b",
    ):
        assert call(raw(body=ROW).replace(b"\r\n", b"\r\n%b\r\n" % header.encode(), 1)) is not None, header


def test_what_asks_for_more_is_not(call):
    for name in NOT_TAKEN:
        assert call(GOOD[name]) is None, name
    for name in ("no length", "get", "no such route", "a slash too many", "post to a probe"):
        assert call(BAD[name]) is None, name
    assert call(raw(body=ROW.ljust(SMALL + 1))) is None
    for header in ("Expect: 100-continue", "Upgrade: h2c", "X-Forwarded-Ssl: on"):
        assert call(raw(body=ROW).replace(b"\r\n", b"\r\n%b\r\n" % header.encode(), 1)) is None, header


def test_a_limit_below_holds_here_too(models):
    front = Front(create_app(Config(models=models, model_name="admissions", max_body_bytes=100)))
    for size, taken in ((100, True), (101, False)):
        found = []
        parser = PythonProtocol(on_headers_complete=lambda: found.append(front.quick.call(parser, 80)))  # noqa: B023
        parser.feed(raw(body=ROW.ljust(size)))
        assert (found[0] is not None) == taken


class Connection(list):
    """What becomes of the call of a connection."""

    admitted, alone, answer = True, False, list.append

    def go_on(self):
        self.append("goes on")


def test_who_is_alone_waits_for_nobody(front, call):
    """But for one that is closed behind its answer."""

    async def answered_at_once(sent, alone):
        connection = Connection()
        connection.alone = alone
        heard = call(sent)
        heard.chunks.append(ROW)
        front.quick.hear(heard, connection)
        at_once = [answer.status for answer in connection]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert connection.pop() == "goes on"
        assert [answer.status for answer in connection] == [200]
        return at_once == [200]

    closed = raw(body=ROW).replace(b"\r\n", b"\r\nConnection: close\r\n", 1)
    assert asyncio.run(answered_at_once(raw(body=ROW), True))
    assert not asyncio.run(answered_at_once(raw(body=ROW), False))
    assert not asyncio.run(answered_at_once(closed, True))


def test_one_that_fails_takes_no_other_of_its_turn_with_it(front, call):
    def breaks(service, request):
        raise ZeroDivisionError

    def breaks_later(service, request):
        return Pending(service.served, (700.0, 3.5, 0.0), lambda found: 1 / 0)

    async def together(endpoints):
        connections = [Connection() for _ in endpoints]
        for connection, endpoint in zip(connections, endpoints, strict=True):
            heard = call(GOOD["an object"])
            heard.chunks.append(ROW)
            heard.endpoint = endpoint
            front.quick.hear(heard, connection)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return connections

    connections = asyncio.run(together([predict, breaks, predict, breaks_later, predict]))

    assert all(connection.pop() == "goes on" for connection in connections)
    answers = [answer for (answer,) in connections]
    assert [answer.status for answer in answers] == [200, 500, 200, 500, 200]
    assert len({answer.body for answer in answers[::2]}) == 1
    assert all(isinstance(answer, Answer) for answer in answers)


@pytest.fixture(scope="module")
def served(models):
    """((host, port), process) of one worker."""
    with service(models, MODEL_NAME="admissions", WEB_CONCURRENCY="1") as (address, process):
        host, port = address.removeprefix("http://").split(":")
        yield (host, int(port)), process


def test_many_requests_behind_each_other_are_answered_in_order(served):
    """On all the ways, more of them than gunicorn's parser keeps behind a request."""
    kinds = [GOOD["an object"], GOOD["a chunked body"], BAD["not json"], GOOD["a query"], GOOD["live"]]
    sent = [raw(body=ROW, X_Request_Id=str(number)) if number % 7 else kinds[number // 7 % 5] for number in range(700)]
    with socket.create_connection(served[0], timeout=30) as connection:
        for at in range(0, len(sent), 100):
            connection.sendall(b"".join(sent[at : at + 100]))
        found = answers(connection)
        for number, one in enumerate(sent):
            status, headers, _ = next(found)
            assert status == (400 if one is BAD["not json"] else 200)
            if number % 7:
                assert headers["X-Request-Id"] == str(number)


def test_who_reads_late_gets_every_answer_in_order(served):
    """More of them than the kernel holds, on both ways: the service stops reading, and goes on where it stopped."""
    rows = b"[" + b",".join([ROW] * 3000) + b"]"
    paths = ["/predict", "/predict?explain=false"]
    sent = b"".join(raw(path=paths[number % 2], body=rows, X_Request_Id=str(number)) for number in range(COUNT))
    with socket.create_connection(served[0], timeout=0.5) as connection:
        with contextlib.suppress(TimeoutError):
            while sent:
                sent = sent[connection.send(sent) :]
        assert sent
        connection.settimeout(30)
        rest = threading.Thread(target=connection.sendall, args=(sent,))
        rest.start()
        found = answers(connection)
        for number in range(COUNT):
            status, headers, body = next(found)
            assert (status, headers["X-Request-Id"], body.count(b'"logit"')) == (200, str(number), 3000)
        rest.join()


def test_a_body_that_is_half_there_is_answered_before_the_worker_stops(models):
    with service(models, MODEL_NAME="admissions", WEB_CONCURRENCY="1") as (address, process):
        host, port = address.removeprefix("http://").split(":")
        with (
            socket.create_connection((host, int(port)), timeout=30) as connection,
            socket.create_connection((host, int(port)), timeout=30) as other,
        ):
            connection.sendall(raw(body=ROW)[:-5])
            other.sendall(raw("GET", "/health/live"))
            assert next(answers(other))[0] == 200  # by now the half is read, too
            process.send_signal(signal.SIGTERM)
            assert other.recv(1) == b""  # the worker has been told
            connection.sendall(ROW[-5:])
            status, headers, _ = next(answers(connection))
            assert (status, headers["Connection"]) == (200, "close")
            assert connection.recv(1) == b""
        process.communicate(timeout=30)
    assert process.returncode == 0
