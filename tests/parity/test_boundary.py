"""Boundary rows through HTTP: each runtime gives the exact verdict of each `stable` row.

heavy: a million rows.
"""

import contextlib
import http.client
import json

import numpy as np
import pytest

from passfail.manifest import decode
from passfail.proof import exact, reference, samples
from passfail.proof.floats import from_ordinal, ordinal
from tests.support import ROOT
from tests.support.service import service

REQUEST = 100_000  # rows: the service's own limit
EXACT = 10_000


# The admissions have numbers and levels; the others have one number.
@pytest.fixture(
    params=["admissions", *(pytest.param(one, marks=pytest.mark.heavy) for one in ("hours", "study_hours"))]
)
def manifest(models, request):
    return decode((models / request.param / "1" / "manifest.json").read_bytes())


def edge(manifest, n):
    """n rows (n, d): half on the boundary with their neighbours, half up to n / 4 floats away."""
    generator = np.random.default_rng(0)
    typical, _ = samples.rows(manifest, n // 12 + 1)
    on = samples.boundary(manifest, typical[: n // 12 + 1], generator)[: n // 2]
    steps = np.arange(len(on))[:, None] - len(on) // 2
    numeric = [feature.kind == "numeric" for feature in manifest.features]
    near = np.where(numeric & ~np.isnan(on), from_ordinal(ordinal(on) + steps), on)
    return np.concatenate([on, near])


def ask(address, manifest, x):
    """(verdict, stable), bool (n,) each, of the rows x in V2's binary tensors."""
    connection = http.client.HTTPConnection(address.removeprefix("http://"), timeout=120)
    answers = []
    with contextlib.closing(connection):
        for start in range(0, len(x), REQUEST):
            part = np.ascontiguousarray(x[start : start + REQUEST], dtype="<f8")
            one = {"name": "x", "shape": part.shape, "datatype": "FP64"}
            one["parameters"] = {"binary_data_size": part.nbytes}
            outputs = [{"name": name, "parameters": {"binary_data": True}} for name in ("verdict", "stable")]
            head = json.dumps({"inputs": [one], "outputs": outputs}).encode()
            headers = {"Inference-Header-Content-Length": str(len(head))}
            connection.request("POST", f"/v2/models/{manifest.name}/infer", head + part.tobytes(), headers)
            with connection.getresponse() as response:
                body = response.read()
                assert response.status == 200, body
            flags = body[int(response.headers["Inference-Header-Content-Length"]) :]
            answers.append(np.frombuffer(flags, dtype=bool).reshape(2, -1))
    return np.concatenate(answers, axis=1)


@pytest.mark.parametrize("rows", [100_000, pytest.param(1_000_000, marks=pytest.mark.heavy)])
def test_boundary_rows_have_one_verdict_wherever_it_is_stable(models, manifest, rows):
    x = edge(manifest, rows)
    answers = []
    for runtime in ("onnx", "torchscript"):
        with service(models, MODEL_NAME=manifest.name, RUNTIME=runtime, WEB_CONCURRENCY="1") as (address, _):
            answers.append(ask(address, manifest, x))
    (verdict, stable), (other, also) = answers

    assert len(x) == len(verdict) == rows
    assert min(np.mean(stable), np.mean(~stable), np.mean(verdict), np.mean(~verdict)) > 0.05
    assert np.array_equal(stable, also)
    assert np.array_equal(verdict[stable], other[stable])
    assert wrong(manifest, x, verdict, stable) == 0


def wrong(manifest, x, verdict, stable):
    """The number of up to EXACT rows said to be stable whose verdict is not their exact logit's."""
    which = np.flatnonzero(stable)
    which = which[:: -(-len(which) // EXACT)]
    high, low = exact.logits(manifest, reference.values(manifest, x[which]))
    threshold = manifest.logit_threshold
    return int((verdict[which] != ((high > threshold) | ((high == threshold) & (low > 0)))).sum())


FAULT = """
import numpy
from passfail.loading import Model
Model.verdict = lambda self, logit: logit >= self.manifest.logit_threshold
Model.stable = lambda self, x, logit: numpy.full(len(logit), True)
"""


def test_a_service_that_decides_a_tie_the_other_way_does_not_start(models, tmp_path):
    (tmp_path / "sitecustomize.py").write_text(FAULT)
    path = f"{tmp_path}:{ROOT}"
    with (
        pytest.raises(AssertionError, match="doesn't answer on this machine as it was certified"),
        service(models, MODEL_NAME="hours", WEB_CONCURRENCY="1", PYTHONPATH=path),
    ):
        pass


def test_the_rows_on_the_boundary_see_a_tie_decided_the_other_way(models):
    """The judge of the million rows fails a `stable` that is always true."""
    manifest = decode((models / "hours" / "1" / "manifest.json").read_bytes())
    x = edge(manifest, 120_000)
    verdict = reference.logit(manifest, x) >= manifest.logit_threshold

    assert wrong(manifest, x, verdict, np.full(len(x), True)) > 0
