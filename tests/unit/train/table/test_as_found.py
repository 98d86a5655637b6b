"""Tables as spreadsheets, databases and other programs write them."""

import datetime
import shlex

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from openpyxl import Workbook

from passfail.codecs.csv_rows import csv_line
from tests.support.tables import ROWS, X, Y, read, text, with_x
from train.arguments import parse, reading_of
from train.errors import DataError
from train.table import csv_files, summary
from train.table.reading import Reading
from train.table.table import read_rows, read_table


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
    assert table.notes[0].endswith(f"{X.count(20.5)} rows left out: they have no target or a missing cell")


def test_rows_without_a_target_are_left_out_and_counted(tmp_path):
    rows = [(x, "west" if i == 3 else g, "" if i in (3, 7) else y) for i, (x, g, y) in enumerate(ROWS)]
    table = read(tmp_path, text(rows))

    assert (table.rows, len(table.y), table.positives) == (38, 38, sum(Y) - Y[3] - Y[7])
    assert table.features[1].levels == ("east", "north", "south")
    assert table.notes == (f"{tmp_path / 't.csv'}: 2 rows left out: they have no target",)
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


def test_an_index_without_a_name_is_left_out_with_a_warning(tmp_path):
    table = read(tmp_path, text([(i, *row) for i, row in enumerate(ROWS)], ",x,g,y"))

    assert [feature.name for feature in table.features] == ["x", "g"]
    assert table.warnings == (
        f"{tmp_path / 't.csv'}: line 1: column 1: no name; it is left out; give it a name of its own to use it",
    )


@pytest.mark.parametrize(
    ("header", "places", "why"),
    [
        ("other,x,other,g,y", "1, 3", "the name 'other' of another column"),
        ('"so ""called""",x,a\x07b,g,y', "1, 3", "a name with a quote, \\ or the like"),
    ],
    ids=["two of one name", "names that can't be printed"],
)
def test_columns_whose_names_cannot_be_used_are_left_out_with_a_warning(tmp_path, header, places, why):
    content = header + "\n" + "".join(f"a{i},{x},{i},{g},{y}\n" for i, (x, g, y) in enumerate(ROWS))
    table = read(tmp_path, content)

    warning = (
        f"{tmp_path / 't.csv'}: line 1: column {places}: {why}; it is left out; give it a name of its own to use it"
    )
    assert (table.warnings, [feature.name for feature in table.features]) == ((warning,), ["x", "g"])
    assert (table.x[:, 0].tolist(), table.y.tolist()) == (X, Y)
    with pytest.raises(DataError, match="line 1: column 1, 3: "):
        read(tmp_path, content, strict=True)
    with pytest.raises(DataError, match=r"line 1: column 2, 3: .*rename these columns"):
        read(tmp_path, "x,y,y\n1,0,0\n2,1,1\n")


def test_free_text_is_left_out_with_a_warning(tmp_path):
    rows = [(f'"said {i} times, thanks"', *row) for i, row in enumerate(ROWS)]
    table = read(tmp_path, text(rows, "comment,x,g,y"))

    assert [feature.name for feature in table.features] == ["x", "g"]
    assert table.warnings == (
        "comment is left out: 40 different texts in 40 rows; too many for levels; --drop comment silences this",
    )


def test_the_reference_and_the_order_of_levels_are_chosen(tmp_path):
    assert read(tmp_path, text(), reference={"g": "south"}).features[1].levels == ("south", "east", "north")
    table = read(tmp_path, text(), order={"G": ("north", "south", "east")})
    assert table.features[1].levels == ("north", "south", "east")
    assert table.x[:3, 1].tolist() == [0, 1, 2]
    with pytest.raises(DataError, match=r"no row has the reference level 'west'; the levels are east, north, south"):
        read(tmp_path, text(), reference={"g": "west"})
    with pytest.raises(DataError, match="--order and the column have different levels"):
        read(tmp_path, text(), order={"g": ("north", "south")})


@pytest.mark.parametrize("name", ["a=b", "a,b", 'a b="c"'.replace('"', "'")])
@pytest.mark.parametrize("levels", [("low", "mid=dle", "high"), ("a, b", ">=5", "<5"), ("x=1,y=2", "-", "z")], ids=str)
def test_names_and_levels_with_signs_of_options_are_ordered(tmp_path, name, levels):
    """A level that means missing is none."""
    levels = tuple(level for level in levels if level != "-")
    rows = [(f'"{levels[i % len(levels)]}"', x, y) for i, (x, _, y) in enumerate(ROWS)]
    content = text(rows, "?,x,y").replace("?", f'"{name}"', 1)
    (tmp_path / "t.csv").write_text(content)

    def read_so(*words):
        return read_table(tmp_path / "t.csv", reading_of(parse(["fit", *words]))).features[0].levels

    with pytest.raises(DataError, match="--order and the column have different levels") as caught:
        read_so("--order", f"{name}=a,b")
    assert read_so(*shlex.split(caught.value.options)) == tuple(sorted(levels))
    assert read_so(f"--reference={name}={levels[1]}")[0] == levels[1]
    ordered = csv_line([f"{name}={levels[0]}", *levels[1:]])
    assert read_so("--order", ordered) == levels


