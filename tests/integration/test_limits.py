"""Clients that are slow, silent or lie about lengths meet a limit, and disturb no other."""

import http.client
import select
import signal
import socket
import time
from contextlib import ExitStack

import pytest

from tests.support import ROOT
from tests.support.processes import sockets
from tests.support.service import post, service
from tests.support.wait import until

ROW = b'{"hours": 7}'
MANY = b"[" + b",".join([ROW] * 100_000) + b"]"
HEAD = b"POST /predict HTTP/1.1\r\nHost: here\r\nContent-Type: application/json\r\n"
# The limits as they are would make these tests take minutes.
SHORT = """
import socket
from serve.server import connection
connection.HEAD_SECONDS = connection.READ_SECONDS = connection.BODY_SECONDS = 2
# So that of an answer of a few KB some is not yet the kernel's.
made = connection.Connection.connection_made
def connection_made(self, transport):
    transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    made(self, transport)
connection.Connection.connection_made = connection_made
"""


@pytest.fixture(scope="module")
def hurried(models, tmp_path_factory):
    """(address, (host, port)) of a service with limits of two seconds, and one slot."""
    folder = tmp_path_factory.mktemp("short")
    (folder / "sitecustomize.py").write_text(SHORT)
    settings = {"MODEL_NAME": "hours", "WEB_CONCURRENCY": "1", "MAX_IN_FLIGHT": "1", "PYTHONPATH": f"{folder}:{ROOT}"}
    with service(models, KEEPALIVE="2", **settings) as (address, _):
        host, port = address.removeprefix("http://").split(":")
        yield address, (host, int(port))


@pytest.fixture
def connection(hurried):
    with socket.create_connection(hurried[1], timeout=120) as connection:
        yield connection


def sized(body, length):
    return HEAD + b"Content-Length: %d\r\n\r\n" % length + body


def chunked(text):
    return HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + text


def answer(connection):
    response = http.client.HTTPResponse(connection)
    response.begin()
    return response.status, response.getheader("Content-Type"), response.read()


def closed(connection):
    """Whether the service has ended the connection; waits for it, as long as the socket does."""
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:
        return True


@pytest.mark.parametrize("sent", [b"", HEAD])
def test_a_head_that_does_not_come_is_408(connection, sent):
    connection.sendall(sent)

    assert answer(connection)[0] == 408
    assert closed(connection)


@pytest.mark.parametrize("sent", [sized(ROW, 100), chunked(b"4\r\n{")])
def test_a_body_that_stops_coming_is_408(hurried, connection, sent):
    connection.sendall(sent)

    assert post(hurried[0], ROW)[0] == 200
    assert answer(connection)[:2] == (408, "application/problem+json")
    assert closed(connection)


def test_who_does_not_read_is_cut_off(hurried):
    address, at = hurried
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(120)
        connection.connect(at)
        connection.sendall(sized(MANY, len(MANY)))
        select.select([connection], [], [])  # its answer has begun, and holds the slot
        until(lambda: post(address, ROW)[0] != 503)

        with pytest.raises(http.client.IncompleteRead):
            answer(connection)


def test_who_does_not_read_the_end_is_cut_off_too(hurried):
    """Only the closing of the connection waits for the few bytes that are left."""
    few = b"[" + b",".join([ROW] * 300) + b"]"
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(120)
        connection.connect(hurried[1])
        connection.sendall(sized(few, len(few)))
        select.select([connection], [], [])  # its answer has begun
        until(lambda: not stands(hurried[1], connection))

        with pytest.raises(http.client.IncompleteRead):
            answer(connection)


def stands(at, connection):
    """Whether the service has not closed its end of the connection, by the kernel's own table."""
    ends = (at[1], connection.getsockname()[1])
    return any((one.port, one.peer) == ends and one.established for one in sockets())


def test_a_connection_without_a_further_request_is_closed(connection):
    connection.sendall(sized(ROW, len(ROW)))
    assert answer(connection)[0] == 200

    assert closed(connection)


