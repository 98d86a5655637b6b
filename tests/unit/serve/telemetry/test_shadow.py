"""The shadow: a second runtime answers a share of the traffic, and a wrong one is reported."""

import json
import logging
import re
import shutil
import sys
import threading
from dataclasses import replace

import numpy as np
import pytest

from passfail.errors import IntegrityError, RuntimeUnavailable
from serve.registry import Served, Service
from serve.server.flask_app import create_app
from serve.settings import Config
from serve.telemetry.shadow import REPORTED, WAITING, Shadow
from tests.support.models import opened
from tests.support.shadow import Compared

ROWS = [{"gre": 800, "gpa": 4.0, "rank": 1}, {"gre": 300, "gpa": 2.5, "rank": 4}]


@pytest.fixture
def shadowed(models, runtime):
    """The admissions service, all of whose traffic the other runtime sees.

    At the end it has compared all of it: a comparison that comes later would be in the next test's log.
    """
    other = {"onnx": "torchscript", "torchscript": "onnx"}[runtime]
    app = create_app(
        Config(models=models, model_name="admissions", runtime=runtime, shadow=other, shadow_rate=1.0, max_rows=5000)
    )
    yield app
    app.service.served.shadow._threads.shutdown()


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/predict", {"gre": 1, "gpa": 1.5e308, "rank": 1}),
        ("/predict", [{"gre": 1, "gpa": 1.5e308, "rank": 1}]),
        ("/invocations", {"inputs": [[1, 1.5e308, "1"]]}),
        (
            "/v2/models/admissions/infer",
            {"inputs": [{"name": "x", "shape": [1, 3], "datatype": "FP64", "data": [1, 1.5e308, 0]}]},
        ),
    ],
)
def test_a_refusal_is_the_same_with_a_shadow_and_without(models, shadowed, path, body):
    alone = create_app(Config(models=models, model_name="admissions")).test_client().post(path, json=body)

    assert "overflow" in alone.text
    assert shadowed.test_client().post(path, json=body).json == alone.json


def nudged(shadow, by):
    """A shadow whose runtime adds to each logit, as one whose intercept is wrong would."""
    right = shadow._model

    def wrong(x):
        logit, _ = right.runtime(x)
        return logit + by, 1 / (1 + np.exp(-(logit + by)))

    shadow._model = replace(right, runtime=wrong)


def test_the_other_runtime_agrees(shadowed):
    served, shadow = shadowed.test_client(), shadowed.service.served.shadow
    compared = Compared(shadow)

    assert served.post("/predict", json=ROWS).status_code == 200
    assert served.post("/predict", data="gre,gpa,rank\n500,3,2\n", content_type="text/csv").status_code == 200
    assert served.post("/predict", json=ROWS[:1] * 5000).status_code == 200
    compared.wait()

    assert (compared.rows, compared.flips) == (1003, 0)
    assert compared.ulp <= 4


def test_a_nudged_runtime_is_seen_and_its_flip_can_be_replayed(shadowed, caplog, tmp_path):
    served, shadow = shadowed.test_client(), shadowed.service.served.shadow
    compared = Compared(shadow)
    nudged(shadow, by=10.0)
    shadow._flips = tmp_path

    response = served.post("/predict", json=ROWS)
    compared.wait()

    assert (compared.rows, compared.flips) == (2, 1)  # one was above the threshold already
    assert compared.ulp > 10**9
    (record,) = caplog.records
    (kept,) = tmp_path.iterdir()
    assert record.levelno == logging.ERROR
    for needed in ("admissions version 1", response.headers["X-Model-Digest"], response.headers["X-Request-Digest"],
                   "row 1", repr(response.json[1]["logit"]), str(kept)):  # fmt: skip
        assert needed in record.message
    assert not re.search(r"\bgre\b|\b300\b", record.message)
    assert json.loads(kept.read_bytes()) == {"gre": 300.0, "gpa": 2.5, "rank": "4"}
    assert served.post("/predict", data=kept.read_bytes(), content_type="application/json").json == response.json[1]


