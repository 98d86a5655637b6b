"""Parquet and folders of parts give the table of one CSV file, and name faults' places."""

import gzip
import hashlib
import math

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from train.errors import DataError
from train.table import csv_files, summary
from train.table.reading import Reading
from train.table.table import read_table

CSV = "size,city,rank,y\n1.5,Rome,10,no\n,Bonn,9,yes\n-3, NA ,9,yes\n7,Rome,10,no\n"
COLUMNS = {
    "size": pa.array([1.5, None, -3, 7]),
    "city": pa.array(["Rome", "Bonn", " NA ", "Rome"]).dictionary_encode(),
    "rank": pa.array([10, 9, 9, 10], pa.int8()),
    "y": pa.array(["no", "yes", "yes", "no"]),
}


def same(a, b):
    assert (a.features, a.target, a.rows, a.positives) == (b.features, b.target, b.rows, b.positives)
    np.testing.assert_array_equal(a.x, b.x)
    np.testing.assert_array_equal(a.y, b.y)


@pytest.fixture
def table(tmp_path):
    (tmp_path / "t.csv").write_text(CSV)
    return read_table(tmp_path / "t.csv", Reading(categorical=["rank"]))


def test_parquet_is_the_same_table_as_csv(tmp_path, table):
    pq.write_table(pa.table(COLUMNS), tmp_path / "t.parquet")

    same(read_table(tmp_path / "t.parquet", Reading(categorical=["rank"])), table)
    assert table.features[2].levels == ("9", "10")


def test_the_nameless_index_of_pandas_is_no_column(tmp_path, table):
    """The index is the file's last column, where the target is looked for."""
    pq.write_table(pa.table({**COLUMNS, "__index_level_0__": pa.array([0, 2, 3, 7])}), tmp_path / "t.parquet")

    same(read_table(tmp_path / "t.parquet", Reading(categorical=["rank"])), table)


def test_a_folder_of_parts_is_the_same_table_as_one_file(tmp_path, table):
    """Parts in the order of their names, gzip or not; files that begin with . or _ are none."""
    folder = tmp_path / "parts"
    folder.mkdir()
    header, *rows = CSV.splitlines(keepends=True)
    (folder / "b.csv.gz").write_bytes(gzip.compress((header + "".join(rows[2:])).encode()))
    (folder / "a.csv").write_text(header + "".join(rows[:2]))
    (folder / "_SUCCESS").write_text("")
    read = read_table(folder, Reading(categorical=["rank"]))

    same(read, table)
    lines = "".join(f"{hashlib.sha256((folder / n).read_bytes()).hexdigest()}  {n}\n" for n in ("a.csv", "b.csv.gz"))
    assert read.sha256 == hashlib.sha256(lines.encode()).hexdigest()


def test_true_and_false_and_nan_of_parquet(tmp_path):
    columns = {"a": [1.0, math.nan, 4.0], "b": [True, False, None], "y": [False, True, True]}
    pq.write_table(pa.table(columns), tmp_path / "t.parquet")
    table = read_table(tmp_path / "t.parquet")

    assert table.features[0].fill == 2.5
    assert (table.features[1].levels, table.target.values) == (("false", "true"), ("false", "true"))
    np.testing.assert_array_equal(table.x, [[1, 1], [math.nan, 0], [4, math.nan]])
    groups = read_table(tmp_path / "t.parquet", Reading(categorical=["a"]))
    assert groups.features[0].levels == ("1", "4")
    np.testing.assert_array_equal(groups.x[:, 0], [0, math.nan, 1])


def test_a_column_of_numbers_that_turns_out_text_is_read_again_as_text(tmp_path, monkeypatch):
    """The first of the small chunks hold numbers only; the levels are the file's texts."""
    monkeypatch.setattr(csv_files, "CHUNK", 16)
    (tmp_path / "t.csv").write_text("x,y\n" + "01,0\n1.0,1\n" + "a,0\nb,1\nb,1\na,0\n" * 3)
    table = read_table(tmp_path / "t.csv")

    assert table.features[0].levels == ("01", "1.0", "a", "b")
    assert table.x[:4, 0].tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("size", [7, 64, 1000])
