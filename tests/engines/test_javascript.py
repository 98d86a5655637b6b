"""model.js in Node and in Chromium has every logit and every verdict of the export."""

import numpy as np
import pytest

from passfail.proof import reference, samples
from tests.support.cases import awkward, awkward_rows
from tests.support.javascript import chromium, node
from tests.support.models import opened
from train.export.javascript import to_javascript

pytestmark = pytest.mark.engines

ROWS = 1_000_000


@pytest.fixture(params=["node", "chromium"])
def runtime(request, tmp_path):
    if request.param == "node":
        return lambda module: node(module, tmp_path)
    browser = request.getfixturevalue("browser")
    return lambda module: chromium(browser, module)


@pytest.mark.parametrize("name", ["hours", "study_hours", "admissions"])
def test_a_million_rows_have_the_exports_logits_and_verdicts_to_the_bit(models, runtime, name):
    model = opened(models, name)
    run = runtime((models / name / "1" / "model.js").read_bytes())
    x, _ = samples.rows(model.manifest, ROWS // 3, seed=1, across=ROWS // 3)

    logit, probability = run(x)

    with np.errstate(all="ignore"):
        expected, _ = model.runtime(x)
    assert len(x) > ROWS
    different = (logit.view(np.int64) != expected.view(np.int64)) & ~(np.isnan(logit) & np.isnan(expected))
    assert different.sum() == 0
    assert (model.verdict(logit) != model.verdict(expected)).sum() == 0
    assert ((probability < 0) | (probability > 1)).sum() == 0


def test_awkward_names_and_levels_have_the_exports_logits(models, runtime):
    manifest = awkward(opened(models, "admissions").manifest)
    x = awkward_rows(manifest, 3_000)

    logit, _ = runtime(to_javascript(manifest))(x)

    assert (logit != reference.logit(manifest, x)).sum() == 0
