"""Columns of --by: the groups of rows that they make, whether they are features or not."""

import pytest

from train.errors import DataError
from train.table.reading import Reading
from train.table.table import read_rows, read_table

LINES = ["x,sex,site,code,y", *(f"{i % 7},{'mf'[i % 2]},{['', 'north', 'south'][i % 3]},{i % 2 + 7},{i * 5 % 3 % 2}"
                                for i in range(30))]  # fmt: skip


@pytest.fixture
def read(tmp_path):
    def read(lines=LINES, **options):
        (tmp_path / "t.csv").write_text("\n".join(lines) + "\n")
        return read_table(tmp_path / "t.csv", Reading(**options))

    return read


@pytest.mark.parametrize(
    ("options", "names", "first"),
    [
        ({"by": ("sex",)}, ("f", "m", "(missing)"), [1, 0, 1, 0]),
        ({"by": ("sex",), "drop": ("sex",)}, ("f", "m", "(missing)"), [1, 0, 1, 0]),
        ({"by": ("SITE",), "drop": ("site",)}, ("north", "south", "(missing)"), [2, 0, 1, 2]),
        ({"by": ("site",)}, ("north", "south", "(missing)"), [2, 0, 1, 2]),
        ({"by": ("code",)}, ("7", "8", "(missing)"), [0, 1, 0, 1]),
        ({"by": ("code",), "drop": ("code",)}, ("7", "8", "(missing)"), [0, 1, 0, 1]),
        ({"by": ("code",), "group": "code"}, ("7", "8", "(missing)"), [0, 1, 0, 1]),
        ({"by": ("sex",), "cluster": "sex"}, ("f", "m", "(missing)"), [1, 0, 1, 0]),
    ],
    ids=[
        "a feature", "no feature", "empty cells", "a feature's empty cells", "a numeric feature", "numbers",
        "the column of --group", "the column of --cluster",
    ],
)  # fmt: skip
def test_a_column_names_the_group_of_each_row(read, options, names, first):
    [found] = read(**options).by.values()

    assert (found.names, found.place[:4].tolist(), len(found.place)) == (names, first, 30)


def test_several_columns_are_named_at_once_and_change_no_feature(read):
    table = read(by=("sex,site",), drop=("site",))

    assert list(table.by) == ["sex", "site"]
    assert [feature.name for feature in table.features] == ["x", "sex", "code"]


def test_a_test_file_has_its_own_groups(read, tmp_path):
    table = read(by=("sex", "site"), drop=("site",))
    (tmp_path / "test.csv").write_text("y,site,sex,x,code\n1,west,m,1,7\n0,south,m,2,8\n1,west,f,1,7\n")

    *_, by = read_rows(tmp_path / "test.csv", table, Reading())

    assert (by["site"].names, by["site"].place.tolist()) == (("south", "west", "(missing)"), [1, 0, 1])
    assert (by["sex"].names, by["sex"].place.tolist()) == (("f", "m", "(missing)"), [1, 1, 0])


@pytest.mark.parametrize(
    ("column", "cell", "options", "said"),
    [
        (
            "sex",
            "f",
            {"drop": ("sex",)},
            "column 'sex': every row is in one group; --by takes a column",
        ),
        ("x", "{}", {}, "column 'x': 60 different values; --by takes a column of 2 to 50 groups"),
        ("sex", "2024-01-{:02}", {}, "column 'sex': a column that is left out needs --drop for --by; use --drop sex"),
        ("y", None, {}, "column 'y' is the target, so --by can't name it; choose another column for one of them"),
        ("x", None, {"dates": {"x": ("year",)}}, "column 'x' is split into features by --date, so --by can't name it"),
        ("age", None, {}, "there is no column 'age'; the columns are: x, sex, site, code, y"),
    ],
    ids=["one group", "too many groups", "a column that is left out", "the target", "dates", "no column"],
)
def test_a_column_without_groups_is_refused(read, column, cell, options, said):
    at = LINES[0].split(",").index(column) if cell else 0
    rows = [line.split(",") for line in LINES[1:] * 2]
    lines = [LINES[0], *(",".join([*row[:at], cell.format(i % 28 + 1 if "-" in cell else i), *row[at + 1 :]])
                         for i, row in enumerate(rows))] if cell else LINES  # fmt: skip
    with pytest.raises(DataError) as caught:
        read(lines, by=(column,), **options)
    assert said in str(caught.value)
