"""Cells that are numbers with units, levels, identifiers, outcomes, or missing."""

import shlex

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.support.tables import ROWS, X, Y, read, text, with_x
from train.arguments import parse, reading_of
from train.errors import DataError
from train.table import csv_files
from train.table.reading import Reading
from train.table.table import read_table


@pytest.mark.parametrize(
    "cell", ["", " ", "?", "NA", "N/A", "None", "null", "NULL", "<NA>", "-", ".", "\\N", "#DIV/0!", "NaT"]
)
def test_a_cell_that_means_missing_is_missing_and_counted(tmp_path, cell):
    table = read(tmp_path, with_x(lambda x: cell if x == 20.5 else x))

    assert np.isnan(table.x[:, 0]).tolist() == [x == 20.5 for x in X]
    assert table.features[0].fill == pytest.approx(np.mean([x for x in X if x != 20.5]))
    assert dict(table.missing) == {"x": X.count(20.5), "g": 0}


def test_rows_with_a_missing_cell_can_be_dropped(tmp_path):
    table = read(tmp_path, with_x(lambda x: "" if x == 20.5 else x), missing={"": "drop"})

    assert table.x[:, 0].tolist() == [x for x in X if x != 20.5]
    assert table.features[0].fill is None
    assert table.notes[0].endswith(f"rows left out for a missing target or cell: {X.count(20.5)}")


def test_rows_without_a_target_are_left_out_and_counted(tmp_path):
    rows = [(x, "west" if i == 3 else g, "" if i in (3, 7) else y) for i, (x, g, y) in enumerate(ROWS)]
    table = read(tmp_path, text(rows))

    assert (table.rows, len(table.y), table.positives) == (38, 38, sum(Y) - Y[3] - Y[7])
    assert table.features[1].levels == ("east", "north", "south")
    assert table.notes == (f"{tmp_path / 't.csv'}: rows left out for a missing target: 2",)
    rows[20] = ("inf", "north", 1)
    with pytest.raises(DataError, match="line 22: column 'x': 'inf' is not a finite number"):
        read(tmp_path, text(rows))


@pytest.mark.parametrize(
    ("spelling", "unit"),
    [
        (lambda x: f"{x} kg", "kg"),
        (lambda x: f"{x}%", "%"),
        (lambda x: f"${x}", "$"),
        (lambda x: f"{x} km/h", "km/h"),
        (lambda x: f'"{x * 1000:,.2f}"', ""),
        (lambda x: f"+{x}", ""),
    ],
    ids=["unit", "percent", "currency", "compound unit", "thousands", "plus sign"],
)
def test_numbers_for_people_are_numbers_and_keep_their_unit(tmp_path, monkeypatch, spelling, unit):
    monkeypatch.setattr(csv_files, "CHUNK", 200)
    table = read(tmp_path, with_x(spelling))

    factor = 1000 if "00" in spelling(1.0) else 1
    np.testing.assert_allclose(table.x[:, 0], np.array(X) * factor, rtol=1e-15)
    assert dict(table.units) == ({"x": unit} if unit else {})


def test_numbers_of_different_units_are_not_mixed(tmp_path):
    table = read(tmp_path, with_x(lambda x: f"{x} kg" if x < 25 else f"{x} lb"))

    assert table.features[0].kind == "categorical"


