"""make soak and make overload fail on a service that is broken, and pass one that is not."""

import shutil

import pytest

from bench import soak
from bench.judge import VERTEX, Judge
from passfail.repository import read_manifest
from tests.support.service import service


def test_one_answer_that_differs_is_counted_as_wrong(models, tmp_path):
    if not shutil.which("wrk"):
        pytest.skip("wrk is not installed: what make soak compares is NOT tested")
    judge = Judge([read_manifest(models / "hours" / "1")])
    with service(models, MODEL_NAME="hours", WEB_CONCURRENCY="1", AIP_PREDICT_ROUTE=VERTEX) as (address, _):
        right = soak.script(judge, int(address.rpartition(":")[2]))
        found = []
        for text in (right, right.replace("status = 200", "status = 201", 1)):
            (tmp_path / "questions.lua").write_text(text)
            found.append(soak.load(address, tmp_path / "questions.lua", 1))

    assert soak.faults(found[0], [1.0, 1.0]) == []
    assert found[0]["right"] > 0
    assert found[1]["wrong"] > 0
    assert found[1]["right"] > found[1]["wrong"]
