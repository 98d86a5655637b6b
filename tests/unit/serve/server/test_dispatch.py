"""The dispatch of requests to the event loop, to the batch thread, or to Flask."""

import asyncio
import dataclasses
import gc
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from serve.http.auth import Auth
from serve.http.messages import Answer, Pending
from serve.protocols.predict import predict
from serve.protocols.routes import Routes
from serve.server import connection, dispatch
from serve.server.dispatch import SMALL
from serve.server.flask_app import create_app
from serve.server.head import target
from serve.settings import Config
from tests.support.http import BAD, GOOD, INFER, ROW, chunked, raw
from tests.support.loopless import Client, Worker

LIMIT = 2 * SMALL
HEADERS = ("Connection: close", "X-Forwarded-Proto: https", "traceparent: x", "Expect: 100-continue", "Upgrade: h2c")


@pytest.fixture(scope="module")
def app(models):
    settings = {"max_body_bytes": LIMIT, "max_in_flight": 8, "vertex_predict": "/vertex"}
    return create_app(Config(models=models, model_name="admissions", **settings))


@pytest.fixture
def taken(app, monkeypatch):
    """taken(sent) -> (the thread that answers these bytes, or "loop"; the response's status)."""
    threads = []

    class Recording(ThreadPoolExecutor):
        def submit(self, *work):
            threads.append(self._thread_name_prefix)
            return super().submit(*work)

    monkeypatch.setattr(dispatch, "ThreadPoolExecutor", Recording)

    def taken(sent):
        async def ask():
            client = Client(Worker(app))
            client.send(sent)
            return await client.statuses(1)

        (status,) = asyncio.run(ask())
        return (threads.pop() if threads else "loop"), status

    return taken


IN_LOOP = [
    "an object", "an array", "no rows", "csv", "tensors", "tensors of a version", "tensors in bytes", "an invocation",
    "a chunked body", "an escaped path", "an absolute target", "two slashes", "a header sent twice", "HTTP/1.0",
]  # fmt: skip


@pytest.mark.parametrize("name", IN_LOOP)
def test_a_small_body_for_a_hot_endpoint_is_answered_in_the_loop(taken, name):
    assert taken(GOOD[name]) == ("loop", 200)


def test_the_path_that_vertex_ai_names_is_a_hot_endpoint(taken):
    assert taken(raw(path="/vertex", body=b'{"instances": [[700, 3.5, "1"]]}')) == ("loop", 200)


@pytest.mark.parametrize("header", HEADERS)
def test_a_header_does_not_change_the_thread(taken, header):
    assert taken(raw(body=ROW).replace(b"\r\n", b"\r\n%b\r\n" % header.encode(), 1)) == ("loop", 200)


@pytest.mark.parametrize("sent", [
    raw(body=ROW.ljust(SMALL + 1)), chunked(ROW.ljust(SMALL + 1)), GOOD["a query"],
])  # fmt: skip
def test_a_large_body_and_one_with_a_query_take_the_batch_thread(taken, sent):
    assert taken(sent) == ("batch", 200)


def test_a_body_of_the_limit_is_small(taken):
    assert taken(raw(body=ROW.ljust(SMALL))) == ("loop", 200)


@pytest.mark.parametrize(("sent", "thread", "status"), [
    (GOOD["ready"], "probe", 200), (raw("GET", "/metrics"), "probe", 200), (GOOD["model"], "page", 200),
    (GOOD["an explanation"], "page", 200), (BAD["get"], "page", 405), (BAD["a slash too many"], "page", 404),
    (BAD["no such route"], "page", 404), (BAD["post to a probe"], "probe", 405),
])  # fmt: skip
def test_threads_answer_the_rest(taken, sent, thread, status):
    assert taken(sent) == (thread, status)


@pytest.mark.parametrize("path", ["/health/live", "/health/ready", "/metrics", "/ping", "/v2", "/model"])
def test_no_get_but_a_page_needs_flask(taken, app, monkeypatch, path):
    monkeypatch.setattr(type(app), "__call__", lambda *_: 1 / 0)

    assert taken(raw("GET", path))[1] == 200


@pytest.mark.parametrize(("sent", "rule"), [
    (GOOD["an object"], "/predict"), (GOOD["an explanation"], "/explain"), (raw("GET", "/"), "/"),
    (raw("GET", "/page/style.css"), "/page/<name>"), (raw("GET", "/nowhere"), "other"),
])  # fmt: skip
def test_a_request_without_a_key_is_refused_in_the_loop_and_counts_for_its_route(taken, app, monkeypatch, sent, rule):
    config = dataclasses.replace(app.service.config, api_keys=(bytes(32),))
    monkeypatch.setattr(app.service, "config", config)
    monkeypatch.setattr(app, "auth", Auth(config, app.routes.is_probe))

    before = app.recorder.metrics.totals().requests.get(rule, {}).get("401", 0)

    assert taken(sent) == ("loop", 401)
    assert app.recorder.metrics.totals().requests[rule]["401"] == before + 1


@pytest.mark.parametrize("path", ["//ping", "/%70ing"])
def test_flask_says_where_another_spelling_of_a_path_leads(taken, app, monkeypatch, path):
    asked = []
    monkeypatch.setattr(type(app), "__call__", lambda *_: asked.append(path) or 1 / 0)

    assert taken(raw("GET", path))[1] == 500
    assert asked == [path]


