"""Names of columns and levels: those that can't be used, and those that options take."""

import shlex

import pytest

from passfail.codecs.csv_rows import csv_line
from tests.support.tables import ROWS, X, Y, read, text
from train.arguments import parse, reading_of
from train.errors import DataError
from train.table.table import read_table


def test_an_index_without_a_name_is_left_out_with_a_warning(tmp_path):
    table = read(tmp_path, text([(i, *row) for i, row in enumerate(ROWS)], ",x,g,y"))

    assert [feature.name for feature in table.features] == ["x", "g"]
    assert table.warnings == (
        f"{tmp_path / 't.csv'}: line 1: column 1: no name; left out; to use a column, give it a name of its own",
    )


@pytest.mark.parametrize(
    ("header", "places", "why"),
    [
        ("other,x,other,g,y", "1, 3", "2 columns are called 'other'"),
        ('"so ""called""",x,a\x07b,g,y', "1, 3", "a quote, \\ or the like in the name"),
    ],
    ids=["two of one name", "names that can't be printed"],
)
def test_columns_whose_names_cannot_be_used_are_left_out_with_a_warning(tmp_path, header, places, why):
    content = header + "\n" + "".join(f"a{i},{x},{i},{g},{y}\n" for i, (x, g, y) in enumerate(ROWS))
    table = read(tmp_path, content)

    warning = (
        f"{tmp_path / 't.csv'}: line 1: column {places}: {why}; left out; to use a column, give it a name of its own"
    )
    assert (table.warnings, [feature.name for feature in table.features]) == ((warning,), ["x", "g"])
    assert (table.x[:, 0].tolist(), table.y.tolist()) == (X, Y)
    with pytest.raises(DataError, match="line 1: column 1, 3: "):
        read(tmp_path, content, strict=True)
    with pytest.raises(DataError, match=r"line 1: column 2, 3: .*rename these columns"):
        read(tmp_path, "x,y,y\n1,0,0\n2,1,1\n")


@pytest.mark.parametrize("last", ["x", '"so ""called"""'])
def test_a_last_column_without_a_name_of_its_own_is_no_target(tmp_path, last):
    with pytest.raises(DataError) as caught:
        read(tmp_path, text([(y, x, g, x) for x, g, y in ROWS], f"y,x,g,{last}"))

    assert "; name another with --target y" in str(caught.value)
    assert caught.value.options == "--target y"


@pytest.mark.parametrize("header", ["0,12.5,a,0", "0,b,a,0"])
def test_a_row_in_place_of_the_header_is_suspected_where_names_are_numbers(tmp_path, header):
    with pytest.raises(DataError, match="it is the target by default; if this line is a row, use --no-header"):
        read(tmp_path, f"{header}\n1,3,b,1\n")


def test_free_text_is_left_out_with_a_warning(tmp_path):
    rows = [(f'"said {i} times, thanks"', *row) for i, row in enumerate(ROWS)]
    table = read(tmp_path, text(rows, "comment,x,g,y"))

    assert [feature.name for feature in table.features] == ["x", "g"]
    assert table.warnings == (
        "comment is left out: 40 different texts in 40 rows; too many for levels; --drop comment silences this",
    )


NAMED = [("rownames", 85, True), ("Unnamed: 0", 0, True), ("id", 1, True), ("id", 2, False), ("weeks", 1, False)]


@pytest.mark.parametrize(("name", "first", "left_out"), NAMED)
def test_a_column_that_names_the_rows_is_left_out(tmp_path, name, first, left_out):
    table = read(tmp_path, text([(first + i, *row) for i, row in enumerate(ROWS)], f"{name},x,g,y"))

    assert (name not in [feature.name for feature in table.features]) == left_out
    said = f"{name} is left out: its numbers name the rows; the model would learn their order; rename it to use it; "
    assert any(warning.startswith(said) for warning in table.warnings) == left_out


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
