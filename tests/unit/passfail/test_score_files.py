"""Files and folders are answered whole or not at all, and the command says how it went."""

import gzip
import io
import json
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest

from passfail.__main__ import main
from passfail.batches import Scorer
from passfail.errors import ConfigError, InvalidInstance
from passfail.loading import load
from passfail.model import Model
from passfail.score import Files
from tests.support import DATA

TRAINING = (DATA / "admissions.csv").read_bytes()


@pytest.fixture(scope="module")
def model(models: Path) -> Model:
    return load(models / "admissions")


@pytest.mark.parametrize("source", ["csv", "csv.gz", "csv.zst", "parquet"])
@pytest.mark.parametrize("out", ["csv", "csv.gz", "csv.zst", "parquet"])
def test_every_format_in_and_out_has_the_same_answers(model: Model, tmp_path: Path, source: str, out: str) -> None:
    table = pa.csv.read_csv(io.BytesIO(TRAINING))
    given, made = tmp_path / f"in.{source}", tmp_path / f"out.{out}"
    if source == "parquet":
        pa.parquet.write_table(table, given)
    else:
        with pa.output_stream(str(given), compression="detect") as stream:
            stream.write(TRAINING)

    receipt = Files(Scorer(model)).score(given, made)

    if out == "parquet":
        found = pa.parquet.read_table(made)
    else:
        with pa.input_stream(str(made), compression="detect") as stream:
            found = pa.csv.read_csv(stream)
    expected = model.predict(table.select(["gre", "gpa", "rank"]))
    assert found.column_names == [*table.column_names, "predicted_admit", "label", "probability", "logit", "stable",
                                  "model", "version", "outside", "error"]  # fmt: skip
    assert found["logit"].to_pylist() == expected.logit.tolist()
    assert found["probability"].to_pylist() == expected.probability.tolist()
    assert found["label"].to_pylist() == expected.label
    assert [float(value) for value in found["gpa"].to_pylist()] == table["gpa"].to_pylist()
    assert receipt == json.loads((tmp_path / f"out.{out}.receipt.json").read_text())
    assert receipt["rows"] == receipt["answered"] == 400
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        [given.name, made.name, f"{made.name}.receipt.json"]
    )


def test_a_column_of_lists_comes_back_in_parquet_only(model: Model, tmp_path: Path) -> None:
    table = pa.csv.read_csv(DATA / "admissions.csv").slice(0, 2)
    table = table.append_column("tags", pa.array([["a"], []]))
    pa.parquet.write_table(table, tmp_path / "in.parquet")

    Files(Scorer(model)).score(tmp_path / "in.parquet", tmp_path / "out.parquet")

    assert pa.parquet.read_table(tmp_path / "out.parquet")["tags"].to_pylist() == [["a"], []]
    with pytest.raises(ConfigError, match=r"in\.parquet: tags holds lists or records, which CSV can't: write Parquet"):
        Files(Scorer(model)).score(tmp_path / "in.parquet", tmp_path / "out.csv")
    assert not (tmp_path / "out.csv").exists()


