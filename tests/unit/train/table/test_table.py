"""The reader of tables: its meaning of each cell, and one line for each fault."""

import gzip
import math

import numpy as np
import pytest

from tests.support import DATA
from tests.support.tables import read
from train.errors import DataError
from train.solvers.fit import fit
from train.solvers.options import Options
from train.table.reading import Reading
from train.table.table import read_table


def test_infers_numbers_and_groups(tmp_path):
    table = read(tmp_path, "size,city,y\n1,Rome,0\n2.5,Bonn,1\n-3e2,Rome,1\n")

    assert [(f.name, f.kind, f.levels) for f in table.features] == [
        ("size", "numeric", ()),
        ("city", "categorical", ("Bonn", "Rome")),
    ]
    assert table.x.tolist() == [[1, 1], [2.5, 0], [-300, 1]]
    assert table.y.tolist() == [0, 1, 1]


def test_orders_levels_that_are_numbers_by_value(tmp_path):
    table = read(tmp_path, "rank,y\n10,0\n9,1\n010,1\n", categorical=["rank"])

    assert table.features[0].levels == ("9", "010", "10")


@pytest.mark.parametrize(
    "content",
    [
        "\ufeffx,y\n1,0\n2,1\n",
        "x,y\r\n1,0\r\n2,1\r\n",
        'x,y\n"1","0"\n2,1',
        "x , y\n 1 , 0\n2, 1 \n\n",
        gzip.compress(b"x,y\n1,0\n2,1\n", mtime=0),
    ],
    ids=["BOM", "Windows line ends", "quotes", "blanks", "gzip"],
)
def test_reads_every_dress_of_the_same_table(tmp_path, content):
    table = read(tmp_path, content)

    assert (table.features[0].name, table.target.name) == ("x", "y")
    assert (table.x.tolist(), table.y.tolist()) == ([[1], [2]], [0, 1])


def test_blanks_around_a_text_are_no_other_text(tmp_path):
    table = read(tmp_path, "city,y\n Rome,0\nBonn,1\n NA,0\nRome,1\nBonn ,1\nNA,0\n", missing={"": "indicator"})

    assert table.features[0].levels == ("Bonn", "Rome")
    np.testing.assert_array_equal(table.x[:, 0], [1, 0, math.nan, 1, 0, math.nan])


def test_missing_cells_become_nan_with_a_fill(tmp_path):
    table = read(tmp_path, "x,city,y\n1,Rome,0\nNA,,1\n4,Rome,1\n,Bonn,0\n")

    assert [f.fill for f in table.features] == [2.5, 1.0]
    assert [[math.isnan(v) for v in row] for row in table.x.tolist()] == [[0, 0], [1, 1], [0, 0], [1, 0]]


@pytest.mark.parametrize(
    ("missing", "ways", "fills"),
    [
        ({}, ["mean", "most-frequent", "error"], [3.0, 1.0, None]),
        ({"": "median"}, ["median", "most-frequent", "error"], [2.0, 1.0, None]),
        ({"": "indicator", "size": "median"}, ["median", "indicator", "error"], [2.0, 1.0, None]),
        ({"size": "most-frequent"}, ["most-frequent", "most-frequent", "error"], [1.0, 1.0, None]),
        ({"full": "mean"}, ["mean", "most-frequent", "mean"], [3.0, 1.0, 2.5]),
        ({"full": "indicator"}, ["mean", "most-frequent", "indicator"], [3.0, 1.0, 2.5]),
        ({"full": "error"}, ["mean", "most-frequent", "error"], [3.0, 1.0, None]),
    ],
)
def test_what_missing_cells_become_is_chosen_for_all_or_by_column(tmp_path, missing, ways, fills):
    """A choice by a column's name holds for later rows, even if no present row lacks a value."""
    content = "size,city,full,y\n1,Rome,1,0\n8,Bonn,2,1\n3,Rome,3,1\n,,4,0\n1,Rome,1,0\n2,Bonn,4,1\n"
    table = read(tmp_path, content, missing=missing)

    assert [f.missing for f in table.features] == ways
    assert [f.fill for f in table.features] == fills


def test_many_levels_are_groups_where_they_are_called_so(tmp_path):
    content = "town,x,y\n" + "".join(f"T{i % 200},{i},{i % 3 % 2}\n" for i in range(600))
    without = read(tmp_path, content)

    assert [f.name for f in without.features] == ["x"]
    assert without.warnings == (
        "town is left out: 200 different texts in 600 rows; too many for levels; --categorical town uses it",
    )
    assert len(read(tmp_path, content, categorical=["town"]).features[0].levels) == 200


