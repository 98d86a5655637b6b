"""Bad input: nearly right requests in process, and some through real sockets.

Each answer is judged by tests/fuzz/targets.py. What was found stays in tests/fuzz/corpus. `make test` replays it and
sends 25,000 requests more, `make test-heavy` 100,000; `make fuzz` looks further.
"""

import csv
import io
import json
import os
import random
import re
import select
import socket
import struct
import threading
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serve.http.messages import Pending, Request
from serve.protocols.open_inference import HEADER_LENGTH
from serve.protocols.predict import predict
from serve.registry import Service
from serve.server.flask_app import create_app
from serve.server.microbatch import answer_together
from serve.settings import Config
from tests.fuzz import targets
from tests.fuzz.mutate import mutated, seeds
from tests.support.processes import children
from tests.support.service import post, service

MODELS = ("admissions", "awkward")


@pytest.fixture(scope="module")
def served(awkward):
    return {name: Service(Config(models=awkward, model_name=name, max_rows=1000)) for name in MODELS}


@pytest.mark.parametrize("decoder", targets.TARGETS)
def test_the_corpus_is_judged_right(served, decoder):
    """The model that begins a file's name answers the file, in a protocol of the target."""
    for name, data in seeds(decoder):
        statuses = {model: targets.TARGETS[decoder](one, data) for model, one in served.items()}
        assert statuses.get(name, 200) == 200 or b"parameters" in data, data


@pytest.mark.parametrize("cases", [5_000, pytest.param(20_000, marks=pytest.mark.heavy)])
@pytest.mark.parametrize("decoder", targets.TARGETS)
def test_every_answer_is_right_or_a_refusal(served, decoder, cases):
    found, chance = seeds(decoder), random.Random(f"1 {decoder}")
    others, statuses = [data for _, data in found], dict.fromkeys((200, 400, 404, 413, 415, 422), 0)
    for case in range(cases):
        name, data = chance.choice(found)
        data = mutated(data, others, chance)
        try:
            statuses[targets.TARGETS[decoder](served.get(name) or served["admissions"], data)] += 1
        except Exception as error:
            raise AssertionError(f"case {case}, on {name}: put it into tests/fuzz/corpus: {data!r}") from error
        if case == cases // 5:
            before = _resident(os.getpid())

    assert statuses[200] > cases / 50, statuses
    assert statuses[400] + statuses[422] > cases / 20, statuses
    assert _resident(os.getpid()) - before < 16 << 20


def test_bodies_of_one_turn_are_answered_as_alone(served):
    """Rows that arrive together are one run; a bad one among them concerns its sender alone."""
    found, chance = seeds("json"), random.Random(2)
    others = [data for _, data in found]
    bodies = [mutated(chance.choice(others[:3]), others, chance) for _ in range(3000)]
    bodies += [b'{"gre": 1e308, "gpa": -1e308, "rank": 1}', others[2]] * 50  # its logit is no number
    chance.shuffle(bodies)

    answers = []
    for start in range(0, len(bodies), 50):
        asked = [predict(served["admissions"], _request(body)) for body in bodies[start : start + 50]]
        pending = [one for one in asked if isinstance(one, Pending)]
        found = iter(answer_together(pending)[0])
        answers += [one.finish(next(found)) if isinstance(one, Pending) else one for one in asked]
    alone = [targets.ask(served["admissions"], predict, body) for body in bodies]
    assert [(one.status, one.body) for one in answers] == [(one.status, one.body) for one in alone]
    assert sum(one.status == 200 for one in alone) > 100


def _request(body):
    return Request("/predict", "", {b"content-type": b"application/json"}, body)


NUMBERS = st.none() | st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**53), 2**53)
TEXTS = st.none() | st.sampled_from(["-x", "=1+1", 'a "b", c', "{{ 7*7 }}", "</pre><b>", "5ecre7-", "=1", "\uff11"])
RANKS = st.none() | st.sampled_from(["-4", "1", "2", "03", "3", "5ecre7-"])


@given(st.lists(st.tuples(NUMBERS, TEXTS, NUMBERS, RANKS), max_size=4))
@settings(max_examples=150)
def test_every_protocol_says_the_same_of_the_same_rows(served, rows):
    """All of them are right, or all of them refuse."""
    one = served["awkward"]
    names = [feature.name for feature in one.served.model.manifest.features]
    judged = {name: targets.TARGETS[name.partition(" ")[0]](one, body) for name, body in _bodies(names, rows).items()}

    assert len({status == 200 for status in judged.values()}) == 1, judged


