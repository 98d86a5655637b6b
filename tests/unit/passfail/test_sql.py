"""The SELECT of an export: each dialect parses its text; SQL refuses what it can't express."""

import sqlite3
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
import pytest
import sqlglot

from passfail.columns import Column
from passfail.errors import ConfigError
from passfail.manifest import Manifest
from passfail.proof import reference, samples
from passfail.proof.activations import ACTIVATIONS
from passfail.sql import DIALECTS, IN_SQL, MOST_TERMS, names, select
from tests.support.cases import awkward, awkward_rows
from tests.support.models import opened, with_hidden


@pytest.fixture(scope="module")
def manifest(models: Path) -> Manifest:
    return opened(models, "admissions").manifest


def in_sqlite(manifest: Manifest, rows: Sequence[Sequence[object]]) -> np.ndarray:
    query = select(manifest, "sqlite", "applicants")
    with sqlite3.connect(":memory:") as engine:
        engine.execute('CREATE TABLE applicants ("gre" REAL, "gpa" REAL, "rank" TEXT)')
        engine.executemany("INSERT INTO applicants VALUES (?, ?, ?)", rows)
        return np.array(engine.execute(f"SELECT logit FROM ({query})").fetchall(), dtype=float)[:, 0]


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("hidden", [False, True], ids=["linear", "hidden layer"])
def test_every_dialect_s_text_parses_as_that_dialect(manifest: Manifest, dialect: str, hidden: bool) -> None:
    subject = with_hidden(manifest, "ReLU") if hidden else manifest
    text = select(subject, dialect, "public.applicants")

    (parsed,) = sqlglot.parse(text, dialect=dialect, error_level=sqlglot.ErrorLevel.RAISE)
    assert parsed is not None
    assert parsed.named_selects == ["*", "verdict", "label", "probability"]
    assert parsed.sql(dialect, pretty=True) == text


@pytest.mark.parametrize("activation", IN_SQL)
def test_a_hidden_layer_without_tables_has_the_bits_of_the_closed_form(manifest: Manifest, activation: str) -> None:
    hidden = with_hidden(manifest, activation)
    x, _ = samples.rows(hidden, 60)
    expected = reference.logit(hidden, x)
    x = x[np.isfinite(expected) & (np.abs(x) < 1e150).all(axis=1)]
    columns = [Column(feature) for feature in hidden.features]
    cells = [[column.value(number) for column, number in zip(columns, row, strict=True)] for row in x.tolist()]

    assert in_sqlite(hidden, cells).tobytes() == reference.logit(hidden, x).tobytes()


@pytest.mark.parametrize("activation", sorted(set(ACTIVATIONS) - set(IN_SQL)))
def test_an_activation_that_needs_a_table_is_refused(manifest: Manifest, activation: str) -> None:
    with pytest.raises(ConfigError, match=f"SQL can't express the activation {activation} exactly"):
        select(with_hidden(manifest, activation), "duckdb", "t")


def test_more_terms_than_an_engine_takes_are_refused(manifest: Manifest) -> None:
    columns = manifest.parameters.columns * MOST_TERMS
    wide = msgspec.structs.replace(manifest, parameters=msgspec.structs.replace(manifest.parameters, columns=columns))
    with pytest.raises(ConfigError, match=f"{5 * MOST_TERMS} terms"):
        select(wide, "duckdb", "t")


def test_levels_in_any_case_are_refused(manifest: Manifest) -> None:
    with pytest.raises(ConfigError, match="train without --fold-case"):
        select(msgspec.structs.replace(manifest, fold_case=True), "duckdb", "t")


def test_columns_that_differ_in_case_are_refused_where_an_engine_folds_it(manifest: Manifest) -> None:
    gre, gpa, rank = manifest.features
    features = msgspec.structs.replace(gre, name="x"), msgspec.structs.replace(gpa, name="X"), rank
    both = msgspec.structs.replace(manifest, features=features)

    with pytest.raises(ConfigError, match="duckdb can't tell the columns x and X apart: rename one and train again"):
        select(both, "duckdb", "t")
    assert '"X"' in select(both, "postgres", "t")