def test_a_column_of_weights_is_no_feature(tmp_path):
    table = read(tmp_path, "x,n,y\n1,2,0\n2,0,1\n3,0.5,1\n", weights="n")

    assert [f.name for f in table.features] == ["x"]
    assert table.weight.tolist() == [2, 0, 0.5]
    assert read(tmp_path, "x,n,y\n1,2,0\n2,0,1\n").weight.tolist() == [1, 1]


@pytest.mark.parametrize("way", ["mean", "median", "most-frequent", "indicator"])
def test_what_missing_cells_become_counts_a_row_as_often_as_its_weight(tmp_path, way):
    """Repeated rows have the fills and the fit of weights; weight 0 has no influence."""
    random = np.random.default_rng(0)
    size, city = random.integers(0, 9, 60) / 2, random.choice(["Bonn", "Rome", "Turin"], 60)
    rows = [
        f"{'' if i % 7 == 0 else s},{'' if i % 5 == 0 else c}" for i, (s, c) in enumerate(zip(size, city, strict=True))
    ]
    rows = [(row, int(random.random() < 0.3 + s / 8), i % 4) for i, (row, s) in enumerate(zip(rows, size, strict=True))]
    missing = {"": way, **({"city": "most-frequent"} if way in ("mean", "median") else {})}
    weighted = read(
        tmp_path, "size,city,w,y\n" + "".join(f"{r},{w},{y}\n" for r, y, w in rows), weights="w", missing=missing
    )
    repeated = read(tmp_path, "size,city,y\n" + "".join(f"{r},{y}\n" * w for r, y, w in rows), missing=missing)

    assert [f.fill for f in weighted.features] == pytest.approx([f.fill for f in repeated.features], rel=1e-14)
    one, other = (fit(t.data, Options(), print).model for t in (weighted, repeated))
    np.testing.assert_allclose(one.weight.detach(), other.weight.detach(), rtol=1e-9)


@pytest.mark.parametrize(
    ("values", "given", "expected"),
    [
        (("no", "yes"), None, ("no", "yes")),
        (("died", "survived"), None, ("died", "survived")),
        (("Pass", "Fail"), None, ("Fail", "Pass")),
        (("1.0", "0.0"), None, ("0", "1")),
        (("TRUE", "False"), None, ("false", "true")),
        (("1", "2"), "1.0", ("2", "1")),
        (("No", "Yes"), "yes", ("No", "Yes")),
        (("1", "2"), "1", ("2", "1")),
        (("hired", "rejected"), "hired", ("rejected", "hired")),
    ],
)
def test_finds_the_positive_value(tmp_path, values, given, expected):
    table = read(tmp_path, f"x,y\n1,{values[0]}\n2,{values[1]}\n", positive=given)

    assert table.target.values == expected
    assert table.y.tolist() == [float(v == expected[1] or v in ("1.0", "TRUE")) for v in values]


