"""Receipts: what was answered can be told by its headers, and repeated."""

import hashlib
import json
import os
import subprocess
import sys

import pytest

from passfail.manifest import decode
from serve.replay import main
from serve.server.flask_app import create_app
from serve.settings import Config
from tests.support import ROOT


def post(client, body, content_type="application/json", path="/predict", **headers):
    return client.post(path, data=body, content_type=content_type, headers=headers)


@pytest.mark.parametrize(
    ("path", "body", "content_type", "status"),
    [
        ("/predict", b'{"hours": 7}', "application/json", 200),
        ("/explain", b' [{"hours": 7}]', "application/json", 200),
        ("/predict", b"hours\n7\n", "text/csv", 200),
        ("/predict", b'{"hours": "7"}', "application/json", 422),
        ("/predict?x=1", b'{"hours": 7}', "application/json", 400),
        ("/predict", b"\xff", "text/plain", 415),
    ],
)
def test_each_answer_carries_its_receipt(client, path, body, content_type, status):
    served = client("hours")
    response = post(served, body, content_type, path)

    assert response.status_code == status
    assert response.headers["X-Model-Digest"] == decode(served.get("/model").data).digest
    assert response.headers["X-Request-Digest"] == hashlib.sha256(body).hexdigest()
    assert len(response.headers["X-Request-Id"]) == 32
    assert response.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/invocations", b'{"instances": [[7]]}'),
        ("/vertex", b'{"instances": [[7]]}'),
        ("/v2/models/hours/infer", b'{"inputs": [{"name": "x", "shape": [1, 1], "datatype": "FP64", "data": [7]}]}'),
    ],
)
def test_no_proxy_keeps_a_prediction_of_any_protocol(models, path, body):
    client = create_app(Config(models=models, model_name="hours", vertex_predict="/vertex")).test_client()
    response = post(client, body, path=path)

    assert (response.status_code, response.headers["Cache-Control"]) == (200, "no-store")


@pytest.mark.parametrize(
    ("sent", "kept"),
    [("order 66/é", False), ("a" * 128, True), ("a" * 129, False), ("~ !", True), ("", False), ("a\tb", False)],
)
def test_the_callers_id_is_kept_where_it_is_sane(client, sent, kept):
    found = post(client("hours"), b'{"hours": 7}', **{"X-Request-Id": sent}).headers["X-Request-Id"]

    assert (found == sent) == kept
    assert found.isascii()
    assert found.isprintable()


def test_an_id_of_ours_is_another_each_time(client):
    served = client("hours")

    assert len({post(served, b'{"hours": 7}').headers["X-Request-Id"] for _ in range(10)}) == 10


@pytest.fixture
def kept(models, tmp_path):
    """keep(body, path, suffix) -> the files of a request and of its answer."""
    served = create_app(Config(models=models, model_name="admissions")).test_client()

    def keep(body, path="/predict", suffix=".json"):
        request, answer = tmp_path / f"request{suffix}", tmp_path / f"answer{suffix}"
        request.write_bytes(body)
        content_type = "text/csv" if suffix == ".csv" else "application/json"
        answer.write_bytes(post(served, body, content_type, path).data)
        return request, answer

    return keep


ROW = b'{"gre": 500, "gpa": 3.2, "rank": 1}'


def test_the_command_repeats_a_decision_and_says_so(models, kept):
    """The command runs in its own process; the second past answer differs."""
    request, answer = kept(ROW)
    command = [sys.executable, "-m", "serve", "replay", str(request), "--version", "1", "--model", "admissions"]
    environ = {**os.environ, "MODELS_DIR": str(models)}

    same = subprocess.run(
        [*command, "--answer", str(answer)], cwd=ROOT, env=environ, capture_output=True, text=True, check=False
    )
    assert (same.returncode, same.stdout) == (0, answer.read_text() + "\n")
    assert same.stderr.splitlines()[1:] == [
        f"X-Request-Digest: {hashlib.sha256(ROW).hexdigest()}",
        "the same, bit for bit",
    ]

    past = json.loads(answer.read_bytes())
    answer.write_text(json.dumps({**past, "admit": not past["admit"], "logit": past["logit"] * (1 + 2**-52)}))
    other = subprocess.run(
        [*command, "--answer", str(answer)], cwd=ROOT, env=environ, capture_output=True, text=True, check=False
    )
    assert (other.returncode, other.stderr.splitlines()[-1]) == (1, "different: $.admit, $.logit")


@pytest.fixture
def replay(models, monkeypatch, capfd):
    """replay(*arguments) -> (exit status, its last line on stderr)."""
    monkeypatch.setenv("MODELS_DIR", str(models))
    monkeypatch.setenv("MODEL_NAME", "admissions")

    def run(*arguments):
        status = main([str(argument) for argument in arguments])
        return status, capfd.readouterr().err.splitlines()[-1]

    return run


@pytest.mark.parametrize(
    ("body", "path", "suffix"),
    [
        (ROW, "/explain?evidence=true", ".json"),
        (b"[" + ROW + b"]", "/predict?evidence=true", ".json"),
        (b"gre,gpa,rank\n500,3.2,1\n", "/predict", ".csv"),
        (b'{"gre": 500}', "/predict", ".json"),
    ],
)
def test_whatever_was_answered_is_repeated(kept, replay, body, path, suffix):
    request, answer = kept(body, path, suffix)

    assert replay(request, "--answer", answer) == (0, "the same, bit for bit")


def test_where_answers_differ_is_named(kept, replay):
    request, answer = kept(b"[" + ROW + b"]")
    text = answer.read_bytes()

    answer.write_bytes(text.replace(b'"no"', b'"yes"'))
    assert replay(request, "--answer", answer) == (1, "different: $[0].label")
    answer.write_bytes(b"[]")
    assert replay(request, "--answer", answer)[1].startswith("different: $ length, $[0].")
    answer.write_bytes(text.replace(b",", b", "))
    assert replay(request, "--answer", answer) == (1, "different: only in formatting")
    request, answer = kept(b"gre,gpa,rank\n500,3.2,1\n", suffix=".csv")
    answer.write_bytes(answer.read_bytes().replace(b"no", b"yes"))
    assert replay(request, "--answer", answer) == (1, "different: line 2")


def test_without_a_past_answer_it_answers_and_says_so(kept, replay):
    assert replay(kept(ROW)[0]) == (0, "no --answer to compare with")
    assert replay(kept(b"{}")[0]) == (2, "this model refuses the request")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [(["--version", "7"], "holds no version 7; it holds 1"), (["--version", "0"], "holds no version 0; it holds 1"),
     (["--model", "nosuch"], "holds no exported version"),
     (["--answer", "/nowhere"], "/nowhere: No such file or directory")],
)  # fmt: skip
def test_what_can_not_be_replayed_is_one_line(kept, replay, arguments, line):
    status, said = replay(kept(ROW)[0], *arguments)

    assert status == 2
    assert said.startswith("passfail can't replay: ")
    assert line in said
