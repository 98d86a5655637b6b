"""The SELECT of an export in real engines has every logit and every verdict of the export."""

import shutil
import sqlite3
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest

from passfail.columns import Column
from passfail.errors import ConfigError
from passfail.model import Model
from passfail.proof import reference, samples
from tests.support import ROOT
from tests.support.cases import awkward, awkward_rows
from tests.support.models import opened, with_hidden

pytestmark = pytest.mark.engines
sql = pytest.importorskip("passfail.sql", reason="sqlglot is not installed: the SELECT is NOT tested")

ROWS = 1_000_000
Answers = tuple[np.ndarray, list[str | None], np.ndarray]  # logit, label, probability; NaN and None for NULL
Ask = Callable[[Model, list[list[object]]], Answers]


def table(model: Model, n: int) -> tuple[np.ndarray, list[list[object]]]:
    """Rows within the training range, beyond it and on the boundary: x (n, d), and their cells."""
    x, _ = samples.rows(model.manifest, n // 3, seed=1)
    refused = np.isinf(x).any(axis=1) | ~np.isfinite(model.runtime(x)[0]) | (np.abs(x) > 1e150).any(axis=1)
    x = x[~refused]
    columns = [Column(feature) for feature in model.manifest.features]
    return x, [[column.value(number) for column, number in zip(columns, row, strict=True)] for row in x.tolist()]


def columns(model: Model, number: str) -> str:
    """The columns of CREATE TABLE."""
    kinds = {"numeric": number, "categorical": "TEXT"}
    return ", ".join('"' + f.name.replace('"', '""') + '" ' + kinds[f.kind] for f in model.manifest.features)


def answers(model: Model) -> str:
    """The columns of the logit, the label and the probability."""
    logit, _, *others = sql.names(model.manifest)
    return ", ".join([logit, *others])


def copied(cell: object) -> str:
    """A cell in the text format of PostgreSQL's COPY."""
    escapes = {"\\": "\\\\", "\n": "\\n", "\t": "\\t"}
    return "\\N" if cell is None else "".join(escapes.get(mark, mark) for mark in str(cell))


def in_duckdb(model: Model, rows: list[list[object]]) -> Answers:
    duckdb = pytest.importorskip("duckdb", reason="duckdb is not installed: the SELECT is NOT tested there")
    pyarrow = pytest.importorskip("pyarrow")
    names = [feature.name for feature in model.manifest.features]
    z, _, text, *p = sql.names(model.manifest)
    applicants = pyarrow.table(dict(zip(names, map(list, zip(*rows, strict=True)), strict=True)))
    assert applicants.num_rows
    with duckdb.connect() as engine:
        engine.register("applicants", applicants)
        found = engine.sql(sql.select(model.manifest, "duckdb", "applicants")).arrow().read_all()
    logit, probability = (np.array(found[name].to_pylist(), dtype=float) for name in (z, *p))
    return logit, found[text].to_pylist(), probability


def in_sqlite(model: Model, rows: list[list[object]]) -> Answers:
    features = model.manifest.features
    names = columns(model, "REAL")
    with sqlite3.connect(":memory:") as engine:
        engine.execute(f"CREATE TABLE applicants ({names})")
        engine.executemany(f"INSERT INTO applicants VALUES ({', '.join('?' * len(features))})", rows)
        query = sql.select(model.manifest, "sqlite", "applicants")
        try:
            found = engine.execute(f"SELECT {answers(model)} FROM ({query})").fetchall()
        except sqlite3.OperationalError as error:
            pytest.skip(f"this SQLite has no exp(): the SELECT is NOT tested there ({error})")
    logit, label, probability = zip(*found, strict=True)
    return np.array(logit, dtype=float), list(label), np.array(probability, dtype=float)


@pytest.fixture(scope="module")
def postgres() -> Iterator[Ask]:
    """A real PostgreSQL in a temporary folder, without a network port."""
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not programs or not shutil.which("psql"):
        pytest.skip("PostgreSQL is not installed: the SELECT is NOT tested there")
    # Not pytest's own folder: it takes that from every user but its own.
    folder, binaries = Path(tempfile.mkdtemp(prefix="passfail-postgres-")), programs[-1].parent
    folder.chmod(0o777)
    user = ["runuser", "-u", "postgres", "--"]
    data = folder / "data"

    def run(*command: object, **options: object) -> subprocess.CompletedProcess[str]:
        done = subprocess.run([*user, *map(str, command)], cwd="/", capture_output=True, text=True, **options)
        assert done.returncode == 0, done.stderr
        return done

    run(binaries / "initdb", "-D", data, "-A", "trust", "--no-sync", "-E", "UTF8", "--locale=C.UTF-8")
    options = f"-c listen_addresses= -c unix_socket_directories={folder} -c fsync=off"
    run(binaries / "pg_ctl", "-D", data, "-w", "-l", folder / "log", "-o", options, "start")

    def ask(model: Model, rows: list[list[object]]) -> Answers:
        cells = "\n".join("\t".join(map(copied, [at, *row])) for at, row in enumerate(rows))
        query = sql.select(model.manifest, "postgres", "applicants")
        script = (
            "SET client_min_messages = error;\nDROP TABLE IF EXISTS applicants;\n"
            f"CREATE TABLE applicants (passfail_row int, {columns(model, 'float8')});\n"
            f"COPY applicants FROM STDIN;\n{cells}\n\\.\n"
            f"COPY (SELECT {answers(model)} FROM ({query}) AS answers ORDER BY passfail_row) TO STDOUT;\n"
        )
        psql = ("psql", "-q", "-v", "ON_ERROR_STOP=1", "-h", folder, "-d", "postgres")
        found = [line.split("\t") for line in run(*psql, input=script).stdout.splitlines()]
        logit, label, probability = zip(*found, strict=True)
        null = {"\\N": "nan"}
        numbers = (np.array([null.get(cell, cell) for cell in cells], dtype=float) for cells in (logit, probability))
        first, second = numbers
        return first, [None if cell == "\\N" else cell for cell in label], second

    try:
        yield ask
    finally:
        run(binaries / "pg_ctl", "-D", data, "-m", "immediate", "stop")
        shutil.rmtree(folder)


def in_spark(model: Model, rows: list[list[object]]) -> Answers:
    """Spark runs in an environment of its own; the rows go there and come back as Parquet."""
    python = ROOT / ".venv-spark" / "bin" / "python"
    if not python.exists():
        pytest.skip("Spark is not installed (make test-engines): the SELECT is NOT tested there")
    pq = pytest.importorskip("pyarrow.parquet")
    import pyarrow as pa

    with tempfile.TemporaryDirectory() as home:
        names = [feature.name for feature in model.manifest.features]
        columns = dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))
        pq.write_table(pa.table({**columns, "row": range(len(rows))}), f"{home}/rows.parquet")
        Path(home, "query.sql").write_text(sql.select(model.manifest, "spark", "applicants"))
        command = [
            python,
            "-m",
            "tests.support.clusters",
            "sql",
            f"{home}/query.sql",
            f"{home}/rows.parquet",
            f"{home}/out",
        ]
        done = subprocess.run(list(map(str, command)), cwd=ROOT, capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, done.stderr[-3000:]
        found = pq.read_table(f"{home}/out").sort_by("row")
    z, _, text, *p = sql.names(model.manifest)
    logit, probability = (np.array(found[name].to_pylist(), dtype=float) for name in (z, *p))
    return logit, found[text].to_pylist(), probability


@pytest.fixture(params=["duckdb", "sqlite", "postgres", "spark"])
def ask(request: pytest.FixtureRequest) -> Ask:
    engines = {"duckdb": in_duckdb, "sqlite": in_sqlite, "spark": in_spark}
    return engines.get(request.param) or request.getfixturevalue("postgres")


@pytest.mark.parametrize("name", ["hours", "study_hours", "admissions"])
def test_a_million_rows_have_the_exports_logits_and_verdicts_to_the_bit(models: Path, ask: Ask, name: str) -> None:
    model = opened(models, name)
    x, rows = table(model, ROWS if name == "admissions" else 3_000)
    z, p = model.runtime(x)

    logit, label, probability = ask(model, rows)

    assert int((logit != z).sum()) == 0
    assert label == [model.manifest.target.labels[verdict] for verdict in model.verdict(z).tolist()]
    ulp = np.abs(np.maximum(probability, 1e-300).view(np.int64) - np.maximum(p, 1e-300).view(np.int64))
    assert ulp.max() <= 4


def test_awkward_names_and_levels_have_the_exports_answers(models: Path, ask: Ask) -> None:
    manifest = awkward(opened(models, "admissions").manifest)
    x = awkward_rows(manifest, 3_000)
    z = reference.logit(manifest, x)
    fields = [Column(feature) for feature in manifest.features]
    rows = [[field.value(number) for field, number in zip(fields, row, strict=True)] for row in x.tolist()]

    logit, label, _ = ask(Model(manifest, lambda x: (x, x)), rows)

    assert int((logit != z).sum()) == 0
    assert label == [manifest.target.labels[verdict] for verdict in (z > manifest.logit_threshold).tolist()]


def test_nan_is_missing_and_infinity_is_refused(models: Path, ask: Ask) -> None:
    manifest = awkward(opened(models, "admissions").manifest)
    first = awkward_rows(manifest, 1)
    first[0, :3] = 1.0
    fields = [Column(feature) for feature in manifest.features]
    row = [field.value(number) for field, number in zip(fields, first[0].tolist(), strict=True)]
    begun = [[None, 1.0], [np.nan, 1.0], [np.inf, 1.0], [1.0, np.inf], [1.0, 1.0]]

    _, label, _ = ask(Model(manifest, lambda x: (x, x)), [[*two, *row[2:]] for two in begun])
    _, refused, _ = ask(Model(manifest, lambda x: (x, x)), [[1.0, 1.0, np.nan, *row[3:]]])

    first[0, 0] = np.nan
    expected = manifest.target.labels[bool(reference.logit(manifest, first)[0] > manifest.logit_threshold)]
    assert label[:2] == [expected, expected]
    assert label[2:4] == refused * 2 == [None, None]
    assert label[4] is not None


def test_a_row_that_the_service_refuses_is_null(models: Path, ask: Ask) -> None:
    model = opened(models, "admissions")
    logit, label, probability = ask(model, [[None, 3.0, "1"], [500.0, 3.0, "9"], [500.0, 3.0, None], [500.0, 3.0, "1"]])

    assert np.isnan(logit).tolist() == [True, True, True, False]
    assert label[:3] == [None] * 3
    assert np.isnan(probability).tolist() == [True, True, True, False]


def test_a_hidden_layer_and_a_pooled_level_have_the_service_s_bits(models: Path, ask: Ask) -> None:
    model = opened(models, "admissions")
    hidden = with_hidden(model.manifest, "Softshrink")
    x, rows = table(model, 3_000)
    logit, _, _ = ask(Model(hidden, model.runtime), rows)
    assert int((logit != reference.logit(hidden, x)).sum()) == 0

    pooled = msgspec.structs.replace(model.manifest, pooled={"rank": "3"})
    logit, _, _ = ask(Model(pooled, model.runtime), [[500.0, 3.0, "9"], [500.0, 3.0, "3"], [500.0, 3.0, None]])
    assert logit[0] == logit[1]
    assert np.isnan(logit[2])


def test_an_unknown_dialect_is_refused(models: Path) -> None:
    with pytest.raises(ConfigError, match="--dialect must be one of bigquery, duckdb"):
        sql.select(opened(models, "hours").manifest, "cobol", "t")


def test_duckdb_takes_the_answers_logit_where_the_table_has_one(models: Path) -> None:
    manifest = opened(models, "admissions").manifest
    with pytest.importorskip("duckdb").connect() as engine:
        engine.sql(
            "CREATE TABLE applicants AS SELECT 99.0 AS logit, 'mine' AS label, 220 AS gre, 2.26 AS gpa, 4 AS rank"
        )
        found = engine.sql(sql.select(manifest, "duckdb", "applicants")).fetchall()

    assert [row[-2] for row in found] == [manifest.target.labels[0]]
