"""The lecture on the terminal: what the slides print, and the picture."""

import contextlib
import io
import math
import re

import matplotlib.image
import numpy as np
import pytest

from tests.support.lecture import HEAD, TAIL
from train.__main__ import main


@pytest.fixture(scope="module")
def walked(tmp_path_factory):
    """(what the lesson prints, its picture)."""
    path = tmp_path_factory.mktemp("lesson") / "lesson.png"
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        assert main(["lesson", "--picture", str(path)]) == 0
    return printed.getvalue(), path


def test_the_slides_log_and_predictions_in_its_format(walked):
    printed = re.findall(r"^(\d+) (\d\.\d+)$", walked[0], re.M)

    assert [int(epoch) for epoch, _ in printed] == [*range(11), *range(988, 1000)]
    np.testing.assert_allclose([float(loss) for _, loss in printed], HEAD + TAIL, rtol=0, atol=1e-6)
    assert "two runs" in walked[0]
    assert "\npredict 1 hour 1.0 False\npredict 7 hours 7.0 True\n" in walked[0]


def test_the_exercises_table_is_filled_in(walked):
    rows = re.findall(r"^  ([01])  (0\.\d) +(\d\.\d{4})$", walked[0], re.M)

    assert [(y, p) for y, p, _ in rows] == [("1", "0.2"), ("1", "0.8"), ("0", "0.1"), ("0", "0.9")]
    for y, p, loss in rows:
        assert float(loss) == pytest.approx(-math.log(float(p) if y == "1" else 1 - float(p)), abs=5e-5)


def test_train_fit_gives_the_same_as_the_lectures_code(walked):
    (lectures, ours) = re.findall(r"w = (\S+)  b = (\S+)  loss at the last epoch (\S+)", walked[0])

    np.testing.assert_allclose([float(v) for v in lectures], [float(v) for v in ours], atol=2e-6)
    assert float(re.search(r"of the 1000 losses: (\S+);", walked[0])[1]) < 1e-6


def test_the_picture_is_one(walked):
    picture = matplotlib.image.imread(walked[1])

    assert picture.shape[0] > 400
    assert picture.std() > 0.05
    assert [path.name for path in walked[1].parent.iterdir()] == ["lesson.png"]


@pytest.mark.parametrize("name", ["lesson.txt", "nowhere/lesson.png"])
def test_what_cant_be_a_picture_is_refused_first(tmp_path, capsys, name):
    assert main(["lesson", "--picture", str(tmp_path / name)]) == 2

    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert str(tmp_path / name) in err
