"""A worker at capacity refuses further requests at once, in their protocol's shape."""

import http.client
import json
import select
import socket
import urllib.request
from contextlib import ExitStack

import pytest

from serve.server.dispatch import LARGE_AT_ONCE, SMALL
from tests.support.service import post, service
from tests.support.wait import until

ROW = b'{"hours": 7}'
MANY = b"[" + b",".join([ROW] * 100_000) + b"]"
SETTINGS = {
    "MODEL_NAME": "hours",
    "MAX_BODY_BYTES": str(len(MANY)),
    "WEB_CONCURRENCY": "1",
    "AIP_PREDICT_ROUTE": "/vertex",
    "AIP_HEALTH_ROUTE": "/well",
}


@pytest.fixture(scope="module")
def narrow(models):
    """(address, (host, port)) of a service that takes one request at a time."""
    with service(models, MAX_IN_FLIGHT="1", **SETTINGS) as (address, _):
        host, port = address.removeprefix("http://").split(":")
        yield address, (host, int(port))


def head(path, length, **headers):
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    line = f"POST {path} HTTP/1.1\r\nHost: here\r\nContent-Type: application/json\r\n"
    return f"{line}Content-Length: {length}\r\n{lines}\r\n".encode()


def answer(connection):
    response = http.client.HTTPResponse(connection)
    response.begin()
    return response.status, dict(response.getheaders()), response.read()


@pytest.fixture
def taken(narrow):
    """The connection of who has the only slot: it asked for more than it reads."""
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(narrow[1])
        connection.sendall(head("/predict", len(MANY)) + MANY)
        select.select([connection], [], [])  # its answer has begun
        yield connection
    until(lambda: post(narrow[0], ROW)[0] == 200)


PROBLEM = {"type", "title", "status", "detail"}


@pytest.mark.parametrize(
    ("path", "names"),
    [
        ("/predict", PROBLEM),
        ("/predict?explain=true", PROBLEM),
        ("/explain", PROBLEM),
        ("/nowhere", PROBLEM),
        ("/v2/models/hours/infer", {"error"}),
        ("/v2/models/hours/versions/1/infer", {"error"}),
        ("/invocations", {"error_code", "message"}),
        ("/vertex", {"error"}),
    ],
)
def test_what_is_too_much_is_refused_in_its_protocols_shape(narrow, taken, path, names):
    with socket.create_connection(narrow[1], timeout=120) as connection:
        for _ in range(2):  # on one connection: a refusal doesn't end it
            connection.sendall(head(path, len(ROW)) + ROW)
            status, headers, body = answer(connection)
            assert (status, headers["Retry-After"]) == (503, "1")
            assert set(json.loads(body)) == names
            assert headers["Content-Type"] == f"application/{'problem+json' if 'title' in names else 'json'}"


def test_health_and_metrics_answer_all_the_same(narrow, taken):
    ready = ["/health/ready", "/v2/health/ready", "/v2/models/hours/ready", "/v2/models/hours/versions/1/ready"]
    for path in ("/health/live", "/v2/health/live", "/ping", "/well", *ready):
        with urllib.request.urlopen(narrow[0] + path, timeout=120) as found:
            assert found.status == 200
    assert post(narrow[0], ROW)[0] == 503
    with urllib.request.urlopen(f"{narrow[0]}/metrics", timeout=120) as found:
        assert b'passfail_requests_total{endpoint="/predict",status="503"}' in found.read()


def test_the_slot_comes_back(narrow, taken):
    status, _, body = answer(taken)

    assert (status, body.count(b'"logit"')) == (200, 100_000)
    assert post(narrow[0], ROW)[0] == 200


def test_who_sends_slowly_holds_no_slot_and_who_leaves_none(narrow):
    address, at = narrow
    with ExitStack() as stack:
        slow = [stack.enter_context(socket.create_connection(at, timeout=120)) for _ in range(5)]
        for connection in slow:
            connection.sendall((head("/predict", len(ROW)) + ROW)[:-5])
        assert post(address, ROW)[0] == 200
        for connection in slow[:3]:
            connection.close()
        for connection in slow[3:]:
            connection.sendall(ROW[-5:])
            assert answer(connection)[0] == 200
    assert post(address, ROW)[0] == 200


def test_the_slot_is_free_once_the_answer_is_there(narrow):
    """A client that waits for each answer is never refused, on one connection or on several."""
    address, at = narrow
    with socket.create_connection(at, timeout=120) as connection:
        for _ in range(300):
            assert post(address, ROW)[0] == 200
            connection.sendall(head("/predict", len(ROW)) + ROW)
            assert answer(connection)[0] == 200


