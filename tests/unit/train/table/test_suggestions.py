"""The options that an error or a warning suggests: each is one that works."""

import io
import re
import shlex
import zipfile

import pyarrow as pa
import pytest

from tests.support.tables import ROWS, comma, read, text, with_x
from train.__main__ import getting_past
from train.arguments import parse, reading_of
from train.errors import DataError
from train.table.checks import warnings
from train.table.table import read_table

VALUE = r"(?:'(?:[^']|'\"'\"')*'|[^\s;,'(](?:[^\s;'(]*[^\s;,'(])?)"
OPTION = re.compile(rf"--[a-z-]+[ =]{VALUE}(?: --[a-z-]+[ =]{VALUE})*")
NAMES = {0: "stayed", 1: "left"}


def read_with(path, options):
    """The table, read as `train fit` reads it with these options."""
    return read_table(path, reading_of(parse(["fit", "--data", str(path), *shlex.split(options)])))


def zipped(content):
    """A zip archive of one file."""
    with zipfile.ZipFile(file := io.BytesIO(), "w") as archive:
        archive.writestr("inside.csv", content)
    return file.getvalue()


def with_column(name, cell):
    """The table with a column before the others; cell(i) is a row's."""
    return text([(cell(i), *row) for i, row in enumerate(ROWS)], f"{name},x,g,y")


def with_y(cell):
    """The table with another target; cell(i, y) is a row's."""
    return text([(x, g, cell(i, y)) for i, (x, g, y) in enumerate(ROWS)])