def test_a_chunk_never_ends_inside_quotes(tmp_path, monkeypatch, size):
    monkeypatch.setattr(csv_files, "CHUNK", size)
    rows = ['"one\ntwo",1', '"say ""hi""\n\n",0', "plain,1", '"a,b",0'] * 5
    (tmp_path / "t.csv").write_text("x,y\n" + "\n".join(rows))
    table = read_table(tmp_path / "t.csv")

    assert table.features[0].levels == ("a,b", "one\ntwo", "plain", 'say "hi"')
    assert table.x[:, 0].tolist() == [1, 3, 2, 0] * 5


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (b"3\n", "1 cells where the header has 2"),
        (b"inf,1\n", "column 'x': 'inf' is not a finite number"),
        (b"abc,1\n", "column 'x': 'abc' is not a number"),
        (b"5,2\n", "column 'y': 3 different values"),
    ],
)
def test_faults_far_down_name_their_line(tmp_path, monkeypatch, bad, message):
    monkeypatch.setattr(csv_files, "CHUNK", 64)
    (tmp_path / "t.csv").write_bytes(b"x,y\n" + b"1,0\n2,1\n" * 50 + bad + b"1,1\n")

    with pytest.raises(DataError, match=f"line 102: {message}"):
        read_table(tmp_path / "t.csv")


def test_faults_in_parts_name_the_part(tmp_path):
    folder = tmp_path / "parts"
    folder.mkdir()
    pq.write_table(pa.table({"x": [1.0, 2.0], "y": [0, 1]}), folder / "a.parquet")
    for columns, message in [
        ({"x": [1.0, math.inf], "y": [0, 1]}, r"b\.parquet: row 2: column 'x': 'inf' is not a finite number"),
        ({"z": [1.0], "y": [0]}, r"b\.parquet: its columns are not those of .*a\.parquet: they differ in x, z; make"),
        (
            {"x": [[1.0]], "y": [0]},
            r"b\.parquet: column 'x': holds list.*; a column needs one value a row; leave it out",
        ),
    ]:
        pq.write_table(pa.table(columns), folder / "b.parquet")
        with pytest.raises(DataError, match=message):
            read_table(folder)
    (folder / "b.parquet").write_bytes(b"PAR1 and nothing else")
    with pytest.raises(DataError, match=r"b\.parquet: not a Parquet file: "):
        read_table(folder)


@pytest.mark.parametrize(
    "values",
    [
        pa.array([b"\xff\xfe", b"a"]),
        pa.ExtensionArray.from_storage(pa.uuid(), pa.array([b"0" * 16] * 2, pa.binary(16))),
    ],
)
def test_values_that_are_no_text_name_their_column(tmp_path, values):
    pq.write_table(pa.table({"x": [1.0, 2.0], "key": values, "y": [0, 1]}), tmp_path / "t.parquet")

    with pytest.raises(
        DataError, match=r"t\.parquet: column 'key': its .* can't be read as numbers or as text; leave it out"
    ):
        read_table(tmp_path / "t.parquet")
    assert [feature.name for feature in read_table(tmp_path / "t.parquet", Reading(drop=["key"])).features] == ["x"]


def test_parquet_without_rows_says_so(tmp_path):
    pq.write_table(pa.table({"x": pa.array([], pa.float64()), "y": pa.array([], pa.int64())}), tmp_path / "t.parquet")

    with pytest.raises(DataError, match=r"t\.parquet: it has no row with a target"):
        read_table(tmp_path / "t.parquet")


def test_more_texts_than_are_counted_are_left_out(tmp_path, monkeypatch):
    monkeypatch.setattr(csv_files, "CHUNK", 4096)
    for module in ("schema", "summary"):
        monkeypatch.setattr(f"train.table.{module}.MOST_TEXTS", 200)
    (tmp_path / "t.csv").write_text("id,x,y\n" + "".join(f"u{i},{i},{i % 2}\n" for i in range(5000)))
    table = read_table(tmp_path / "t.csv")

    assert table.warnings == (
        "id is left out: more than 200 different texts in 5000 rows; too many for levels; --drop id silences this",
    )
    assert table.x.tolist() == [[i] for i in range(5000)]


@pytest.mark.parametrize(
    ("options", "remedy"),
    [
        ({"cluster": "id"}, "replace them with numbers for --cluster"),
        ({"group": "id"}, "replace them with numbers for --group"),
        ({"time": "id"}, "replace them with numbers for --time"),
        ({"by": ("id",), "drop": ("id",)}, "--by takes a column of few groups; choose another"),
    ],
    ids=["clusters", "groups", "times", "groups of figures"],
)
def test_more_texts_than_are_counted_name_no_groups(tmp_path, monkeypatch, options, remedy):
    monkeypatch.setattr(summary, "MOST_TEXTS", 20)
    (tmp_path / "t.csv").write_text("id,x,y\n" + "".join(f"u{i},{i},{i % 2}\n" for i in range(30)))
    with pytest.raises(DataError, match=f"column 'id': more than 20 different texts; {remedy}$"):
        read_table(tmp_path / "t.csv", Reading(**options))