def test_names_in_options_take_commas_and_any_case(tmp_path):
    rows = [(i, *row) for i, row in enumerate(ROWS)]
    table = read(tmp_path, text(rows, "Id,X,G,Y"), drop=("id,g",), target="y")

    assert [feature.name for feature in table.features] == ["X"]


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


def test_texts_of_rows_that_are_left_out_change_no_column(tmp_path):
    rows = [("How old?", "Which?", ""), *((f"{x} kg".replace(".", ","), g, y) for x, g, y in ROWS)]
    table = read(tmp_path, text(rows, "x;g;y", ";"))

    assert (table.x[:, 0].tolist(), table.features[1].levels) == (X, ("east", "north", "south"))
    assert (table.units, table.features[0].range) == ({"x": "kg"}, (min(X), max(X)))


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


def test_decimal_commas_with_three_decimals_and_an_exponent_are_no_thousands(tmp_path):
    rows = [(f"{x:.3E}".replace(".", ","), f"0,{i + 100}", y) for i, (x, _, y) in enumerate(ROWS)]
    table = read(tmp_path, text(rows, "x;z;y", ";").replace("x;z;y", "x,z,y".replace(",", ";")))

    assert table.dialect.decimal == ","
    assert (table.x[:, 0].tolist(), table.x[0, 1]) == (X, 0.1)


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


@pytest.mark.parametrize("separator", [",", ";"])
def test_spaces_before_a_quote_inside_a_cell_stay(tmp_path, separator):
    cells = {"north": 'x, "y"', "south": 'x; "y"'}
    rows = [(x, ' "{}"'.format(cells.get(g, g).replace('"', '""')), y) for x, g, y in ROWS]
    table = read(tmp_path, "".join(f"{separator.join(map(str, row))}\n" for row in [("x", "g", "y"), *rows]))

    assert table.features[1].levels == ("east", *cells.values())


def test_a_header_may_begin_as_an_archive_does(tmp_path):
    assert read(tmp_path, text(header="PK,g,y")).features[0].name == "PK"


def test_a_stray_text_among_very_many_numbers_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(csv_files, "CHUNK", 100)
    monkeypatch.setattr(summary, "MOST_TEXTS", 10)
    content = text([(f"{x + i / 100}" if i != 30 else "oops", g, y) for i, (x, g, y) in enumerate(ROWS)])
    with pytest.raises(DataError, match="line 32: column 'x': 'oops' is not a number, but most cells are") as caught:
        read(tmp_path, content)

    assert caught.value.options == "--na oops"


@pytest.mark.parametrize("last", ["x", '"so ""called"""'])
def test_a_last_column_without_a_name_of_its_own_is_no_target(tmp_path, last):
    with pytest.raises(DataError) as caught:
        read(tmp_path, text([(y, x, g, x) for x, g, y in ROWS], f"y,x,g,{last}"))

    assert "; name another with --target y" in str(caught.value)
    assert caught.value.options == "--target y"


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
        "line 3: column 'x': missing, but in no training row",
        "line 2: column 'g': 'west' is not a level of the training rows",
    ]


def test_the_rows_that_a_test_file_loses_are_counted(tmp_path):
    table, said = read(tmp_path, text()), []
    path = tmp_path / "test.csv"
    path.write_text("x,g,y\n1,east,1\n2,east,0,5\n3,north,0\n4,north,\n")
    read_rows(path, table, Reading(ragged="drop"), said.append)

    counts = ["rows left out for their number of cells: 1", "1 rows left out: they have no target"]
    assert said == [f"{path}: {count}" for count in counts]


@pytest.mark.parametrize("cell", ["oops", "inf"])
def test_the_stray_of_a_test_file_is_named_with_its_line(tmp_path, cell):
    table = read(tmp_path, text())
    (tmp_path / "test.csv").write_text(f"x,g,y\n1,east,1\n{cell},east,0\n")
    with pytest.raises(DataError, match=f"line 3: column 'x': '{cell}' is not a finite number; correct the cell"):
        read_rows(tmp_path / "test.csv", table, Reading())


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


def test_unseen_and_folded_levels_of_a_test_file_are_those_of_the_table(tmp_path):
    table = read(tmp_path, text([(x, g.upper() if x > 25 else g, y) for x, g, y in ROWS[:-1]] + [(1, "Mars", 1)]),
                 rare=2, fold_case=True)  # fmt: skip
    assert table.features[1].levels == ("east", "north", "other", "south")
    (tmp_path / "t.csv").write_text("x,g,y\n1,venus,1\n2,NORTH,0\n")
    assert read_rows(tmp_path / "t.csv", table, Reading(fold_case=True))[0].tolist() == [[1, 2], [2, 1]]


NAMED = [("rownames", 85, True), ("Unnamed: 0", 0, True), ("id", 1, True), ("id", 2, False), ("weeks", 1, False)]


@pytest.mark.parametrize(("name", "first", "left_out"), NAMED)
def test_a_column_that_names_the_rows_is_left_out(tmp_path, name, first, left_out):
    table = read(tmp_path, text([(first + i, *row) for i, row in enumerate(ROWS)], f"{name},x,g,y"))

    assert (name not in [feature.name for feature in table.features]) == left_out
    assert (
        any(warning.startswith(f"{name} is left out: its numbers name the rows") for warning in table.warnings)
        == left_out
    )