@pytest.mark.parametrize(
    ("content", "labels", "expected"),
    [
        ("x,admit\n1,0\n2,1\n", None, ("no", "yes")),
        ("x,passed\n1,0\n2,1\n", None, ("fail", "pass")),
        ("x,y\n1,0\n2,1\n", ("out", "in"), ("out", "in")),
        ("x,y\n1,no\n2,yes\n", None, ("no", "yes")),
    ],
    ids=["0 and 1", "the lecture's", "as told", "texts"],
)
def test_the_outcomes_are_called_by_their_own_name(tmp_path, content, labels, expected):
    assert read(tmp_path, content, labels=labels).target.labels == expected


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        ("", {}, "line 1: the file is empty"),
        ("x,y\n", {}, "line 2: there is a header but no row"),
        ("x\n1\n", {}, "line 1: only one column, 'x'; name the separator of its columns with --separator"),
        ("x,x\n1,0\n", {}, "line 1: column 1, 2: 2 columns are called 'x'; rename these columns"),
        ('"a""b",y\n1,0\n', {}, "line 1: column 1: a quote, \\ or the like in the name; rename these columns"),
        ("x,y\n1,0\n2,1\n", {"target": "z"}, "line 1: there is no column 'z'; the columns are: x, y"),
        ("x,admit\n1,0\n2,1\n", {"target": "admitt"}, "there is no column 'admitt'; did you mean 'admit'?"),
        ("x,y\n1,0\n2,1\n", {"drop": ["q"]}, "there is no column 'q'"),
        ("x,y\n1,0\n2,1\n", {"drop": ["x"]}, "no column is left"),
        ("x,y\n1,0\n2,1\n", {"drop": ["y"]}, "'y' is the target"),
        ("x,y\n1,0\n2\n3,1\n", {}, "line 3: 1 cells where the header has 2"),
        ('x,y\n"a\nb",0\n\n3,1,4\n5,1\n', {}, "line 5: 3 cells where the header has 2"),
        ('x,y\n1,0\n1,1\n"2,1\n3,1\n', {}, "line 4: 1 cells where the header has 2"),
        ("x,y\n1,\n2,\n", {}, "it has no row with a target; add rows"),
        ("x,y\n1,0\n2,0\n", {}, "line 2: column 'y': every row has '0'"),
        ("x,y\n1,0\n\n2,1\n3,2\n", {}, "line 5: column 'y': 3 different values, the third is '2'"),
        (
            "x,y\n1,a\n2,b\n",
            {},
            "column 'y': it is unknown which of 'a' and 'b' is positive; use --positive a or --positive b",
        ),
        ("x,y\n1,a\n2,b\n", {"positive": "c"}, "column 'y': no row has 'c'; --positive takes 'a' or 'b'"),
        ("x,y\n,0\n,1\n", {"strict": True}, "line 1: column 'x': no row has a value; it predicts nothing"),
        ("x,y\n1,0\ninf,1\n", {}, "line 3: column 'x': 'inf' is not a finite number"),
        ("x,y\n1,0\n1e999,1\n", {}, "line 3: column 'x': '1e999' is not a finite number"),
        ("x,y\n1,0\n2,1\n3,1\nabc,0\n", {}, "line 5: column 'x': 'abc' is not a number, but most cells are"),
        ("x,y\n0x5,0\n0x3,1\n", {}, "line 2: column 'x': '0x5' is hexadecimal; write it in decimal digits"),
        ("x,y\na,0\na,1\n", {"strict": True}, "line 1: column 'x': every row has 'a'; it predicts nothing"),
        (
            "id,y\n" + "".join(f"u{i},{i % 2}\n" for i in range(30)),
            {"strict": True},
            "column 'id': 30 different texts in 30 rows",
        ),
        (
            "x,w,y\n1,0,1\n2,1,0\n",
            {"weights": "w"},
            "column 'w': every row with a weight above 0 has y = '0'; a target",
        ),
        ("x,y\n1,0\n,1\n", {"missing": {"": "error"}}, "line 3: column 'x': missing; fill the cell, or choose another"),
        (
            "x,y\n1,0\n,1\n",
            {"missing": {"x": "error"}},
            "line 3: column 'x': missing; fill the cell, or choose another",
        ),
        ("c,y\na,0\nb,1\n", {"missing": {"c": "median"}}, "column 'c': levels have no median; use --missing c=most"),
        ("x,y\n1,0\n2,1\n", {"missing": {"z": "mean"}}, "line 1: there is no column 'z'"),
        ("x,y\n1,0\n2,1\n", {"missing": {"y": "mean"}}, "column 'y' is not one to predict from; take it out"),
        ("x,n,y\n1,1,0\n2,-1,1\n", {"weights": "n"}, "line 3: column 'n': not a weight; a weight is a number from 0"),
        ("x,n,y\n1,1,0\n2,,1\n", {"weights": "n"}, "line 3: column 'n': not a weight"),
        ("x,n,y\n1,1,0\n2,inf,1\n", {"weights": "n"}, "line 3: column 'n': not a weight"),
        ("x,n,y\n1,1,0\n2,two,1\n", {"weights": "n"}, "line 3: column 'n': not a weight"),
        ("x,n,y\n1,0,0\n2,0,1\n", {"weights": "n"}, "line 1: column 'n': every weight is 0; leave --weights out"),
        ("x,n,y\n1,1,0\n2,1,1\n", {"weights": "m"}, "line 1: there is no column 'm'"),
        ("x,n,y\n1,1,0\n2,1,1\n", {"weights": "y"}, "column 'y' is the target, so --weights can't name it"),
        (b"x,y\n1,0\n\xff,1\n", {"encoding": "utf-8"}, "line 3: not text in the encoding utf-8"),
        (b"x,y\n1,0\n\0,1\n", {}, "line 3: holds a NUL"),
        (gzip.compress(b"x,y\n1,0\n2,1\n", mtime=0)[:-9], {}, "its compression is damaged"),
    ],
)
def test_every_fault_is_one_line_with_its_place(tmp_path, content, options, message):
    with pytest.raises(DataError) as caught:
        read(tmp_path, content, **options)

    assert str(caught.value).startswith(str(tmp_path / "t.csv"))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_such_file_says_how_to_name_one(tmp_path):
    with pytest.raises(DataError, match="there is no such file; give one with --data"):
        read_table(tmp_path / "absent.csv")


def test_an_empty_folder_is_not_a_table(tmp_path):
    with pytest.raises(DataError, match="the folder has no part; put CSV or Parquet files into it"):
        read_table(tmp_path)


def test_the_sample_tables_are_the_published_ones():
    admissions = read_table(DATA / "admissions.csv", Reading(categorical=["rank"]))

    assert (admissions.x.shape, admissions.y.sum()) == ((400, 3), 127)
    assert admissions.features[2].levels == ("1", "2", "3", "4")
