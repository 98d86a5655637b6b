"""A file of test rows is read as rows of the table that the model was fitted to."""

import pytest

from tests.support.tables import ROWS, read, text
from train.errors import DataError
from train.table.reading import Reading
from train.table.table import read_rows


def test_a_test_file_is_read_as_rows_of_the_table(tmp_path):
    table = read(tmp_path, text([(x, ["TRUE", "false"][y], g, y) for x, g, y in ROWS], "x,b,g,y"))
    (tmp_path / "test.csv").write_text("y;b;g;x;more\n1;True;south;1,5;a\n0;false;east;2,5;b\n")
    x, y, weight, _ = read_rows(tmp_path / "test.csv", table, Reading())

    assert x.tolist() == [[1.5, 1, 2], [2.5, 0, 0]]
    assert (y.tolist(), weight.tolist()) == ([1, 0], [1, 1])
    (tmp_path / "test.csv").write_text("x,b,g,y\n1,true,west,1\n,false,east,2\n")
    with pytest.raises(DataError) as caught:
        read_rows(tmp_path / "test.csv", table, Reading())
    assert [line.split(": ", 1)[1].split(";")[0] for line in str(caught.value).splitlines()] == [
        "line 3: column 'y': '2' is not a value of the target",
        "line 3: column 'x': missing, but every training row has a value",
        "line 2: column 'g': 'west' is not a level of the training rows",
    ]


def test_the_rows_that_a_test_file_loses_are_counted(tmp_path):
    table, said = read(tmp_path, text()), []
    path = tmp_path / "test.csv"
    path.write_text("x,g,y\n1,east,1\n2,east,0,5\n3,north,0\n4,north,\n")
    read_rows(path, table, Reading(ragged="drop"), said.append)

    counts = ["rows left out for their number of cells: 1", "rows left out for a missing target: 1"]
    assert said == [f"{path}: {count}" for count in counts]


@pytest.mark.parametrize("cell", ["oops", "inf"])
def test_the_stray_of_a_test_file_is_named_with_its_line(tmp_path, cell):
    table = read(tmp_path, text())
    (tmp_path / "test.csv").write_text(f"x,g,y\n1,east,1\n{cell},east,0\n")
    with pytest.raises(DataError, match=f"line 3: column 'x': '{cell}' is not a finite number; correct the cell"):
        read_rows(tmp_path / "test.csv", table, Reading())


def test_unseen_and_folded_levels_of_a_test_file_are_those_of_the_table(tmp_path):
    table = read(tmp_path, text([(x, g.upper() if x > 25 else g, y) for x, g, y in ROWS[:-1]] + [(1, "Mars", 1)]),
                 rare=2, fold_case=True)  # fmt: skip
    assert table.features[1].levels == ("east", "north", "other", "south")
    (tmp_path / "t.csv").write_text("x,g,y\n1,venus,1\n2,NORTH,0\n")
    assert read_rows(tmp_path / "t.csv", table, Reading(fold_case=True))[0].tolist() == [[1, 2], [2, 1]]