@pytest.mark.parametrize("chunk", [64, 4 << 20])
def test_codes_with_leading_zeros_are_texts(tmp_path, monkeypatch, chunk):
    """The first of them may be far below numbers."""
    monkeypatch.setattr(csv_files, "CHUNK", chunk)
    rows = [(["9310", "2101", "01100"][i // 14], *row) for i, row in enumerate(ROWS)]
    table = read(tmp_path, text(rows, "zip,x,g,y"))

    assert table.features[0].levels == ("01100", "2101", "9310")


@pytest.mark.parametrize("first", [2**53 - 20, 2**63 + 1], ids=["beyond 2^53", "beyond 2^63"])
def test_integers_that_float64_would_round_are_identifiers(tmp_path, first):
    """CSV and Parquet agree; integers that float64 holds stay numbers, however large."""
    identifiers = [first + i for i in range(40)]
    even = [1_700_000_000 * 10**9 + 86_400 * 10**9 * (i % 5) for i in range(40)]
    rows = [(a, b, *row) for a, b, row in zip(identifiers, even, ROWS, strict=True)]
    columns = {"id": pa.array(identifiers, pa.uint64()), "even": even, "x": X, "g": [g for _, g, _ in ROWS], "y": Y}
    pq.write_table(pa.table(columns), tmp_path / "t.parquet")

    for table in (read(tmp_path, text(rows, "id,even,x,g,y")), read_table(tmp_path / "t.parquet")):
        assert [feature.name for feature in table.features] == ["even", "x", "g"]
        assert table.warnings[0].startswith("id is left out: 40 different identifiers in 40 rows; too many")
        assert table.x[:, 0].tolist() == even


@pytest.mark.parametrize("spelling", ["inf", "-inf", "Infinity", "1e999"])
def test_an_infinite_number_is_refused_unless_it_means_missing(tmp_path, spelling):
    content = with_x(lambda x: spelling if x == 20.5 else x)
    with pytest.raises(DataError, match=f"'{spelling}' is not a finite number, but most cells are") as caught:
        read(tmp_path, content)
    table = read_table(tmp_path / "t.csv", reading_of(parse(["fit", *shlex.split(caught.value.options)])))

    assert np.isnan(table.x[:, 0]).tolist() == [x == 20.5 for x in X]


def test_an_infinite_number_of_parquet_may_mean_missing(tmp_path):
    columns = {"x": [float("inf" if x == 20.5 else x) for x in X], "y": Y}
    pq.write_table(pa.table(columns), tmp_path / "t.parquet")

    assert np.isnan(read_table(tmp_path / "t.parquet", Reading(na=("inf",))).x[:, 0]).sum() == X.count(20.5)


def test_a_spelling_of_nan_that_the_service_does_not_read_is_named(tmp_path):
    with pytest.raises(DataError, match="line 2: column 'x': 'nAn' is not a number, but most cells are"):
        read(tmp_path, with_x(lambda x: "nAn" if x == 20.5 else x))


@pytest.mark.parametrize(
    ("outcomes", "values"),
    [
        (("No", "Yes", "NO ", " yes"), ("no", "yes")),
        (("0", "1", "0.0", "1.0"), ("0", "1")),
        (("false", "True", "FALSE", "true"), ("false", "true")),
    ],
    ids=["case and blanks", "numbers", "booleans"],
)
def test_spellings_of_one_target_value_are_one(tmp_path, outcomes, values):
    rows = [(x, g, outcomes[y + 2 * (i % 2)]) for i, (x, g, y) in enumerate(ROWS)]
    table = read(tmp_path, text(rows))

    assert (table.target.values, table.y.tolist(), table.positives) == (values, Y, sum(Y))


@pytest.mark.parametrize("words", [("nein", "ja"), ("non", "oui"), ("Não", "Sim"), ("no", "sí"), ("-1", "1")], ids=str)
def test_yes_in_other_languages_is_positive(tmp_path, words):
    assert read(tmp_path, text([(x, g, words[y]) for x, g, y in ROWS])).y.tolist() == Y


@pytest.mark.parametrize("other", [[""], ["", "no"]], ids=["blank", "blank or no"])
@pytest.mark.parametrize("chunk", [64, 4 << 20])
def test_a_blank_target_may_be_the_other_outcome(tmp_path, monkeypatch, chunk, other):
    monkeypatch.setattr(csv_files, "CHUNK", chunk)
    rows = [(x, g, "TRUE" if y else other[i % len(other)]) for i, (x, g, y) in enumerate(ROWS)]
    table = read(tmp_path, text(rows), blank="no")

    assert (table.y.tolist(), table.target.values, table.notes) == (Y, ("no", "true"), ())
