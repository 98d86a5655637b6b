"""Drift: its counts, its memory and its report, by hand, over workers, and over HTTP."""

import copy
import math
import threading

import msgspec
import numpy as np
import pytest

from passfail.columns import row
from passfail.measurements import Spread
from serve.server.flask_app import create_app
from serve.settings import Config
from serve.telemetry import drift as drifting
from serve.telemetry.drift import Drift, counted, limit, stability_index
from serve.telemetry.shared_counters import COUNTING, SERVED, SharedCounters
from tests.support.models import opened
from tests.support.wait import until
from train.evaluation.drift_baseline import baseline

ADMISSIONS = [{"gre": 500 + 40 * (i % 8), "gpa": 2.5 + 0.2 * (i % 8), "rank": str(1 + i % 4)} for i in range(400)]


@pytest.fixture(scope="module")
def manifest(models):
    return opened(models, "admissions").manifest


def rows(manifest, instances):
    return np.array([row(manifest.features, instance) for instance in instances])


def test_the_index_by_hand():
    shares, counts = [0.5, 0.5, 0.0], np.array([75.0, 25.0, 0.0])
    e, a = [0.505, 0.505, 0.005], [0.755, 0.255, 0.005]
    e, a = [v / 1.015 for v in e], [v / 1.015 for v in a]
    assert stability_index(shares, counts) == pytest.approx(
        sum((p - q) * math.log(p / q) for p, q in zip(a, e, strict=True))
    )
    assert stability_index(shares, np.array([50.0, 50.0, 0.0])) == pytest.approx(0, abs=1e-12)


def test_bins_hold_what_they_say():
    spread = Spread(edges=(1.0, 2.0), shares=(0.25, 0.25, 0.25, 0.25))
    assert counted(spread, np.array([0.0, 1.0, 1.5, 2.0, np.nan, np.inf])).tolist() == [1, 2, 2, 1]


def test_the_baseline_is_the_training_rows(models, manifest):
    """The training rows, counted again, have their own shares; weights count."""
    x = rows(manifest, ADMISSIONS)
    found = baseline(manifest.features, x, x[:, 0], np.ones(len(x)))
    for column, spread in zip(x.T, found.features, strict=True):
        assert counted(spread, column).tolist() == pytest.approx([share * 400 for share in spread.shares])
    assert [len(spread.shares) for spread in found.features][2] == 5  # a bin a level, and the missing
    doubled = baseline(manifest.features, x, x[:, 0], np.where(x[:, 2] == 0, 3.0, 1.0))
    assert doubled.features[2].shares[0] == pytest.approx(0.5)


def test_chance_alone_stays_below_the_limit_and_a_shift_does_not():
    """One in a thousand of 2000 pairs of 300 and 100 rows from one distribution may be above."""
    rng = np.random.default_rng(7)
    edges = tuple(np.quantile(rng.normal(size=100_000), np.arange(1, 10) / 10).tolist())
    above = 0
    for _ in range(2000):
        trained = counted(Spread(edges, (0.0,) * 11), rng.normal(size=300)) / 300
        spread = Spread(edges, tuple(trained.tolist()))
        psi = stability_index(spread.shares, counted(spread, rng.normal(size=100)))
        above += psi > limit(spread.shares, 300, 100)
    assert above <= 6
    shifted = stability_index(spread.shares, counted(spread, rng.normal(loc=1, size=100)))
    assert shifted > limit(spread.shares, 300, 100)


def test_counts_halve_and_are_summed_over_the_workers(manifest):
    counters, now = SharedCounters(), [1000.0]
    x = rows(manifest, ADMISSIONS)
    for worker in "ab":
        counters.assign(worker)
        counters.use(worker)
        drift = Drift(counters, lambda: now[0])
        drift.note(manifest, x, x[:, 0])
        drift.count_stored(manifest)
    assert drift.report(manifest)["rows"] == 800

    now[0] += drifting.HALF_LIFE
    assert drift.report(manifest)["rows"] == pytest.approx(400)
    now[0] -= 2 * drifting.HALF_LIFE  # a clock that steps back
    assert drift.report(manifest)["rows"] <= 800


def test_another_model_begins_anew(manifest):
    drift = Drift(SharedCounters())
    x = rows(manifest, ADMISSIONS)
    drift.note(manifest, x, x[:, 0])
    drift.count_stored(manifest)
    other = msgspec.structs.replace(manifest, digest="f" * 64)
    drift.note(manifest, x, x[:, 0])  # of the one that has just gone
    assert drift.report(other)["rows"] == 0


def test_what_waits_is_bounded(manifest):
    drift = Drift(SharedCounters())
    x = np.zeros((100_000, 3))
    for _ in range(1000):
        drift.note(manifest, x, x[:, 0])
    assert 0 < len(drift._waiting[manifest.digest][0]) <= drifting.WAITING + 3 * drifting.SAMPLE
    drift.count_stored(manifest)
    drift.note(manifest, x, x[:, 0])
    assert len(drift._waiting[manifest.digest][0]) == 3 * drifting.SAMPLE


def test_a_model_too_wide_is_watched_as_far_as_there_is_room(manifest, monkeypatch):
    monkeypatch.setattr(drifting, "ROOM", 26)
    drift = Drift(SharedCounters())
    x = rows(manifest, ADMISSIONS)
    drift.note(manifest, x, x[:, 0])
    monkeypatch.setattr(Drift, "_split", lambda self, row: (np.frombuffer(row)[:2], np.frombuffer(row)[2:28]))
    assert list(drift.report(manifest)["features"]) == ["gre"]


@pytest.fixture
def client(models):
    app = create_app(Config(models=models, model_name="admissions"))
    app.recorder.drift._counters = SharedCounters()
    return app.test_client()


