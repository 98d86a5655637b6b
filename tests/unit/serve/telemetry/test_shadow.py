"""The live shadow: a second runtime sees a share of the traffic, and a wrong one is found out."""

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
from passfail.loading import open_model
from serve.server.flask_app import create_app
from serve.settings import Config
from serve.telemetry.shadow import REPORTED, WAITING, Shadow

ROWS = [{"gre": 800, "gpa": 4.0, "rank": 1}, {"gre": 300, "gpa": 2.5, "rank": 4}]


@pytest.fixture
def shadowed(models, runtime):
    """The admissions service, all of whose traffic the other runtime sees."""
    other = {"onnx": "torchscript", "torchscript": "onnx"}[runtime]
    return create_app(
        Config(models=models, model_name="admissions", runtime=runtime, shadow=other, shadow_rate=1.0, max_rows=5000)
    )


def nudged(shadow, by):
    """A shadow whose runtime adds to each logit, as one whose intercept is wrong would."""
    right = shadow._runtime

    def wrong(x):
        logit, _ = right(x)
        return logit + by, 1 / (1 + np.exp(-(logit + by)))

    shadow._runtime = wrong


def test_the_other_runtime_agrees(shadowed):
    served, shadow = shadowed.test_client(), shadowed.service.served.model.shadow

    assert served.post("/predict", json=ROWS).status_code == 200
    assert served.post("/predict", data="gre,gpa,rank\n500,3,2\n", content_type="text/csv").status_code == 200
    assert served.post("/predict", json=ROWS[:1] * 5000).status_code == 200
    shadow.wait()

    assert (shadow.checked_rows, shadow.verdict_flips, shadow.dropped) == (1003, 0, 0)
    assert shadow.ulp_max <= 4


def test_a_nudged_runtime_is_seen_and_its_flip_can_be_replayed(shadowed, caplog, tmp_path):
    served, shadow = shadowed.test_client(), shadowed.service.served.model.shadow
    nudged(shadow, by=10.0)
    shadow._flips = tmp_path

    response = served.post("/predict", json=ROWS)
    shadow.wait()

    assert (shadow.checked_rows, shadow.verdict_flips) == (2, 1)  # one was above the threshold already
    assert shadow.ulp_max > 10**9
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
    served, shadow = shadowed.test_client(), shadowed.service.served.model.shadow
    right = shadow._runtime
    shadow._runtime = lambda x: (right(x)[0], np.nextafter(right(x)[1], 1))

    served.post("/predict", json=ROWS)
    shadow.wait()

    assert 1 <= shadow.ulp_max <= 5
    assert shadow.verdict_flips == 0


def test_rows_are_kept_only_where_told_and_not_without_end(shadowed, caplog, tmp_path):
    shadow = shadowed.service.served.model.shadow
    nudged(shadow, by=-10.0)
    served = shadowed.test_client()

    served.post("/predict", json=ROWS)
    shadow.wait()
    assert "its row is not kept (SHADOW_FLIPS)" in caplog.text

    shadow._flips = tmp_path / "gone"
    served.post("/predict", json=ROWS)
    shadow.wait()
    assert "its row can't be written: No such file or directory" in caplog.text

    shadow._flips = tmp_path
    served.post("/predict", json=[{**ROWS[0], "gre": 800 + i} for i in range(REPORTED * 2)])
    shadow.wait()
    assert shadow.verdict_flips == 2 + 2 * REPORTED
    assert len(list(tmp_path.iterdir())) == REPORTED - 2
    assert len(caplog.records) == REPORTED


def test_a_full_queue_drops_and_never_waits(shadowed):
    model = shadowed.service.served.model
    shadow, gate = model.shadow, threading.Event()
    right = shadow._runtime
    shadow._runtime = lambda x: gate.wait(30) and right(x)
    served = shadowed.test_client()

    for _ in range(WAITING + 10):
        assert served.post("/predict", json=ROWS).status_code == 200
    gate.set()
    shadow.wait()

    assert shadow.dropped in (9, 10)  # the thread may hold one beside the queue's
    assert shadow.checked_rows == 2 * (WAITING + 10 - shadow.dropped)


def test_a_runtime_that_fails_is_logged_and_the_shadow_lives_on(shadowed, caplog):
    served, shadow = shadowed.test_client(), shadowed.service.served.model.shadow
    right = shadow._runtime
    shadow._runtime = lambda x: 1 / 0
    assert served.post("/predict", json=ROWS).status_code == 200
    shadow.wait()
    shadow._runtime = right
    served.post("/predict", json=ROWS)
    shadow.wait()

    assert [record.message for record in caplog.records] == [f"the shadow runtime {shadow._name} failed"]
    assert shadow.checked_rows == 2


def test_the_rate_is_a_share_of_the_requests(models, monkeypatch):
    config = Config(models=models, model_name="hours")
    model = open_model(config)
    shadow = Shadow(model.runtime, "onnx", model.manifest, 0.25)
    draws = iter([0.1, 0.3, 0.25, 0.2499, 0.9])
    monkeypatch.setattr("random.random", lambda: next(draws))

    for _ in range(5):
        replace(model, shadow=shadow).predict(np.array([[7.0]]))
    shadow.wait()

    assert shadow.checked_rows == 2


def test_a_closed_shadow_takes_nothing_more(models):
    """A request may still have the model; what it offered would start a thread that nobody ends."""
    model = open_model(Config(models=models, model_name="hours"))
    shadow = Shadow(model.runtime, "onnx", model.manifest, 1.0)
    before = threading.enumerate()

    shadow.close()
    replace(model, shadow=shadow).predict(np.array([[7.0]]))

    assert threading.enumerate() == before


def test_a_shadow_without_torch_does_not_start(models, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.delitem(sys.modules, "passfail.runtimes.torchscript", raising=False)

    with pytest.raises(RuntimeUnavailable, match="the runtime torchscript needs torch, which is not installed"):
        open_model(Config(models=models, model_name="hours", shadow="torchscript"))


def test_a_damaged_shadow_does_not_start(models, tmp_path):
    shutil.copytree(models / "hours", tmp_path / "hours")
    path = tmp_path / "hours" / "1" / "model.pt"
    path.write_bytes(path.read_bytes()[:-1])

    with pytest.raises(IntegrityError, match=r"model\.pt: not the file that was exported"):
        open_model(Config(models=tmp_path, model_name="hours", shadow="torchscript"))
