"""Dates and times of a table: left out, or read as features, as times and as groups."""

import datetime
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from msgspec import structs

from passfail.batches import numbers
from passfail.codecs import Codecs
from passfail.columns import Columns
from passfail.manifest import Column, Dates, Example, Parameters
from passfail.spelling import date_number
from tests.support.tables import ROWS, X, Y, manifest_of, read, text
from train.errors import DataError
from train.export.checkpoint import Raw
from train.export.comparison import text_faults
from train.table.checks import warnings
from train.table.raw import raw_rows
from train.table.reading import Reading
from train.table.table import read_rows, read_table


@pytest.mark.parametrize(
    ("spelling", "remedy"),
    [
        (lambda i: f"2024-01-{i % 28 + 1:02}", "--date day=year,month makes numbers of dates"),
        (lambda i: f"{i % 28 + 1}.1.2024", "--date day=year,month makes numbers of dates"),
        (lambda i: f"{i % 3 + 1}/15/2024", "--date day=year,month makes numbers of dates"),
        (lambda i: f"2024-01-02T{i % 24:02}:30:00Z", "--date day=year,month makes numbers of dates"),
        (lambda i: f"{i % 24:02}:{i:02}", "--drop day silences this"),
        (lambda i: f"{i % 28 + 1} Jan 2024", "--drop day silences this"),
    ],
    ids=["ISO", "German", "American", "timestamps", "times", "month names"],
)  # fmt: skip
def test_dates_and_times_are_left_out_with_a_warning(tmp_path, spelling, remedy):
    rows = [(spelling(i), *row) for i, row in enumerate(ROWS)]
    table = read(tmp_path, text(rows, "day,x,g,y"))

    assert [feature.name for feature in table.features] == ["x", "g"]
    said = f"day is left out: its cells are dates or times; each would be a level of its own; {remedy}"
    assert table.warnings == (said,)
    with pytest.raises(DataError, match="column 'day': its cells are dates or times"):
        read(tmp_path, text(rows, "day,x,g,y"), strict=True)


def test_timestamps_and_booleans_of_parquet_are_those_of_csv(tmp_path):
    flags = [i % 3 == 0 for i in range(40)]
    days = [datetime.datetime(2024, 1, 1) + datetime.timedelta(i) for i in range(40)]
    pq.write_table(pa.table({"flag": flags, "day": days, "x": X, "y": [y == 1 for y in Y]}), tmp_path / "t.parquet")
    rows = [(["FALSE", "True"][f], d, x, ["false", "TRUE"][y]) for f, d, x, y in zip(flags, days, X, Y, strict=True)]
    tables = read_table(tmp_path / "t.parquet"), read(tmp_path, text(rows, "flag,day,x,y"))

    for table in tables:
        assert table.features[0].levels == table.target.values == ("false", "true")
        assert table.x[:, 0].tolist() == flags
        assert len(table.warnings) == 1
    assert tables[0].features == tables[1].features


def test_groups_and_times_are_read_beside_the_features(tmp_path):
    rows = [(f"2024-02-{i % 28 + 1:02}", f"p{i % 7}", x, y) for i, (x, _, y) in enumerate(ROWS)]
    grouped = read(tmp_path, text(rows, "day,person,x,y"), group="Person", drop=("day",))
    timed = read(tmp_path, text(rows, "day,person,x,y"), time="day", drop=("person",))

    assert [[feature.name for feature in table.features] for table in (grouped, timed)] == [["x"], ["x"]]
    assert grouped.group.tolist() == [i % 7 for i in range(40)]
    assert (np.diff(timed.time[:28]) == 86_400e6).all()
    for options, said in (
        ({"group": "day", "time": "person"}, "--group and --time can't be combined"),
        ({"time": "person"}, "line 2: column 'person': not a time"),
        ({"group": "y"}, "column 'y' is the target, so --group can't name it"),
        ({"group": "day", "drop": ("day",)}, "column 'day' is left out by --drop, so --group can't name it"),
    ):
        with pytest.raises(DataError, match=said):
            read(tmp_path, text(rows, "day,person,x,y"), **options)


def test_parts_of_dates_are_features_and_faults_name_their_line(tmp_path):
    rows = [(f"2024-02-{i % 28 + 1:02}T10:30:00", x, y) for i, (x, _, y) in enumerate(ROWS)]
    table = read(tmp_path, text(rows, "day,x,y"), dates={"day": ("day", "hour")}, missing={"day": "median"})

    assert [feature.name for feature in table.features] == ["day.day", "day.hour", "x"]
    assert table.x[:28, 0].tolist() == list(range(1, 29))
    assert (table.features[0].range, table.features[0].fill, set(table.x[:, 1])) == ((1, 28), 10.5, {10})
    test = read_rows(tmp_path / "t.csv", table, Reading())
    assert test[0].tobytes() == table.x.tobytes()
    with pytest.raises(DataError, match=r"line 4: column 'day': '31\.2\.2024' is not a date like the others"):
        read(tmp_path, text([*rows[:2], ("31.2.2024", 1, 1), *rows[3:]], "day,x,y"), dates={"day": ("day",)})


