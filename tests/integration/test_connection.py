"""A connection whose client sends and reads as it likes."""

import contextlib
import re
import signal
import socket
import threading
import time

import pytest

from tests.support.http import BAD, GOOD, ROW, answers, raw
from tests.support.service import service

COUNT = 100


@pytest.fixture(scope="module")
def served(models):
    """((host, port), process) of one worker."""
    with service(models, MODEL_NAME="admissions", WEB_CONCURRENCY="1") as (address, process):
        host, port = address.removeprefix("http://").split(":")
        yield (host, int(port)), process


def test_many_requests_behind_each_other_are_answered_in_order(served):
    """The requests take every way, and are more than the service reads ahead."""
    kinds = [GOOD["an object"], GOOD["a chunked body"], BAD["not json"], GOOD["a query"], GOOD["live"]]
    sent = [raw(body=ROW, X_Request_Id=str(number)) if number % 7 else kinds[number // 7 % 5] for number in range(700)]
    with socket.create_connection(served[0], timeout=120) as connection:
        for at in range(0, len(sent), 100):
            connection.sendall(b"".join(sent[at : at + 100]))
        found = answers(connection)
        for number, one in enumerate(sent):
            status, headers, _ = next(found)
            assert status == (400 if one is BAD["not json"] else 200)
            if number % 7:
                assert headers["X-Request-Id"] == str(number)


def test_who_reads_late_gets_every_answer_in_order(served):
    """The answers exceed the kernel's buffer: the service pauses reading, and continues later."""
    rows = b"[" + b",".join([ROW] * 3000) + b"]"
    paths = ["/predict", "/predict?explain=false"]
    sent = b"".join(raw(path=paths[number % 2], body=rows, X_Request_Id=str(number)) for number in range(COUNT))
    with socket.create_connection(served[0], timeout=0.5) as connection:
        with contextlib.suppress(TimeoutError):
            while sent:
                sent = sent[connection.send(sent) :]
        assert sent
        connection.settimeout(120)
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
            socket.create_connection((host, int(port)), timeout=120) as connection,
            socket.create_connection((host, int(port)), timeout=120) as other,
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
        process.communicate(timeout=120)
    assert process.returncode == 0


def test_an_answer_that_ends_its_connection_is_not_lost_to_requests_behind_it(models):
    """The kernel resets a connection that is closed with unread bytes."""
    rows = b"[" + b",".join([b'{"hours": 7}'] * 3000) + b"]"
    head = b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: %d\r\n" % len(rows)
    with service(models, MODEL_NAME="hours", WEB_CONCURRENCY="1") as (address, _):
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.settimeout(120)
        client.connect(("127.0.0.1", int(address.rpartition(":")[2])))
        with client:
            client.sendall(head + b"Connection: close\r\n\r\n" + rows + (head + b"\r\n" + rows) * 5)
            time.sleep(0.5)
            found = b""
            while data := client.recv(65536):
                found += data

    length = int(re.search(rb"Content-Length: (\d+)", found)[1])
    assert len(found.partition(b"\r\n\r\n")[2]) == length


@pytest.mark.parametrize("sent", [b"nothing\r\n\r\n", b"BREW / HTTP/1.1\r\n\r\n"], ids=["not HTTP", "unknown method"])
def test_a_request_that_can_not_be_read_has_an_id_in_its_answer(served, sent):
    with socket.create_connection(served[0], timeout=120) as connection:
        connection.sendall(sent)
        found = connection.recv(65536)

    assert re.search(rb"X-Request-Id: [0-9a-f]{32}\r\n", found)