@pytest.mark.parametrize(("sent", "path", "query", "rule"), [
    (b"/predict", "/predict", "", "/predict"),
    (b"/predict?a=b?c", "/predict", "a=b?c", "/predict"),
    (b"/predict#part", "/predict", "", "/predict"),
    (b"//predict", "/predict", "", "/predict"),
    (b"/%70redict", "/predict", "", "/predict"),
    (b"http://there/predict?x", "/predict", "x", "/predict"),
    (b"http://there", "/", "", None),
    (b"*", "/*", "", None),
    (b"/%ff", "/\ufffd", "", None),
    (b"/a/http://there/predict", "/a/http://there/predict", "", None),
    (INFER.encode(), INFER, "", "/v2/models/<name>/infer"),
])  # fmt: skip
def test_a_target_is_parsed(sent, path, query, rule):
    found = target(Routes(Config()), "POST", sent)

    assert (found.path, found.query, found.found and found.found[0]) == (path, query, rule)


def test_a_failing_endpoint_does_not_affect_others_in_its_iteration(app, monkeypatch):
    def breaks(service, request):
        raise ZeroDivisionError

    def breaks_later(service, request):
        return Pending(service.served, (700.0, 3.5, 0.0), lambda found: 1 / 0)

    endpoints = {"/1": predict, "/2": breaks, "/3": predict, "/4": breaks_later, "/5": predict}
    monkeypatch.setattr(Routes, "hot", lambda self, path, method: ("/predict", endpoints[path], {}))

    async def together():
        worker = Worker(app)
        clients = [Client(worker) for _ in endpoints]
        for client, path in zip(clients, endpoints, strict=True):
            client.send(raw(path=path, body=ROW))
        return [(await client.statuses(1))[0] for client in clients], {client.body() for client in clients[::2]}

    statuses, bodies = asyncio.run(together())
    assert statuses == [200, 500, 200, 500, 200]
    assert len(bodies) == 1


def test_a_header_that_latin_1_does_not_have_does_not_hold_the_response_back(app, monkeypatch):
    endpoint = lambda service, request: Answer(200, "X-Name: 5 \u20ac\r\n", b"answered")  # noqa: E731
    monkeypatch.setattr(Routes, "hot", lambda self, path, method: ("/predict", endpoint, {}))

    async def ask():
        client = Client(Worker(app))
        client.send(raw(path="/euro", body=ROW))
        return await client.statuses(1), client.body()

    assert asyncio.run(ask()) == ([200], b"answered")


def test_a_queued_request_is_not_begun_after_its_client_left(app, monkeypatch):
    """It counts as a request without an answer."""
    begun, ended = [], []
    monkeypatch.setattr(app.recorder, "end", lambda some: ended.extend(answer for _, _, answer in some))
    monkeypatch.setattr(dispatch, "completed", lambda found: begun.append(found) or Answer(200, "", b""))

    async def leave():
        worker, gate = Worker(app), threading.Event()
        worker.loop.run_in_executor(worker.dispatcher._batches, gate.wait, 30)
        client = Client(worker)
        client.send(GOOD["a query"])
        client.leave()
        await asyncio.sleep(0)
        gate.set()
        while not ended:
            await asyncio.sleep(0)

    asyncio.run(leave())
    assert (begun, ended) == ([], [dispatch.GONE])


def test_requests_in_flight_stay_below_the_limit_and_are_released(app):
    """Each request of one iteration is answered, and the next iteration admits as many again."""

    async def ask():
        worker = Worker(app)
        clients = [Client(worker) for _ in range(20)]
        found = []
        for _ in range(2):
            for client in clients:
                client.send(GOOD["an object"])
            found.append([(await client.statuses(1))[0] for client in clients])
        return found

    assert asyncio.run(ask()) == [[200] * 8 + [503] * 12] * 2


@pytest.mark.parametrize(("seconds", "statuses"), [
    (0.001, [200] * 6), (0.0124, [200] * 4 + [503] * 2), (1.0, [200] * 3 + [503] * 3),
], ids=["fast", "itself counted", "slow"])  # fmt: skip
def test_a_request_that_would_wait_too_long_for_others_is_refused(app, seconds, statuses):
    """Two may always be ahead; the recent pace decides how many more may be."""

    async def ask():
        worker, gate = Worker(app), threading.Event()
        worker.dispatcher._batches.submit(gate.wait, 30)
        worker.dispatcher._pace = seconds
        clients = [Client(worker) for _ in statuses]
        for client in clients:
            client.send(GOOD["a query"])
        gate.set()
        found = [(await client.statuses(1))[0] for client in clients]
        clients[0].send(GOOD["a query"])
        return found, await clients[0].statuses(1)

    assert asyncio.run(ask()) == (statuses, [200])


@pytest.mark.parametrize("sent", [GOOD["an object"], raw(body=ROW.ljust(SMALL + 1))], ids=["small", "large"])
@pytest.mark.parametrize("lost", [False, True], ids=["idle", "lost"])
def test_an_answered_request_is_not_held(app, monkeypatch, sent, lost):
    """A cycle of references would hold it, until the garbage collector runs."""
    ended = []

    class Noted(dispatch.Call):
        def __del__(self):
            ended.append(self)

    monkeypatch.setattr(connection, "Call", Noted)

    async def ask():
        client = Client(Worker(app))
        client.send(sent)
        await client.statuses(1)
        if lost:
            client.leave()
        for _ in range(1000):  # the thread that answered may let go of it after the answer has left
            if ended:
                break
            await asyncio.sleep(0.01)
        return len(ended)

    gc.disable()
    try:
        assert asyncio.run(ask()) == 1
    finally:
        gc.enable()