def test_drift_over_http(client):
    """Rows like the training rows do not drift; rows of one school and an unseen level do."""
    few = client.get("/drift").json
    assert (few["rows"], few["score"]["psi"]) == (0, None)

    alike = [dict(row, gre=220 + 58 * (i * 7 % 11), gpa=2.3 + 0.17 * (i * 3 % 11)) for i, row in enumerate(ADMISSIONS)]
    client.post("/predict", json=alike[:400])
    client.post("/predict?watch=false", json=[dict(ADMISSIONS[0], gre=9000)] * 500)
    found = client.get("/drift").json
    assert found["rows"] == pytest.approx(400, rel=1e-3)
    assert found["features"]["gre"]["missing_share"] == 0

    client.post("/predict", json=[{"gre": 800, "gpa": 4, "rank": "1"}] * 1000)
    for _ in range(14):
        client.post("/predict", json={"gre": 800, "gpa": 4, "rank": "5"})
    client.post("/v2/models/admissions/infer", json={"inputs": [
        {"name": "gre", "shape": [1], "datatype": "FP64", "data": [800]},
        {"name": "gpa", "shape": [1], "datatype": "FP64", "data": [4]},
        {"name": "rank", "shape": [1], "datatype": "BYTES", "data": ["9"]},
    ]})  # fmt: skip
    client.post("/predict", data="gre,gpa,rank\n500,3,7\n", content_type="text/csv")
    found = client.get("/drift").json
    assert found["rows"] == pytest.approx(1400, rel=1e-3)
    for name in ("gre", "gpa", "rank"):
        assert found["features"][name]["psi"] > found["features"][name]["psi_limit"]
    assert found["score"]["psi"] > found["score"]["psi_limit"]
    assert found["features"]["rank"]["unseen_share"] == pytest.approx(16 / 1416, rel=1e-3)

    text = client.get("/metrics").text
    assert f'passfail_drift_psi{{feature="gre"}} {found["features"]["gre"]["psi"]:.2f}'[:-2] in text
    assert 'passfail_drift_unseen_share{feature="rank"}' in text
    assert "passfail_drift_score_psi_limit 0.25\n" in text


def test_too_few_rows_say_nothing(client):
    client.post("/predict", json=ADMISSIONS[:99])
    assert client.get("/drift").json["features"]["gre"]["psi"] is None
    client.post("/predict", json=ADMISSIONS[:2])
    assert client.get("/drift").json["features"]["gre"]["psi"] is not None


def test_a_report_has_the_rows_that_another_worker_has_just_answered(manifest, monkeypatch):
    """Each report makes the others count, and waits for no worker that has ended or hangs."""
    monkeypatch.setattr(drifting, "COUNT_SECONDS", 600)
    counters = SharedCounters()
    others = copy.copy(counters)  # as a forked worker has it: the same table, a row of its own
    for worker, table in (("a", counters), ("b", others)):
        counters.assign(worker)
        table.use(worker)
    near, far = Drift(counters), Drift(others)
    threading.Thread(target=far.keep_counting, args=[lambda: manifest], daemon=True).start()
    until(lambda: others.mine[COUNTING] == 1)
    x = rows(manifest, ADMISSIONS)

    for expected in (400, 800, 1200):
        far.note(manifest, x, x[:, 0])
        assert near.report(manifest)["rows"] == pytest.approx(expected, rel=1e-3)

    monkeypatch.setattr(far, "count_stored", lambda manifest: None)
    assert near.report(manifest)["rows"] == pytest.approx(1200, rel=1e-3)
    counters.release("b")
    assert others.mine[COUNTING] == 0


def test_questions_are_no_traffic(client):
    """The page asks for a hundred points of its curve while a person types."""
    before = client.get("/metrics").text
    assert client.post("/predict?watch=false", json=ADMISSIONS).status_code == 200
    assert client.post("/explain?watch=false", json=ADMISSIONS).status_code == 200
    assert client.post("/predict?watch=false", json={**ADMISSIONS[0], "rank": "9"}).status_code == 422
    assert client.get("/").status_code == 200  # which begins with a row of its own
    assert client.get("/drift").json["features"]["rank"]["unseen_share"] == 0
    after = client.get("/metrics").text
    for name in ("rows_total", "probability_count", "drift_rows"):
        found = [
            [line for line in text.splitlines() if line.startswith(f"passfail_{name} ")] for text in (before, after)
        ]
        assert found[0] == found[1]
        assert len(found[0]) == 1

    assert client.get("/", query_string=ADMISSIONS[0]).status_code == 200  # but a form that was sent is traffic
    assert client.get("/drift").json["rows"] == pytest.approx(1, rel=1e-3)


def test_missing_cells_have_a_share(manifest):
    x = np.array([[np.nan, 3.0, 1.0]] * 50 + [[500.0, 3.0, 1.0]] * 150)
    found = baseline(manifest.features, x, x[:, 1], np.ones(len(x)))
    assert found.features[0].shares[-1] == 0.25
    drift = Drift(SharedCounters(), lambda: 0.0)
    drift.note(manifest, x, x[:, 1])
    assert drift.report(manifest)["features"]["gre"]["missing_share"] == 0.25


def test_counting_leaves_the_version_that_the_worker_serves(manifest):
    """It stood behind the counts: they were set to zero with it, and decayed."""
    counters, now = SharedCounters(), [0.0]
    counters.mine[SERVED] = 3.0
    drift = Drift(counters, lambda: now[0])

    for _ in range(3):
        drift.count_stored(manifest)
        now[0] += 1800.0

    assert counters.mine[SERVED] == 3.0
