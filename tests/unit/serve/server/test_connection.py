"""The time limits of a connection, by a clock that moves only when the test says so."""

import asyncio
import json

import pytest

from serve.server.connection import BODY_SECONDS, HEAD_SECONDS, LEAVE_SECONDS
from serve.server.flask_app import create_app
from serve.settings import Config
from tests.support.http import INFER, ROW, chunked, raw
from tests.support.loopless import Client, Worker

SENT = raw(body=ROW)
KEEPALIVE = 75


@pytest.fixture(scope="module")
def app(models):
    return create_app(Config(models=models, model_name="admissions"))


@pytest.fixture
def converse(app):
    """converse(talk): run talk(worker, client) with a new connection."""

    def converse(talk):
        async def meet():
            worker = Worker(app)
            await talk(worker, Client(worker))

        asyncio.run(meet())

    return converse


async def ends_with_408(worker, client, seconds):
    """Expect the connection to end with 408 after that time, and not before."""
    worker.wait(seconds - 1)
    assert client.received == b""
    worker.wait(1)
    assert await client.statuses(1) == [408]
    assert client.closed


@pytest.mark.parametrize("sent", [b"", b"POST", SENT[:40], SENT[: -len(ROW) - 4]])
def test_a_head_that_does_not_come_is_408(converse, sent):
    async def talk(worker, client):
        client.send(sent)
        await ends_with_408(worker, client, HEAD_SECONDS)

    converse(talk)


@pytest.mark.parametrize("first", [b"", SENT], ids=["the first request", "a later one"])
@pytest.mark.parametrize("sent", [SENT[:-1], SENT[: -len(ROW)], chunked(ROW)[:-20], chunked(ROW)[:-1]])
def test_a_body_that_does_not_come_is_408_and_each_has_its_own_time(converse, first, sent):
    async def talk(worker, client):
        if first:
            client.send(first)
            assert await client.statuses(1) == [200]
            worker.wait(KEEPALIVE - 1)
        client.send(sent)
        await ends_with_408(worker, client, BODY_SECONDS)

    converse(talk)


@pytest.mark.parametrize(("start", "drop"), [
    (raw(Content_Length="10000"), b" "), (chunked().removesuffix(b"0\r\n\r\n"), b"1\r\n \r\n"),
], ids=["sized", "chunked"])  # fmt: skip
def test_a_body_that_drips_is_408(converse, start, drop):
    async def talk(worker, client):
        client.send(start)
        for _ in range(BODY_SECONDS):
            assert client.received == b""
            client.send(drop)
            worker.wait(1)
        assert await client.statuses(1) == [408]

    converse(talk)


def test_other_connections_are_served_between_two_pieces_of_a_chunked_body(converse):
    async def talk(worker, client):
        client.send(chunked().removesuffix(b"0\r\n\r\n") + b"1\r\n \r\n" * 1000)
        assert not client.reading
        await asyncio.sleep(0)
        assert client.reading
        client.send(b"%x\r\n%b\r\n0\r\n\r\n" % (len(ROW), ROW))
        assert await client.statuses(1) == [200]
        assert client.reading

    converse(talk)


@pytest.mark.parametrize("cut", [1, 40, len(SENT) - len(ROW), len(SENT) - 1])
def test_the_time_of_an_idle_connection_ends_with_the_first_byte_of_a_request(converse, cut):
    async def talk(worker, client):
        client.send(SENT)
        assert await client.statuses(1) == [200]
        worker.wait(KEEPALIVE - 1)
        client.send(SENT[:cut])
        worker.wait(HEAD_SECONDS - 1)
        client.send(SENT[cut:])
        assert await client.statuses(1) == [200]
        worker.wait(KEEPALIVE - 1)
        assert not client.closed
        worker.wait(1)
        assert (client.closed, client.received) == (True, b"")

    converse(talk)


@pytest.mark.parametrize(("path", "fields"), [
    ("/predict", {"type", "title", "status", "detail"}), ("/invocations", {"error_code", "message"}),
    (INFER, {"error"}),
], ids=["passfail", "MLflow", "V2"])  # fmt: skip
def test_the_servers_own_errors_are_in_the_format_of_the_paths_protocol(converse, app, monkeypatch, path, fields):
    monkeypatch.setattr(type(app), "__call__", lambda *_: 1 / 0)
    late, malformed = (
        raw(path=path, Content_Length="9"),
        raw(path=path, Content_Length=None, Transfer_Encoding="chunked"),
    )

    async def talk(worker, _):
        found = []
        for sent in (late, malformed + b"no size\r\n\r\n", raw("GET", path)):
            client = Client(worker)
            client.send(sent)
            if sent is late:
                worker.wait(BODY_SECONDS)
            found += await client.statuses(1)
            assert json.loads(client.body()).keys() == fields
            assert b"X-Request-Id: mine" in client.read
        assert found == [408, 400, 500]

    converse(talk)


@pytest.mark.parametrize(("seconds", "statuses"), [(LEAVE_SECONDS - 1, [200]), (LEAVE_SECONDS, [])])
def test_a_connection_without_a_request_has_time_for_one_when_its_worker_stops(converse, seconds, statuses):
    async def talk(worker, client):
        worker.alive = False
        client.connection.leave()
        worker.wait(seconds)
        assert client.closed == (not statuses)
        client.send(SENT)
        assert await client.statuses(len(statuses)) == statuses
        assert client.closed

    converse(talk)