LONGER = {
    "more than its length": sized(ROW + b"and more\r\n\r\n", len(ROW)),
    "a chunk after the last": chunked(b"%x\r\n%b\r\n0\r\n\r\n5\r\nhello\r\n" % (len(ROW), ROW)),
}
BROKEN = {
    "a chunk longer than it says": chunked(b"4\r\n" + ROW + b"\r\n0\r\n\r\n"),
    "a chunk whose length is none": chunked(b"x\r\n" + ROW + b"\r\n0\r\n\r\n"),
    "a chunk of less than nothing": chunked(b"-1\r\n\r\n"),
    "a length of less than nothing": sized(ROW, -1),
}


@pytest.fixture(scope="module")
def services(models):
    """{worker class: (host, port)} of a service for each."""
    with ExitStack() as stack:
        found = {}
        for name in ("asgi", "gthread"):
            settings = {"MODEL_NAME": "hours", "WEB_CONCURRENCY": "1", "WORKER_CLASS": name}
            host, port = stack.enter_context(service(models, **settings))[0].removeprefix("http://").split(":")
            found[name] = host, int(port)
        yield found


@pytest.mark.parametrize("worker_class", ["asgi", "gthread"])
@pytest.mark.parametrize("sent", LONGER.values(), ids=LONGER)
def test_what_comes_after_a_body_is_not_part_of_it(services, worker_class, sent):
    with socket.create_connection(services[worker_class], timeout=120) as connection:
        connection.sendall(sent)
        received = b""
        while data := connection.recv(65536):
            received += data

    first, _, second = received.partition(b"HTTP/1.1 400")
    assert first.startswith(b"HTTP/1.1 200")
    assert first.count(b'"logit"') == 1
    assert b'"logit"' not in second


@pytest.mark.parametrize("worker_class", ["asgi", "gthread"])
def test_half_a_table_is_not_answered_as_a_whole_one(services, worker_class):
    sent = sized(b"hours\n1\n2\n", 100).replace(b"application/json", b"text/csv")
    with socket.create_connection(services[worker_class], timeout=120) as connection:
        connection.sendall(sent)
        connection.shutdown(socket.SHUT_WR)
        received = connection.recv(65536)

    assert received == b"" if worker_class == "asgi" else received.startswith(b"HTTP/1.1 400")


@pytest.mark.parametrize("worker_class", ["asgi", "gthread"])
@pytest.mark.parametrize("sent", BROKEN.values(), ids=BROKEN)
def test_a_broken_length_is_400_and_the_end(services, worker_class, sent):
    with socket.create_connection(services[worker_class], timeout=120) as connection:
        connection.sendall(sent)
        assert answer(connection)[0] == 400
        assert closed(connection)


def test_what_is_sent_before_the_end_of_sending_is_answered(services):
    """A client that shuts its side down after its requests reads all answers."""
    with socket.create_connection(services["asgi"], timeout=120) as connection:
        connection.sendall(sized(ROW, len(ROW)) * 3 + sized(MANY, len(MANY)))
        connection.shutdown(socket.SHUT_WR)
        received = b""
        while data := connection.recv(1 << 20):
            received += data

    assert received.count(b"HTTP/1.1 200 OK") == 4
    assert received.count(b'"logit"') == 100_003


def test_a_connection_is_kept_for_longer_than_load_balancers_need(models):
    """The default is 75 s; three of these connections wait longer than an earlier default."""
    with service(models, MODEL_NAME="hours", WEB_CONCURRENCY="1") as (address, _):
        host, port = address.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=120) as connection:
            for pause in (0, 3):
                time.sleep(pause)
                connection.sendall(sized(ROW, len(ROW)))
                assert answer(connection)[0] == 200


def test_idle_connections_do_not_hold_up_the_stop(models):
    """gunicorn alone waits its grace for one that never sent a request."""
    settings = {"WEB_CONCURRENCY": "1", "GUNICORN_CMD_ARGS": "--graceful-timeout 1000"}
    with service(models, MODEL_NAME="hours", **settings) as (address, process), ExitStack() as stack:
        host, port = address.removeprefix("http://").split(":")
        idle = [stack.enter_context(socket.create_connection((host, int(port)), timeout=120)) for _ in range(3)]
        idle[1].sendall(b"POST")
        idle[2].sendall(sized(ROW, len(ROW)))
        assert answer(idle[2])[0] == 200
        process.send_signal(signal.SIGTERM)

        assert all(closed(connection) for connection in idle)
        output, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    assert "Traceback" not in output