ORDERED = {
    "day.month.year": (lambda d: f"{d}.2.2024", "day-first"),
    "day/month/year": (lambda d: f"{d:02}/02/2024", "day-first"),
    "month/day/year": (lambda d: f"02/{d:02}/2024", "month-first"),
    "day.month.year of two digits": (lambda d: f"{d}.2.24", "day-first"),
    "month/day/year in the afternoon": (lambda d: f"2/{d}/2024 1:03:22 PM", "month-first"),
    "year/month/day": (lambda d: f"2024/02/{d:02}", ""),
    "year-month-day without zeros": (lambda d: f"2024-2-{d}", ""),
    "yearmonthday": (lambda d: f"202402{d:02}", ""),
    "yearmonthday as a float": (lambda d: f"202402{d:02}.0", ""),
    "day-month-year with a time": (lambda d: f"{d:02}-02-2024 10:30", "day-first"),
}


@pytest.mark.parametrize("case", ORDERED)
def test_dates_in_one_order_are_found_and_read_alike_by_the_service(tmp_path, case):
    spell, order = ORDERED[case]
    rows = [(spell(i % 28 + 1), x, y) for i, (x, _, y) in enumerate(ROWS)]
    table = read(tmp_path, text(rows, "day,x,y"), dates={"day": ("day", "month")})

    assert table.dates["day"] == Dates(("day", "month"), order)
    assert table.x[:28, :2].tolist() == [[day, 2] for day in range(1, 29)]
    assert read_rows(tmp_path / "t.csv", table, Reading())[0].tobytes() == table.x.tobytes()
    decoders = Codecs(manifest_of(table), 100)
    for day in (spell(17), "2024-02-17"):
        assert decoders.csv.read(f"day,x\n{day},1\n".encode())[0].tolist() == [[17, 2, 1]]
    raw = raw_rows(tmp_path / "t.csv", Reading(dates={"day": ("day", "month")}), table)
    assert (len(raw), raw[0].cells["day"]) == (40, spell(1))
    kept = [Raw(one.cells, one.outcome, bool(table.y[one.row]), 0.0, table.target.labels[0]) for one in raw]
    columns = tuple(Column(index, None, 0.0, 1.0, 0.0, 0.0) for index in range(3))
    example = Example({"day.day": 1.0, "day.month": 2.0, "x": 1.0}, 0.0, 0.5, table.target.labels[0])
    manifest = structs.replace(manifest_of(table), parameters=Parameters(0.0, columns), examples=(example,))
    assert list(text_faults(manifest, kept)) == []
    wrong = structs.replace(manifest, dates={"day": Dates(("day", "month"), "")})
    assert ("can't be read as CSV: " in "".join(text_faults(wrong, kept))) == bool(order)


@pytest.mark.parametrize(("time", "hour"), [("12:30 AM", 0), ("12:30 PM", 12), ("1:05 pm", 13), ("13:05 PM", 13)])
def test_an_hour_is_of_the_half_of_the_day_beside_it(time, hour):
    assert date_number(f"31.05.2024 {time}", "hour", "day-first") == hour


def test_an_afternoon_hour_before_noon_is_refused():
    with pytest.raises(ValueError, match=r"^$"):
        date_number("31.05.2024 14:00 AM", "hour", "day-first")


def test_dates_that_are_whole_numbers_are_warned_of_and_read_alike_by_the_service(tmp_path):
    days = [20240200 + i % 28 + 1 for i in range(40)]
    table = read(tmp_path, text([(d, x, y) for d, x, y in zip(days, X, Y, strict=True)], "day,x,y"))
    (warning,) = warnings(table.features, table.x, True, None)
    assert warning.endswith("20240131 and 20240201 are 70 apart; --date day=year,month makes numbers of dates")
    pq.write_table(pa.table({"day": days, "x": X, "y": Y}), tmp_path / "t.parquet")
    table = read_table(tmp_path / "t.parquet", Reading(dates={"day": ("day", "month")}))
    manifest = manifest_of(table)
    assert table.x[:28, :2].tolist() == [[day, 2] for day in range(1, 29)]
    for day in (20240217, 20240217.0, "20240217"):
        assert Codecs(manifest, 9).json.read(json.dumps({"day": day, "x": 1}).encode()) == [17, 2, 1]
    assert Codecs(manifest, 9).csv.read(b"day.day,day.month,x\n17,2,1\n")[0].tolist() == [[17, 2, 1]]
    first = next(iter(Columns(manifest, 9)))
    for kind in (pa.int64(), pa.float64(), pa.string()):
        assert numbers(first, pa.array(days).cast(kind))[0].tolist() == [day % 100 for day in days]