REFUSED = {
    "a footer of totals": text() + "Total,,16\n",
    "the header, repeated": text(ROWS[:20]) + text(ROWS[20:]),
    "two header lines": "size,place,out\n" + text(),
    "a target of two words": with_y(lambda i, y: NAMES[y]),
    "a target of TRUE and blank cells": with_y(lambda i, y: "TRUE" if y else ""),
    "a target of x and blank cells": with_y(lambda i, y: "x" if y else ""),
    "a target of 1 and 2": with_y(lambda i, y: y + 1),
    "a stray in decimal commas": text([("#NV" if x == 20.5 else comma(x), g, y) for x, g, y in ROWS], separator=";"),
    "a stray in a currency": with_x(lambda x: "none yet" if x == 20.5 else f"R$ {x}"),
    "a number without the unit of others": with_x(lambda x: 20.5 if x == 20.5 else f"{x} kg"),
    "a target of two words and a stray one": with_y(lambda i, y: "it's unknown" if i == 5 else NAMES[y]),
    "a target that begins with a dash": with_y(lambda i, y: "-" + NAMES[y]),
    "two strays in a column, and a target of words": text(
        [({3: "oops", 9: '"eh, what"'}.get(i, x), g, NAMES[y]) for i, (x, g, y) in enumerate(ROWS)]
    ),
    "a stray that begins with a dash": with_x(lambda x: "-oops" if x == 20.5 else x),
    "footnotes": with_x(lambda x: f"{x}*" if x < 24 else x),
    "more footnotes than one would list": with_x(lambda x: f"{x}*" if x < 26 else x),
    "values below a limit": with_x(lambda x: "<21" if x == 20.5 else x),
    "a target that is not the last column": text([(y, g, x) for x, g, y in ROWS], "y,g,x"),
    "hexadecimal": with_column("code", lambda i: hex(i % 9)),
    "one integer that float64 would round": with_column("n", lambda i: 2**53 + 1 if i == 7 else i % 9),
    "a name that begins with a dash": text([(hex(int(x)), g, y) for x, g, y in ROWS], "-x,g,y"),
    "a short row, another target, a stray": text([(f"{x}*" if x < 21 else x, y, g) for x, g, y in ROWS], "x,y,g")
    + "7,1\n",
    "another target, of words": text([(x, NAMES[y], g) for x, g, y in ROWS], "x,left,g"),
    "a last column of the name of another": text([(y, x, g, x) for x, g, y in ROWS], "y,x,g,x"),
    "infinite numbers": with_x(lambda x: "-inf" if x == 20.5 else "Inf" if x == 21.5 else x),
    "a name with an equals sign and a space": text([(hex(int(x)), g, y) for x, g, y in ROWS], "a = b,g,y"),
}  # fmt: skip
WARNED = {
    "dates": with_column("since", lambda i: f"2024-01-{i % 28 + 1:02}"),
    "dates that may be of two orders": with_column("since", lambda i: f"01/{i % 9 + 1}/2024"),
    "dates of a column with an equals sign": with_column("a=b", lambda i: f"2024-01-{i % 28 + 1:02}"),
    "months by name": with_column("since", lambda i: f"{i % 28 + 1} Jan 2024"),
    "identifiers": with_column("id", lambda i: 2**53 + 3 * i),
    "row names": with_column("Unnamed: 0", lambda i: i),
    "free text": with_column("-note", lambda i: f'"call, {i}"'),
    "no value": with_column("it's", lambda i: ""),
    "one value": with_column("unit", lambda i: "cm"),
    "many levels": text([(i % 101, f"g{i % 101}", y) for i, (_, _, y) in enumerate(ROWS * 20)]),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_a_refusal_suggests_is_then_not_refused(tmp_path, kind):
    """Each option of a single fault, too; if it brings another to light, there is a command."""
    with pytest.raises(DataError) as refusal:
        read(tmp_path, REFUSED[kind])
    words = ["fit", "--data", str(tmp_path / "t.csv")]
    one = len(str(refusal.value).splitlines()) == 1
    refused = [(refusal.value, words)]
    for options in OPTION.findall(str(refusal.value)) if one else []:
        try:
            read_with(tmp_path / "t.csv", options)
        except DataError as another:
            refused.append((another, [*words, *shlex.split(options)]))

    for error, words in refused:
        assert getting_past(error, words).startswith("this command")


@pytest.mark.parametrize("kind", WARNED)
def test_what_a_warning_suggests_ends_it(tmp_path, kind):
    (warning,) = read(tmp_path, WARNED[kind]).warnings
    found = OPTION.findall(warning)

    assert found
    for options in found:
        assert read_with(tmp_path / "t.csv", options).warnings == ()


def test_a_part_of_a_date_that_predicts_nothing_can_be_dropped(tmp_path):
    content = with_column("since", lambda i: f"2024-01-{i % 28 + 1:02}")
    table = read(tmp_path, content, dates={"since": ("year", "day")})
    (warning,) = [one for one in warnings(table.features, table.x, True, None) if "since.year" in one]
    (drop,) = OPTION.findall(warning)
    kept = read_with(tmp_path / "t.csv", f"--date since=year,day {drop}")

    assert drop == "--drop since.year"
    assert [feature.name for feature in kept.features] == ["since.day", "x", "g"]
    assert kept.dates["since"].parts == ("day",)


ENDS = "{:>6} {:>6} {:>2}\n"
HEADS = [("x", "g", "y"), *ROWS]
READ = {
    "psql": " x | g | y \n---+---+---\n" + "".join(f" {x} | {g} | {y}\n" for x, g, y in ROWS) + "(40 rows)\n",
    "a grid": "+--+--+--+\n| x | g | y |\n+--+--+--+\n"
    + "".join(f"| {x} | {g} | {y} |\n" for x, g, y in ROWS)
    + "+--+--+--+\n",
    "Markdown": "| x | g | y |\n|---|:-:|--:|\n" + "".join(f"| {x} | {g} | {y} |\n" for x, g, y in ROWS),
    "sep= line, decimal commas, UTF-16": (
        "sep=;\n" + text([(comma(x), g, y) for x, g, y in ROWS], separator=";")
    ).encode("utf-16"),
    "three titles": "Report\nMade by, me\n\n" + text(),
    "a footer": text() + "\nSource: the web\n",
    "a comment between rows": text(ROWS[:20]) + "# here\n" + text(ROWS[20:]).partition("\n")[2],
    "a header after a comment mark": text(header="#x,g,y"),
    "line ends of old": ("Report\n\n" + text()).replace("\n", "\r"),
    "a header over two lines": '"x\n(cm)",g,y\n' + text().partition("\n")[2],
    "thousands by a typographic apostrophe": with_x(lambda x: f"{1000 * x:,.1f}".replace(",", "\u2019")),
    "a space before a quote": text([(x, f' "{g}"', y) for x, g, y in ROWS]),
    "negative in brackets": with_x(lambda x: f"({x})"),
    "a zip archive": zipped(text()),
    "Zstandard": pa.compress(text().encode(), codec="zstd", asbytes=True),
    "Indian groups": with_x(lambda x: f'"{1000 * x:,.1f}"'),
    "a currency of letters": with_x(lambda x: f"US$\u00a0{x}"),
    "thousands by a thin space": with_x(lambda x: f"{1000 * x:,.1f}".replace(",", "\u2009")),
    "a typographic minus": with_x(lambda x: f"\u2212{x}"),
    "a line of units below the header": "x,g,y\n(cm),,\n" + text().partition("\n")[2],
    "empty columns": text([(x, "", g, y, "") for x, g, y in ROWS], "x,,g,y,"),
    "row ends of both kinds": text().replace("\n", "\r\n", 20),
}  # fmt: skip


@pytest.mark.parametrize("kind", READ)
def test_tables_as_people_have_them_are_read(tmp_path, kind):
    table = read(tmp_path, READ[kind])

    assert table.rows == len(ROWS)
    assert [feature.kind for feature in table.features] == ["numeric", "categorical"]
    assert table.features[1].levels == ("east", "north", "south")
    assert {abs(value) for value in table.x[:, 0]} in ({x for x, _, _ in ROWS}, {1000 * x for x, _, _ in ROWS})


def test_an_interrupt_while_a_command_is_sought_ends_the_search(monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("train.table.table.read_table", interrupted)

    assert getting_past(DataError("a fault", "--drop x"), ["fit"]) == ""


@pytest.mark.parametrize(("value", "positive"), [("1", 1), ("0", 0), ("no", 0), ("False", 0), ("died", 1), ("x", 1)])
def test_the_command_for_a_blank_target_does_not_swap_the_outcomes(tmp_path, value, positive):
    (tmp_path / "t.csv").write_text(with_y(lambda i, y: value if y == positive else ""))
    words = ["fit", "--data", str(tmp_path / "t.csv")]
    with pytest.raises(DataError) as caught:
        read_with(tmp_path / "t.csv", "")
    command = shlex.split(getting_past(caught.value, words).splitlines()[1])

    table = read_table(tmp_path / "t.csv", reading_of(parse(command[command.index("fit") :])))
    assert table.y.tolist() == [y for _, _, y in ROWS]


ENCRYPTED = zipped(text()).replace(b"PK\3\4\x14\0\0", b"PK\3\4\x14\0\1").replace(b"\x14\3\x14\0\0", b"\x14\3\x14\0\1")
UNREADABLE = {
    "nothing": ("", "the file is empty"),
    "a byte order mark": ("\ufeff", "the file is empty"),
    "only a header": ("x,g,y\n", "there is a header but no row below it"),
    "only the target": ("y\n0\n1\n", "only one column, 'y'"),
    "one row": (text(ROWS[:1]), "every row has '1'; a target needs rows of both outcomes"),
    "no target": (with_y(lambda i, y: ""), "it has no row with a target"),
    "no feature": (text([("", "", y) for _, _, y in ROWS]), "no column is left to predict 'y' from"),
    "JSON": ('[{"x": 1, "y": 0}]\n', "JSON, not a table; save it as CSV or Parquet"),
    "HTML": ("<html>\n<table>\n</table>\n", "HTML or XML, not a table; save it as CSV or Parquet"),
    "an old Excel workbook": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(512), "save it as .xlsx or CSV"),
    "a zip file": (b"PK\3\4" + bytes(100), "not an Excel workbook"),
    "an encrypted archive": (ENCRYPTED, "the archive is encrypted"),
    "an unclosed quote": (text(ROWS[:20]) + '5,"no\n' + text(ROWS), "a quote opens in it"),
    "aligned by spaces": ("".join(ENDS.format(*map(str, row)) for row in HEADS), "save the table as CSV"),
    "a row that is cut off": (text() + "5\n", "line 42: 1 cells where the header has 3"),
}  # fmt: skip


@pytest.mark.parametrize("kind", UNREADABLE)
def test_what_is_no_table_is_refused_with_its_remedy(tmp_path, kind):
    content, said = UNREADABLE[kind]
    with pytest.raises(DataError, match=re.escape(said)):
        read(tmp_path, content)
