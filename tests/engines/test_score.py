"""A million rows of CSV, scored in blocks, are the bytes of the answer to one request."""

import io
import random
from pathlib import Path

import pytest

from passfail.batches import Scorer
from passfail.codecs import Codecs
from passfail.loading import load
from passfail.score import Files

pytestmark = pytest.mark.engines
ROWS = 1_000_000


def test_a_million_rows_have_the_bytes_of_one_request(models: Path) -> None:
    draw = random.Random(1)
    lines = [f"{draw.uniform(-1e4, 1e4)!r},{draw.randint(1, 4)},{draw.uniform(2, 4)!r}" for _ in range(ROWS)]
    body = "gre,rank,gpa\n{}\n".format("\n".join(lines)).encode()
    model, out = load(models / "admissions"), io.BytesIO()
    Files(Scorer(model, strict=True)).csv(io.BytesIO(body), out.write)

    request = Codecs(model.manifest, ROWS).csv
    x, table = request.read(body)
    answer = request.write(table, model.answer(x))

    assert out.getvalue() + b"\n" == answer
