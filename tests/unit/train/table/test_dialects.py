"""The layouts in which spreadsheets, databases and other programs write a table."""

import datetime

import numpy as np
import pytest
from openpyxl import Workbook

from tests.support.tables import ROWS, X, Y, read, text, with_x
from train.errors import DataError
from train.table import csv_files
from train.table.reading import Reading
from train.table.table import read_table


@pytest.mark.parametrize(
    ("content", "note"),
    [
        (text(separator=";"), "separator ';'"),
        (text(separator="\t"), "separator tab"),
        (text(separator="|"), "separator '|'"),
        (text(separator=" "), "separator space"),
        ("sep=;\n" + text(separator=";"), "separator ';', 1 line above the header skipped"),
        (text([(str(x).replace(".", ","), g, y) for x, g, y in ROWS], separator=";"), "separator ';', decimal comma"),
        (with_x(lambda x: f'"{x}"'.replace(".", ",")), "decimal comma"),
        ("# exported\n# by me\n" + text(), "2 lines above the header skipped"),
        ("Customer export\n\n" + text(), "2 lines above the header skipped"),
        ("Export, of 2024\n" + text(), "1 line above the header skipped"),
        ("Export,,\n,,\n" + text(), "2 lines above the header skipped"),
        (text().encode("utf-16"), "encoding utf-16"),
        (text().encode("utf-16-le"), "encoding utf-16-le"),
        (text([(x, g, f"{y},") for x, g, y in ROWS]), "each row ends with a separator"),
        (text([(i, *row) for i, row in enumerate(ROWS, 1)], "x,g,y"), "row names in the first column"),
    ],
    ids=[
        "semicolons", "tabs", "bars", "spaces", "a sep= line", "decimal commas", "quoted decimal commas", "comments",
        "a title", "a title with a comma", "a title in a cell",
        "UTF-16", "UTF-16 without a mark", "separators at the end", "row names",
    ],
)  # fmt: skip
def test_the_dialect_is_found_and_printed(tmp_path, content, note):
    table = read(tmp_path, content)

    assert table.notes == (f"{tmp_path / 't.csv'}: {note}",)
    assert [feature.name for feature in table.features] == ["x", "g"]
    assert (table.x[:, 0].tolist(), table.y.tolist()) == (X, Y)


def test_text_in_windows_1252_is_read_even_if_that_shows_far_down(tmp_path, monkeypatch):
    monkeypatch.setattr(csv_files, "HEAD", 100)
    monkeypatch.setattr(csv_files, "CHUNK", 100)
    rows = [(x, "Zürich" if i > 30 and g == "east" else g, y) for i, (x, g, y) in enumerate(ROWS)]
    table = read(tmp_path, text(rows).encode("windows-1252"))

    assert table.features[1].levels == ("Zürich", "east", "north", "south")
    assert table.notes == (f"{tmp_path / 't.csv'}: encoding windows-1252",)


@pytest.mark.parametrize(
    ("content", "options"),
    [
        (text(separator="^"), {"separator": "^"}),
        (text([(x, f"Zürich{g}", y) for x, g, y in ROWS]).encode("cp850"), {"encoding": "cp850"}),
        (with_x(lambda x: f'"{x:.3f}"'.replace(".", ",")), {"decimal": ","}),
        (text().partition("\n")[2], {"header": False}),
        (with_x(lambda x: "999" if x == 20.5 else x), {"na": ("999",)}),
    ],
    ids=["separator", "encoding", "decimal", "no header", "missing"],
)
def test_options_override_what_is_found(tmp_path, content, options):
    table = read(tmp_path, content, **options)

    found = np.where(np.isnan(table.x[:, 0]), 20.5, table.x[:, 0])
    assert found.tolist() == X
    assert not table.features[1].levels[0].isascii() or table.features[1].levels == ("east", "north", "south")
    assert [f.name for f in table.features] == (["x", "g"] if options.get("header", True) else ["column1", "column2"])


def test_decimal_commas_with_three_decimals_and_an_exponent_are_no_thousands(tmp_path):
    rows = [(f"{x:.3E}".replace(".", ","), f"0,{i + 100}", y) for i, (x, _, y) in enumerate(ROWS)]
    table = read(tmp_path, text(rows, "x;z;y", ";").replace("x;z;y", "x,z,y".replace(",", ";")))

    assert table.dialect.decimal == ","
    assert (table.x[:, 0].tolist(), table.x[0, 1]) == (X, 0.1)


@pytest.mark.parametrize("separator", [",", ";"])
def test_spaces_before_a_quote_inside_a_cell_stay(tmp_path, separator):
    cells = {"north": 'x, "y"', "south": 'x; "y"'}
    rows = [(x, ' "{}"'.format(cells.get(g, g).replace('"', '""')), y) for x, g, y in ROWS]
    table = read(tmp_path, "".join(f"{separator.join(map(str, row))}\n" for row in [("x", "g", "y"), *rows]))

    assert table.features[1].levels == ("east", *cells.values())


def test_a_header_may_begin_as_an_archive_does(tmp_path):
    assert read(tmp_path, text(header="PK,g,y")).features[0].name == "PK"


def test_texts_of_rows_that_are_left_out_change_no_column(tmp_path):
    rows = [("How old?", "Which?", ""), *((f"{x} kg".replace(".", ","), g, y) for x, g, y in ROWS)]
    table = read(tmp_path, text(rows, "x;g;y", ";"))

    assert (table.x[:, 0].tolist(), table.features[1].levels) == (X, ("east", "north", "south"))
    assert (table.units, table.features[0].range) == ({"x": "kg"}, (min(X), max(X)))


def test_a_sheet_of_an_excel_workbook_is_read_as_its_csv(tmp_path):
    book = Workbook()
    book.active.append(["a remark"])
    sheet = book.create_sheet("data")
    for row in [["Export"], ["since", "x", "vip", "g", "y"]]:
        sheet.append(row)
    for i, (x, g, y) in enumerate(ROWS):
        sheet.append([datetime.datetime(2024, 1, i % 28 + 1), x if i else None, bool(i % 2), g, ["No", "Yes"][y]])
    book.save(tmp_path / "t.xlsx")
    table = read_table(tmp_path / "t.xlsx", Reading(sheet="data"))

    assert [(f.name, f.levels) for f in table.features] == [
        ("x", ()), ("vip", ("false", "true")), ("g", ("east", "north", "south")),
    ]  # fmt: skip
    assert (table.x[1:, 0].tolist(), table.y.tolist()) == (X[1:], Y)
    assert table.warnings[0].startswith("since is left out: its cells are dates")
    with pytest.raises(DataError, match="there is no sheet 'more'; the sheets are: Sheet, data"):
        read_table(tmp_path / "t.xlsx", Reading(sheet="more"))
    (tmp_path / "t.xlsx").write_bytes(b"PK\3\4 and nothing else")
    with pytest.raises(DataError, match=r"t\.xlsx: not an Excel workbook: .*; save it again, or as CSV"):
        read_table(tmp_path / "t.xlsx")