@pytest.mark.parametrize(("dialect", "names"), [("bigquery", ("a.b", "a_b")), ("postgres", ("é" * 32, "é" * 31 + "è"))])
def test_columns_that_an_engine_spells_alike_are_refused(
    manifest: Manifest, dialect: str, names: tuple[str, str]
) -> None:
    renamed = [msgspec.structs.replace(one, name=name) for one, name in zip(manifest.features, names, strict=False)]
    alike = msgspec.structs.replace(manifest, features=(*renamed, manifest.features[2]))

    with pytest.raises(ConfigError, match=f"can't tell the columns {names[0]} and {names[1]} apart"):
        select(alike, dialect, "t")


def test_a_column_has_the_name_that_bigquery_can_have(manifest: Manifest) -> None:
    found = awkward(manifest)
    features = [msgspec.structs.replace(one, name=one.name.replace("a.b", "day.year")) for one in found.features]
    text = select(msgspec.structs.replace(found, features=tuple(features)), "bigquery", "my-project.ds.t")

    assert "FROM my-project.ds.t" in text
    for name in ("a_b", "day_year", "größe_ cm", "x y", "it's", "back_slash", "_x", "__proto__", "<_script>"):
        assert f"CAST(`{name}` AS FLOAT64)" in text


@pytest.mark.parametrize("name", ["", '"t'], ids=["empty", "an open quote"])
@pytest.mark.parametrize("option", ["table", "view"])
def test_a_name_that_sql_can_t_read_is_refused(manifest: Manifest, option: str, name: str) -> None:
    with pytest.raises(ConfigError, match="--table and --view must be names in SQL"):
        select(manifest, "duckdb", **{"table": "t", option: name})


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_view_holds_the_select(manifest: Manifest, dialect: str) -> None:
    text = select(manifest, dialect, "applicants", view="main.scored")

    assert text == f"CREATE VIEW main.scored AS\n{select(manifest, dialect, 'applicants')}"


def test_a_table_s_own_logit_is_not_the_answer_s(manifest: Manifest) -> None:
    with sqlite3.connect(":memory:") as engine:
        engine.execute("CREATE TABLE applicants (logit REAL, label TEXT, gre REAL, gpa REAL, rank TEXT)")
        engine.execute("INSERT INTO applicants VALUES (99, 'mine', 220, 2.26, '4'), (-99, 'mine', 800, 4, '1')")
        rows = engine.execute(select(manifest, "sqlite", "applicants")).fetchall()

    assert [row[-2] for row in rows] == list(manifest.target.labels)


def test_the_answer_s_columns_have_names_of_their_own(manifest: Manifest) -> None:
    awkward_one = awkward(manifest)
    x = awkward_rows(awkward_one, 100)
    columns = [Column(feature) for feature in awkward_one.features]
    with sqlite3.connect(":memory:") as engine:
        kinds = ", ".join('"' + column.name.replace('"', '""') + '"' for column in columns)
        engine.execute(f"CREATE TABLE applicants ({kinds})")
        rows = [[column.value(number) for column, number in zip(columns, row, strict=True)] for row in x.tolist()]
        engine.executemany(f"INSERT INTO applicants VALUES ({', '.join('?' * len(columns))})", rows)
        query, wanted = select(awkward_one, "sqlite", "applicants"), ", ".join(names(awkward_one)[::2])
        found = engine.execute(f"SELECT {wanted} FROM ({query})").fetchall()
        logit, label = zip(*found, strict=True)

    z = reference.logit(awkward_one, x)
    assert names(awkward_one) == [f"predicted_{name}" for name in ("logit", "verdict", "label", "probability")]
    assert np.array(logit).tobytes() == z.tobytes()
    assert list(label) == [awkward_one.target.labels[z > awkward_one.logit_threshold] for z in z.tolist()]


def test_an_unseen_level_is_the_level_that_stands_for_it(manifest: Manifest) -> None:
    rows = [[500.0, 3.0, "9"], [500.0, 3.0, "3"], [500.0, 3.0, None]]

    assert np.isnan(in_sqlite(manifest, rows)).tolist() == [True, False, True]
    unseen, pooled, missing = in_sqlite(msgspec.structs.replace(manifest, pooled={"rank": "3"}), rows)
    assert unseen == pooled
    assert np.isnan(missing)
