"""Tables as spreadsheets and other programs write them, and a manifest for each."""

from passfail.manifest import Manifest, Parameters
from train.table.reading import Reading
from train.table.table import Table, read_table

ROWS = [(20.5 + i * 7 % 13, ["north", "south", "east"][i % 3], int(i % 4 == 0 or i % 5 == 0)) for i in range(40)]
X, Y = [x for x, _, _ in ROWS], [y for _, _, y in ROWS]


def text(rows=ROWS, header="x,g,y", separator=","):
    """The rows below the header."""
    return "".join(separator.join(map(str, row)) + "\n" for row in [header.split(","), *rows])


def with_x(spelling):
    """The table as text, with each x spelt so."""
    return text([(spelling(x), g, y) for x, g, y in ROWS])


def read(folder, content, **options):
    """The table of a CSV with that content."""
    (folder / "t.csv").write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_table(folder / "t.csv", Reading(**options))


def comma(x):
    return str(x).replace(".", ",")


# {what is unusual: (the file, the options that it needs)}
WRITTEN = {
    "semicolons": (text(separator=";"), {}),
    "tabs": (text(separator="\t"), {}),
    "a sep= line": ("sep=;\n" + text(separator=";"), {}),
    "decimal commas": (text([(comma(x), g, y) for x, g, y in ROWS], separator=";"), {}),
    "quoted decimal commas": (with_x(lambda x: f'"{comma(x)}"'), {}),
    "comments": ("# exported\n# by me\n" + text(), {}),
    "a title": ("Customer export\n\n" + text(), {}),
    "UTF-16": (text().encode("utf-16"), {}),
    "UTF-16 without a mark": (text().encode("utf-16-le"), {}),
    "Windows-1252": (text([(x, f"Zürich {g}", y) for x, g, y in ROWS]).encode("windows-1252"), {}),
    "another encoding": (text([(x, f"Zürich {g}", y) for x, g, y in ROWS]).encode("cp850"), {"encoding": "cp850"}),
    "separators at the end": (text([(x, g, f"{y},") for x, g, y in ROWS]), {}),
    "row names": (text([(i, *row) for i, row in enumerate(ROWS, 1)]), {}),
    "an index without a name": (text([(i, *row) for i, row in enumerate(ROWS, 1)], ",x,g,y"), {}),
    "no header": (text().partition("\n")[2], {"header": False}),
    "thousands": (with_x(lambda x: f'"{1000 * x:,.1f}"'), {}),
    "thousands and decimal commas": (
        text([(f"{1000 * x:,.2f}".translate({44: ".", 46: ","}), g, y) for x, g, y in ROWS], separator=";"), {},
    ),
    "a unit": (with_x(lambda x: f"{x} kg"), {}),
    "a unit and decimal commas": (text([(f"{comma(x)} kg", g, y) for x, g, y in ROWS], separator=";"), {}),
    "percent": (with_x(lambda x: f"{x}%"), {}),
    "a currency": (with_x(lambda x: f"${x}"), {}),
    "negative in brackets": (with_x(lambda x: f"({x})" if x > 25 else x), {}),
    "a space before a quote": ("x, g, y\n" + "".join(f'{x}, "{g}", {y}\n' for x, g, y in ROWS), {}),
    "blanks": (with_x(lambda x: "  " if x == 20.5 else x), {}),
    "question marks": (with_x(lambda x: "?" if x == 20.5 else x), {}),
    "infinite numbers": (with_x(lambda x: "-inf" if x == 20.5 else x), {"na": ("-inf",)}),
    "blank rows": (text().replace("\n", "\n,,\n", 2) + ",,\n", {}),
    "a blank last row": (text(separator=";").replace("\n", "\r\n") + ";;", {}),
    "psql": (" x | g | y \n---+---+---\n" + text(ROWS, separator="|").partition("\n")[2] + "(40 rows)\n", {}),
    "Markdown": ("| x | g | y |\n|---|:-:|--:|\n" + "".join(f"| {x} | {g} | {y} |\n" for x, g, y in ROWS), {}),
    "short rows": (
        text([(y, x, g) for x, g, y in ROWS[1:]], "y,x,g") + "1,22.5\n", {"target": "y", "ragged": "pad"},
    ),
    "a word of one's own": (with_x(lambda x: "999" if x == 20.5 else x), {"na": ("999",)}),
    "booleans": (text([(x, ["TRUE", "FALSE"][i % 2], y) for i, (x, _, y) in enumerate(ROWS)]), {}),
    "leading zeros": (text([(x, f"0{i % 3}10", y) for i, (x, _, y) in enumerate(ROWS)]), {}),
    "texts in all cases": (
        text([(x, g.upper() if i % 2 else g, y) for i, (x, g, y) in enumerate(ROWS)]), {"fold_case": True},
    ),
    "dates": (
        text([(f"2024-{i % 12 + 1:02}-0{i % 7 + 1}", g, y) for i, (_, g, y) in enumerate(ROWS)]),
        {"dates": {"x": ("year", "month", "weekday", "days-since-2020-01-01")}},
    ),
}  # fmt: skip


def manifest_of(table: Table, fold_case: bool = False) -> Manifest:
    """The manifest of a model of a table, without parameters."""
    head = (3, "", "m", 1, "", table.features, table.target, "logit", 0.5, Parameters(0.0, ()))
    return Manifest(
        *head, {}, (), None, None, units=dict(table.units), dialect=table.dialect, dates=dict(table.dates),
        pooled=dict(table.pooled), fold_case=fold_case,
    )  # fmt: skip