def test_strict_names_the_row_and_writes_nothing(model: Model, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_bytes(TRAINING + b"x,3,1,0\n")
    with pytest.raises(InvalidInstance) as raised:
        Files(Scorer(model, strict=True)).score(tmp_path / "in.csv", tmp_path / "out.csv")

    assert [(found.pointer, found.detail) for found in raised.value.problems] == [("row 401, gre", "expected a number")]
    assert [path.name for path in tmp_path.iterdir()] == ["in.csv"]


def test_a_full_disk_behind_standard_output_is_named(model: Model) -> None:
    with (
        open("/dev/full", "wb", 0) as full,
        pytest.raises(ConfigError, match="standard output: No space left on device"),
    ):
        Files(Scorer(model)).stream(io.BytesIO(TRAINING), full)


def test_the_figures_are_those_of_the_export_on_its_training_file(model: Model, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_bytes(TRAINING)
    figures = Files(Scorer(model)).score(tmp_path / "in.csv", tmp_path / "out.csv")["figures"]

    known = model.manifest.training.metrics
    assert figures["rows"] == known.rows
    for name in ("log_loss", "accuracy", "brier"):
        assert figures[name] == pytest.approx(getattr(known, name), rel=1e-12)
    assert abs(figures["auc"] - known.auc) <= figures["auc_error"] < 1e-3
    assert sum(part["rows"] for part in figures["calibration"]) == 400
    assert figures["true_positives"] + figures["false_negatives"] == 127


def test_the_outcomes_are_those_of_training_in_every_spelling(model: Model) -> None:
    for given in (["1", "1.0 ", "0", "yes", None], [1.0, 1.0, 0.0, 2.0, None], [True, True, False, None, None]):
        found = Files(Scorer(model)).outcome(pa.array(given))
        numbers = [1, 1, 0, np.nan, np.nan] if given[0] is not True else [np.nan] * 5
        np.testing.assert_array_equal(found, numbers)


def test_a_folder_goes_on_where_it_was(model: Model, tmp_path: Path) -> None:
    parts, out = tmp_path / "parts", tmp_path / "out"
    parts.mkdir()
    for name in ("a.csv", "b.csv", "c.csv"):
        (parts / name).write_bytes(TRAINING)
    Files(Scorer(model)).folder(parts, out)
    (out / "b.csv").unlink()
    (parts / "c.csv").write_bytes(TRAINING + b"700,3.5,1,1\n")
    before = (out / "a.csv").stat().st_mtime_ns

    receipts = Files(Scorer(model)).folder(parts, out)

    assert [receipt["rows"] for receipt in receipts] == [400, 400, 401]
    assert (out / "a.csv").stat().st_mtime_ns == before
    assert (out / "b.csv").read_bytes() == (out / "a.csv").read_bytes()


def test_an_interrupted_file_leaves_what_was_there(model: Model, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_bytes(TRAINING)
    (tmp_path / "out.csv").write_text("before")

    def interrupted(rows: int, seconds: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Files(Scorer(model), progress=interrupted).score(tmp_path / "in.csv", tmp_path / "out.csv")

    assert (tmp_path / "out.csv").read_text() == "before"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.csv", "out.csv"]


def test_the_command_scores_a_file_and_says_how_it_went(
    models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in.csv.gz").write_bytes(gzip.compress(TRAINING + b"x,3,1,0\n"))
    arguments = ["score", str(tmp_path / "in.csv.gz"), "-o", str(tmp_path / "out.csv"), "--models", str(models)]

    assert main([*arguments, "--model", "admissions"]) == 0
    assert capsys.readouterr().err.startswith("401 rows, 400 answered, 1 refused; the column error says why\n400 rows")
    assert main([*arguments, "--model", "admissions", "--strict"]) == 2
    assert "row 401, gre: expected a number" in capsys.readouterr().err


def test_a_terminal_shows_the_rows_so_far_and_their_rate(
    models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "in.csv").write_bytes(TRAINING)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)

    arguments = ["score", str(tmp_path / "in.csv"), "-o", str(tmp_path / "out.csv"), "--models", str(models)]

    assert main([*arguments, "--model", "admissions"]) == 0
    assert re.match(r"\r400 rows, [\d,]+ rows/s \r\x1b\[K400 rows, 400 answered", capsys.readouterr().err)


@pytest.mark.parametrize(
    ("source", "out", "message"),
    [
        ("in.xlsx", "out.csv", "its name must end in .csv"),
        ("in.csv", "out.txt", "its name must end in .csv"),
        ("in.csv", "in.csv", "is also the input"),
        ("-", "out.csv", "give - for both"),
        ("nosuch.csv", "out.csv", "no such file"),
        ("bad.parquet", "out.csv", "bad.parquet: "),
        ("other.csv", "out.csv", "other.csv: the columns don't include the model's features: line 1, gre: missing"),
        (
            "semicolons.csv",
            "out.csv",
            "features (the header holds no ',': give --separator): line 1, gre",
        ),
        ("in.csv", "nosuch/out.csv", "nosuch/out.csv: No such file or directory"),
        ("in.csv --encoding utf-16", "out.csv", "in.csv: not CSV in utf-16: "),
        ("foreign", "scored", "foreign/notes.txt: not a part"),
        ("deep", "scored", "deep/more: not a part"),
        ("parts", "in.csv", "in.csv: File exists"),
    ],
)
def test_what_cannot_be_scored_is_one_line(
    models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], source: str, out: str, message: str
) -> None:
    for name in ("parts", "foreign", "deep/more"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("in.csv", "in.xlsx", "bad.parquet", "parts/_SUCCESS", "parts/1.csv", "foreign/notes.txt"):
        (tmp_path / name).write_bytes(TRAINING)
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    (tmp_path / "semicolons.csv").write_text("gre;gpa;rank\n500;3;1\n")
    name, *options = source.split()
    paths = [name if name == "-" else str(tmp_path / name) for name in (name, out)]

    assert main(["score", paths[0], "-o", paths[1], "--models", str(models), "--model", "admissions", *options]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