def test_a_body_beyond_the_limit_takes_no_slot_with_it(narrow):
    """A chunked body that ended just beyond the limit kept its slot.

    The service refused the next request.
    """
    address, at = narrow
    with socket.create_connection(at, timeout=120) as connection:
        start = head("/predict", 0).replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
        connection.sendall(start + b"%x\r\n%b \r\n0\r\n\r\n" % (len(MANY) + 1, MANY))
        assert answer(connection)[0] == 413
        connection.sendall(head("/predict", len(ROW)) + ROW)
        assert answer(connection)[0] == 200
    assert post(address, ROW)[0] == 200


def test_large_bodies_wait_for_their_turn_and_no_more_than_may(narrow):
    address, at = narrow
    with ExitStack() as stack:
        sent = head("/predict", SMALL + 1) + ROW

        def begin():
            connection = stack.enter_context(socket.create_connection(at, timeout=120))
            connection.sendall(sent)
            return connection

        for _ in range(LARGE_AT_ONCE + 1):
            begin()
            for _ in range(2):
                urllib.request.urlopen(f"{address}/health/live", timeout=120).close()  # it has read what came before
        status, headers, _ = answer(begin())

        assert (status, headers["Retry-After"]) == (503, "1")
        assert post(address, ROW)[0] == 200


def test_requests_on_more_connections_than_a_worker_has_are_refused(models):
    with (
        service(models, MAX_CONNECTIONS="2", **SETTINGS) as (address, _),
        ExitStack() as stack,
    ):
        host, port = address.removeprefix("http://").split(":")
        for _ in range(2):
            connection = stack.enter_context(socket.create_connection((host, int(port)), timeout=120))
            connection.sendall(head("/predict", len(ROW)) + ROW)
            assert answer(connection)[0] == 200
            connection.sendall(head("/predict", len(ROW)))  # the rest never comes: gunicorn would close an idle one

        assert post(address, ROW)[0] == 503
        urllib.request.urlopen(f"{address}/health/ready", timeout=120).close()
        stack.close()
        until(lambda: post(address, ROW)[0] == 200)


def test_idle_connections_give_way_to_new_ones_the_longest_idle_first(models):
    """Silent ones, and one that was answered; not one whose request is on its way."""
    most = 20
    with service(models, MAX_CONNECTIONS=str(most), **SETTINGS) as (address, _), ExitStack() as stack:
        host, port = address.removeprefix("http://").split(":")

        def connect(sent=b""):
            connection = stack.enter_context(socket.create_connection((host, int(port)), timeout=120))
            connection.sendall(sent)
            return connection

        busy = connect((head("/predict", len(ROW)) + ROW)[:-1])
        kept = connect(head("/predict", len(ROW)) + ROW)
        assert answer(kept)[0] == 200
        silent = [connect() for _ in range(most)]
        for _ in range(3):
            assert post(address, ROW)[0] == 200
        assert kept.recv(1) == b""
        open_ones = [one for one in silent if not select.select([one], [], [], 0)[0]]
        assert open_ones == silent[-len(open_ones) :]  # none that is older than one that is closed
        assert most - 5 <= len(open_ones) < most
        busy.sendall(ROW[-1:])
        assert answer(busy)[0] == 200


def test_many_more_idle_connections_than_may_be_hold_nobody_up(models):
    """They come again as soon as they are closed."""
    with service(models, MAX_CONNECTIONS="100", **SETTINGS) as (address, _), ExitStack() as stack:
        host, port = address.removeprefix("http://").split(":")
        for _ in range(5):
            for _ in range(60):
                stack.enter_context(socket.create_connection((host, int(port)), timeout=120))
            assert post(address, ROW)[0] == 200


def test_a_client_that_leaves_the_queue_makes_room(narrow):
    """The worker removes a waiting request soon after its client has left."""
    address, at = narrow
    with ExitStack() as stack:
        sent = head("/predict", SMALL + 1)
        for _ in range(LARGE_AT_ONCE + 1):
            last = stack.enter_context(socket.create_connection(at, timeout=120))
            last.sendall(sent)
            for _ in range(2):
                urllib.request.urlopen(f"{address}/health/live", timeout=120).close()  # it has read what came before
        last.close()
        urllib.request.urlopen(f"{address}/health/live", timeout=120).close()

        with socket.create_connection(at, timeout=120) as connection:
            connection.sendall(sent + ROW.ljust(SMALL + 1))
            stack.close()
            assert answer(connection)[0] == 200