def test_whole_numbers_that_are_no_dates_are_not_warned_of(tmp_path):
    table = read(tmp_path, text([(20240232 + i % 9, x, y) for i, (x, _, y) in enumerate(ROWS)], "code,x,y"))

    assert [*warnings(table.features, table.x, True, None)] == []


def test_an_order_that_both_could_be_is_asked_for_and_one_that_is_neither_is_named(tmp_path):
    rows = [(f"{i % 12 + 1:02}/03/2024", x, y) for i, (x, _, y) in enumerate(ROWS)]
    with pytest.raises(DataError, match=r"line 2: .*the order of day and month is unclear.*--date day=day-first,month"):
        read(tmp_path, text(rows, "day,x,y"), dates={"day": ("month",)})
    for order, month in (("day-first", 3), ("month-first", 1)):
        table = read(tmp_path, text(rows, "day,x,y"), dates={"day": (order, "month")})
        assert table.x[0, 0] == month
    with pytest.raises(DataError, match=r"line 4: column 'day': '31/31/2024' is not a date like the others"):
        read(tmp_path, text([*rows[:2], ("31/31/2024", 1, 1), *rows[3:]], "day,x,y"), dates={"day": ("day",)})


def test_times_in_another_order_than_iso_are_ordered(tmp_path):
    rows = [(f"{28 - i % 28}.02.2024", i, y) for i, (_, _, y) in enumerate(ROWS)]
    timed = read(tmp_path, text(rows, "day,x,y"), time="day")

    assert (np.diff(timed.time[:28]) == -86_400).all()


@pytest.mark.parametrize("spelling", ["2024-02-0{}", "0{}.02.2024"], ids=["ISO", "day first"])
def test_a_column_of_times_may_also_name_clusters_and_groups(tmp_path, spelling):
    rows = [(spelling.format(3 - i % 3), x, y) for i, (x, _, y) in enumerate(ROWS)]
    timed = read(tmp_path, text(rows, "day,x,y"), time="day", cluster="day", by=("day",))

    assert (np.diff(timed.time[:3]) == -86_400).all()
    assert timed.cluster.tolist() == timed.time.tolist()
    assert timed.by["day"].names == (*(spelling.format(day) for day in (1, 2, 3)), "(missing)")
    assert timed.by["day"].place[:4].tolist() == [2, 1, 0, 2]


def test_groups_of_dates_have_the_dates_of_the_table_as_names(tmp_path):
    days = [datetime.date(2024, 2, 1 + i % 2) for i in range(40)]
    pq.write_table(pa.table({"day": days, "x": X, "y": Y}), tmp_path / "t.parquet")
    table = read_table(tmp_path / "t.parquet", Reading(by=("day",), drop=("day",)))

    assert table.by["day"].names == ("2024-02-01", "2024-02-02", "(missing)")
    assert read_rows(tmp_path / "t.parquet", table, Reading())[3]["day"].names == table.by["day"].names


def test_times_of_day_are_groups_but_no_times(tmp_path):
    content = text([(f"{12 + i % 3}:30", x, y) for i, (x, _, y) in enumerate(ROWS)], "hour,x,y")
    table = read(tmp_path, content, group="hour", cluster="hour", by=("hour",))

    assert table.by["hour"].names == ("12:30", "13:30", "14:30", "(missing)")
    assert table.group.tolist() == table.cluster.tolist() == [i % 3 for i in range(40)]
    assert read(tmp_path, content, group="hour").group.tolist() == table.group.tolist()
    with pytest.raises(DataError, match="line 2: column 'hour': not a time; --time takes numbers, and dates as"):
        read(tmp_path, content, time="hour")


@pytest.mark.parametrize("options", [{}, {"target": "day.year"}, {"by": ("day.year",), "drop": ("day.year",)}], ids=str)
def test_a_date_s_part_needs_a_name_that_no_column_has(tmp_path, options):
    rows = [(f"2024-02-{i % 28 + 1:02}", i % 2, x, y) for i, (x, _, y) in enumerate(ROWS)]
    content, dates = text(rows, "day,day.year,x,y"), {"day": ("year", "month")}

    with pytest.raises(DataError, match=r"the feature 'day\.year', but a column has .*; rename .* --drop day\.year$"):
        read(tmp_path, content, dates=dates, **options)
    table = read(tmp_path, content, dates=dates, drop=("day.year",))
    assert ([one.name for one in table.features], table.x[0, 0]) == (["day.year", "day.month", "x"], 2024)
