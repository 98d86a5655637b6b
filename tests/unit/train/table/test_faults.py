"""All faults of a table are listed at once, with the options that allow them."""

import shlex

import pytest

from tests.support.tables import ROWS, read, text, with_x
from train.arguments import parse, reading_of
from train.errors import DataError
from train.table import csv_files, summary
from train.table.table import read_table


def test_all_faults_are_listed_at_once(tmp_path):
    rows = [
        (i if i != 5 else "five", ["0x1", "0x2"][i % 2], x, "maybe" if y else "no") for i, (x, _, y) in enumerate(ROWS)
    ]
    with pytest.raises(DataError) as caught:
        read(tmp_path, text(rows, "a,b,x,y"))

    lines = str(caught.value).splitlines()
    assert [line.split(": ", 1)[1].split(";")[0] for line in lines[:3]] == [
        "line 1: column 'y': it is unknown which of 'maybe' and 'no' is positive",
        "line 7: column 'a': 'five' is not a number, but most cells are",
        "line 2: column 'b': '0x1' is hexadecimal",
    ]
    assert (len(lines), caught.value.options) == (3, "--positive no --na five --categorical b")
    table = read(tmp_path, text(rows, "a,b,x,y"), positive="no", na=("five",), categorical=("b",))
    assert [feature.name for feature in table.features] == ["a", "b", "x"]


def test_the_faults_of_options_rows_and_columns_are_listed_at_once(tmp_path):
    lines = with_x(lambda x: "five" if x == 20.5 else x).replace("x,g,y", "Income,g,y").splitlines(keepends=True)
    lines[5] = "1,2,3,4\n"
    with pytest.raises(DataError) as caught:
        read(tmp_path, "".join(lines), reference={"incme": "1"}, drop=("nothing",), ragged=None)

    assert [line.split(": ", 1)[1].split(";")[0] for line in str(caught.value).splitlines()] == [
        "line 2: column 'Income': 'five' is not a number, but most cells are",
        "line 1: there is no column 'nothing'",
        "line 1: there is no column 'incme'",
        "line 6: 4 cells where the header has 3",
    ]
    assert (caught.value.options, caught.value.instead) == (None, {"incme": "Income"})


def test_more_faults_than_one_would_read_are_counted(tmp_path):
    with pytest.raises(DataError) as caught:
        read(tmp_path, text() + "1\n" * 3 + "1,2,3,4\n" * 25)

    *lines, last = str(caught.value).splitlines()
    assert (len(lines), last) == (20, "and 8 more")


def test_the_options_of_an_error_can_be_pasted_into_a_shell(tmp_path):
    name, stray, levels = "driver's age", "don't know", ["<10,000", "10,000 or more", "'"]
    rows = [(stray if i in (3, 7) else x, f'"{levels[i % 3]}"', y) for i, (x, _, y) in enumerate(ROWS)]
    content = text(rows, f"{name},income,y").replace("0\n", "no answer\n", 1)
    with pytest.raises(DataError) as caught:
        read(tmp_path, content, order={"income": ("a", "b")})

    faults, words = str(caught.value).splitlines(), shlex.split(caught.value.options)
    table = read_table(tmp_path / "t.csv", reading_of(parse(["fit", *words])))
    assert (len(faults), [feature.name for feature in table.features]) == (3, [name, "income"])
    assert (table.features[1].levels, table.rows) == (tuple(sorted(levels)), len(ROWS) - 1)


def test_rows_of_another_length_are_all_named(tmp_path):
    lines = text().splitlines(keepends=True)
    lines[5], lines[9] = "1,2,3,4\n", "1\n"
    with pytest.raises(DataError) as caught:
        read(tmp_path, "".join(lines))

    remedy = "correct the row (a separator inside a cell needs quotes), or leave it out by --ragged drop"
    assert [line.split(": ", 1)[1] for line in str(caught.value).splitlines()] == [
        f"line 6: 4 cells where the header has 3; {remedy}",
        f"line 10: 1 cells where the header has 3; {remedy}",
    ]
    assert caught.value.options == "--ragged drop"


@pytest.mark.parametrize("chunk", [64, 4 << 20])
@pytest.mark.parametrize(("ragged", "rows"), [("drop", 38), ("pad", 39)])
def test_rows_of_another_length_are_left_out_or_filled_up(tmp_path, monkeypatch, chunk, ragged, rows):
    monkeypatch.setattr(csv_files, "CHUNK", chunk)
    lines = text([(y, g, f'"{x}"') for x, g, y in ROWS], "y,g,x").splitlines(keepends=True)
    lines[5], lines[9] = "1,south,2,4\n", "1,south\n"
    table = read(tmp_path, "".join(lines), target="y", ragged=ragged, na=("20.5",))
    lines[5:6] = lines[9:10] = []
    lost = {"drop": f"{csv_files.LEFT_OUT}: 2", "pad": f"{csv_files.LEFT_OUT}: 1, {csv_files.FILLED}: 1"}[ragged]

    assert (table.rows, [feature.name for feature in table.features]) == (rows, ["g", "x"])
    assert {part for note in table.notes for part in note.partition(": ")[2].split(", ")} == {*lost.split(", ")}
    lines[20] = "0,west,5\n"
    lines[21] = "0,west,five\n"
    with pytest.raises(DataError, match="line 22: column 'x': 'five' is not a number"):  # after a row that stays
        read(tmp_path, "".join(lines), target="y", ragged=ragged)


def test_a_stray_text_among_very_many_numbers_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(csv_files, "CHUNK", 100)
    monkeypatch.setattr(summary, "MOST_TEXTS", 10)
    content = text([(f"{x + i / 100}" if i != 30 else "oops", g, y) for i, (x, g, y) in enumerate(ROWS)])
    with pytest.raises(DataError, match="line 32: column 'x': 'oops' is not a number, but most cells are") as caught:
        read(tmp_path, content)

    assert caught.value.options == "--na oops"