def _bodies(names, rows):
    """{a decoder and a form of it: the rows as it takes them}."""
    records = [dict(zip(names, row, strict=True)) for row in rows]
    columns = {name: [record[name] for record in records] for name in names}
    text = io.StringIO()
    csv.writer(text).writerows([names, *[["" if v is None else v for v in row] for row in rows]])
    tensors = [
        {"name": name, "shape": [len(rows)], "datatype": kind, "data": values}
        for (name, values), kind in zip(columns.items(), ("FP64", "BYTES", "FP64", "BYTES"), strict=True)
    ]
    buffers = [_buffer(tensor) for tensor in tensors]
    binary = [
        {"name": t["name"], "shape": t["shape"], "datatype": t["datatype"], "parameters": {"binary_data_size": len(b)}}
        for t, b in zip(tensors, buffers, strict=True)
    ]
    head = json.dumps({"inputs": binary}).encode()
    return {
        "json": json.dumps(records).encode(),
        "csv": text.getvalue().encode(),
        "mlflow split": json.dumps({"dataframe_split": {"columns": names, "data": rows}}).encode(),
        "mlflow records": json.dumps({"dataframe_records": records}).encode(),
        "mlflow arrays": json.dumps({"instances": rows}).encode(),
        "mlflow inputs": json.dumps({"inputs": columns}).encode(),
        "v2": b"\n" + json.dumps({"inputs": tensors}).encode(),
        "v2 binary": b"%d\n%b%b" % (len(head), head, b"".join(buffers)),
    }


def _buffer(tensor):
    if tensor["datatype"] == "FP64":
        return np.array([np.nan if v is None else v for v in tensor["data"]], "<f8").tobytes()
    texts = [(value or "").encode() for value in tensor["data"]]
    return b"".join(struct.pack("<I", len(text)) + text for text in texts)


@given(st.lists(st.tuples(st.sampled_from(["gre", "gpa", "rank", "x", "", "\0", "é"]), st.text()), max_size=5))
@settings(max_examples=100)
def test_the_page_reads_any_query(page, pairs):
    response = page.get("/", query_string=dict(pairs))

    assert response.status_code in (200, 422)
    assert "text/html" in response.content_type


@pytest.fixture(scope="module")
def page(models):
    return create_app(Config(models=models, model_name="admissions")).test_client()


@pytest.mark.parametrize("worker_class", ["asgi", "gthread"])
def test_bytes_at_the_socket_kill_nobody(models, worker_class):
    """No answer of 500, the same worker at the end, no larger, nothing in flight, no traceback."""
    chance, good = random.Random(3), [data for _, data in seeds("http")]
    good += [
        _posted(decoder, data)
        for decoder in ("json", "csv", "v2")
        for name, data in seeds(decoder)
        if name == MODELS[0]
    ]
    cases = [_sized(mutated(chance.choice(good), good, chance), chance) for _ in range(600)] + good
    with service(models, MODEL_NAME="admissions", WEB_CONCURRENCY="1", WORKER_CLASS=worker_class) as (address, process):
        host, port = address.removeprefix("http://").split(":")
        lines = []  # read all along: a full pipe would hold the service up
        reader = threading.Thread(target=lambda: lines.extend(process.stdout))
        reader.start()
        (worker,) = children(process.pid)

        def ask_all(some):
            with ThreadPoolExecutor(8) as threads:
                return [
                    status
                    for found in threads.map(lambda sent: _statuses(host, int(port), sent), some)
                    for status in found
                ]

        statuses = ask_all(cases[:300])
        before = _resident(worker)
        statuses += ask_all(cases[300:])

        assert set(statuses) <= {100, 101, *range(200, 500), 501, 505}
        assert statuses.count(200) > 25
        assert len({*statuses}) > 5
        assert children(process.pid) == [worker]
        assert _resident(worker) - before < 12 << 20
        assert post(address, b'{"gre": 700, "gpa": 3.5, "rank": 1}')[0] == 200
        with urllib.request.urlopen(f"{address}/metrics") as answer:
            metrics = answer.read().decode()
        assert 'status="500"' not in metrics
        assert re.search(r"^passfail_requests_in_flight (\S+)$", metrics, re.M)[1] == "1.0"  # this one
        process.terminate()
        reader.join()
    assert "Traceback" not in "".join(lines)


def _posted(decoder, data):
    """A file of the corpus as a raw request."""
    length, _, body = data.partition(b"\n") if decoder == "v2" else (b"", b"", data)
    path = "/v2/models/admissions/infer" if decoder == "v2" else "/predict"
    lines = [f"POST {path} HTTP/1.1", "Host: here", "Connection: close", f"Content-Length: {len(body)}"]
    lines += [f"{HEADER_LENGTH.decode()}: {length.decode()}"] if length else []
    lines += ["Content-Type: text/csv" if decoder == "csv" else "Content-Type: application/json"]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def _sized(sent, chance):
    """The request, half of the time with its true length, so that another part is at fault."""
    head, found, body = sent.partition(b"\r\n\r\n")
    if not found or chance.random() < 0.5:
        return sent
    return re.sub(rb"Content-Length: \d+", b"Content-Length: %d" % len(body), head) + found + body


def _statuses(host, port, sent):
    """The statuses of the answers to these bytes; in a silence, this side ends its stream."""
    with socket.create_connection((host, port), timeout=60) as connection:
        received = b""
        try:
            connection.sendall(sent)
            if not select.select([connection], [], [], 0.2)[0]:
                connection.shutdown(socket.SHUT_WR)
            while piece := connection.recv(1 << 16):
                received += piece
                if not select.select([connection], [], [], 0.2)[0]:
                    connection.shutdown(socket.SHUT_WR)
        except TimeoutError as error:
            raise AssertionError(f"no answer, and no end: {sent!r}") from error
        except OSError:
            pass  # closed by the other side while this one still sent
    return [int(status) for status in re.findall(rb"^HTTP/1\.[01] (\d{3}) ", received, re.M)]


def _resident(process):
    return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