def test_one_unit_in_the_last_place_is_seen(shadowed):
    served, shadow = shadowed.test_client(), shadowed.service.served.shadow
    compared = Compared(shadow)
    right = shadow._model.runtime
    wrong = lambda x: (right(x)[0], np.nextafter(right(x)[1], 1))  # noqa: E731
    shadow._model = replace(shadow._model, runtime=wrong)

    served.post("/predict", json=ROWS)
    compared.wait()

    assert 1 <= compared.ulp <= 5
    assert compared.flips == 0


def test_rows_are_kept_only_where_told_and_not_without_end(shadowed, caplog, tmp_path):
    shadow = shadowed.service.served.shadow
    compared = Compared(shadow)
    nudged(shadow, by=-10.0)
    served = shadowed.test_client()

    served.post("/predict", json=ROWS)
    compared.wait()
    assert "SHADOW_FLIPS is not set, so the row is not saved" in caplog.text

    shadow._flips = tmp_path / "gone"
    served.post("/predict", json=ROWS)
    compared.wait()
    assert "the row can't be saved: No such file or directory" in caplog.text

    shadow._flips = tmp_path
    served.post("/predict", json=[{**ROWS[0], "gre": 800 + i} for i in range(REPORTED * 2)])
    compared.wait()
    assert compared.flips == 2 + 2 * REPORTED
    assert len(list(tmp_path.iterdir())) == REPORTED - 2
    assert len(caplog.records) == REPORTED


def test_a_full_queue_drops_and_never_waits(shadowed):
    shadow, gate = shadowed.service.served.shadow, threading.Event()
    compared = Compared(shadow)
    right = shadow._model.runtime
    shadow._model = replace(shadow._model, runtime=lambda x: gate.wait(120) and right(x))
    served = shadowed.test_client()

    for _ in range(WAITING + 10):
        assert served.post("/predict", json=ROWS).status_code == 200
    gate.set()
    compared.wait()

    assert compared.rows == 2 * WAITING


def test_a_runtime_that_fails_is_logged_and_the_shadow_lives_on(shadowed, caplog):
    served, shadow = shadowed.test_client(), shadowed.service.served.shadow
    compared = Compared(shadow)
    right = shadow._model
    shadow._model = replace(right, runtime=lambda x: 1 / 0)
    assert served.post("/predict", json=ROWS).status_code == 200
    compared.wait()
    shadow._model = right
    served.post("/predict", json=ROWS)
    compared.wait()

    assert [record.message for record in caplog.records] == [f"the shadow runtime {shadow._name} failed"]
    assert compared.rows == 2


def test_the_rate_is_a_share_of_the_requests(models, monkeypatch):
    model = opened(models, "hours")
    shadow = Shadow(model, "onnx", 0.25)
    compared = Compared(shadow)
    draws = iter([0.1, 0.3, 0.25, 0.2499, 0.9])
    monkeypatch.setattr("random.random", lambda: next(draws))

    for _ in range(5):
        Served(model, None, shadow).predict(np.array([[7.0]]))
    compared.wait()

    assert compared.rows == 2


def test_a_closed_shadow_takes_nothing_more(models):
    """A request may still have the model; what it offered would start a thread that nobody ends."""
    model = opened(models, "hours")
    shadow = Shadow(model, "onnx", 1.0)
    before = threading.enumerate()

    shadow.close()
    Served(model, None, shadow).predict(np.array([[7.0]]))

    assert threading.enumerate() == before


def test_a_shadow_without_torch_does_not_start(models, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.delitem(sys.modules, "passfail.runtimes.torchscript", raising=False)

    with pytest.raises(RuntimeUnavailable, match="the runtime torchscript needs torch, which is not installed"):
        Service(Config(models=models, model_name="hours", shadow="torchscript"))


def test_a_damaged_shadow_does_not_start(models, tmp_path):
    shutil.copytree(models / "hours", tmp_path / "hours")
    path = tmp_path / "hours" / "1" / "model.pt"
    path.write_bytes(path.read_bytes()[:-1])

    with pytest.raises(IntegrityError, match=r"model\.pt: not the file that was exported"):
        Service(Config(models=tmp_path, model_name="hours", shadow="torchscript"))
