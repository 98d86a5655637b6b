"""Files are answered as POST /predict answers their rows, whole or not at all."""

import gzip
import io
import json
import random
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
from msgspec import structs

from passfail import csv_blocks
from passfail.__main__ import main
from passfail.arrays import Floats
from passfail.codecs import codecs
from passfail.errors import ConfigError, InvalidInstance, MalformedBody
from passfail.explain import explain
from passfail.loading import load
from passfail.manifest import Dialect
from passfail.model import Model
from passfail.proof import reference
from passfail.score import Files
from tests.support import DATA

TRAINING = (DATA / "admissions.csv").read_bytes()


@pytest.fixture(scope="module")
def model(models: Path) -> Model:
    return load(models / "admissions")


@pytest.fixture(scope="module")
def formulas(awkward: Path) -> Model:
    """A model whose names and levels are formulas, HTML and quotes."""
    return load(awkward / "awkward")


def answered(model: Model, body: bytes) -> bytes:
    """The answer of POST /predict to a CSV some of whose rows are outside the training range."""
    reader = codecs(model.manifest, 10**7).csv
    x, table = reader.read(body)
    *answers, outside = model.answer(x)
    return reader.write(table, *answers, outside or [()] * len(x))


def streamed(model: Model, body: bytes, **options: bool) -> bytes:
    out = io.BytesIO()
    Files(model, **options).csv(io.BytesIO(body), out.write)
    return out.getvalue() + b"\n"


def drawn(n: int) -> bytes:
    pick = random.Random(1)
    rows = (f"{pick.uniform(200, 900)!r},{pick.randint(1, 4)},{pick.uniform(2, 4)!r}" for _ in range(n))
    return "gre,rank,gpa\n{}\n".format("\n".join(rows)).encode()


BODIES = {
    "ten thousand rows": drawn(10_000),
    "the training file": TRAINING,
    "no rows": b"gre,gpa,rank\n",
    "no last line's end": TRAINING.rstrip(),
    "byte order mark, other line's ends": b"\xef\xbb\xbf" + TRAINING.replace(b"\n", b"\r\n"),
    "empty lines": TRAINING.replace(b"\n", b"\n\n"),
    "white space": b" gre , gpa,rank\n 700 , 3.5,1\n7e2\t,+3.50,2\n.5,5.,\t3\n",
    "quotes": b'gre,"gpa",rank,name\n700,"3.5",1,"a ""b"",\nc"\n"600",3,2,plain\n',
    "a note with quotes in the middle": b'gre,gpa,rank,note\n700,3.5,1,5" pipe\n600,3,2,x\n',
    "columns of its own": b"label,gre,version,gpa,rank,rank2\nx,700,,3.5,1,\n,600,1,3,2,9\n",
    "extremes": b"gre,gpa,rank\n1e300,3,1\n-1e-300,5e-324,2\n0,0,3\n100,1,4\n",
}


@pytest.mark.parametrize("block", [40, 2**20], ids=["small blocks", "one block"])
@pytest.mark.parametrize("body", BODIES)
def test_csv_comes_back_with_the_bytes_of_the_service(
    model: Model, body: str, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(csv_blocks, "BLOCK", block if len(BODIES[body]) < 50_000 else 2**16)

    assert streamed(model, BODIES[body], strict=True) == answered(model, BODIES[body])


def in_commas(text: str) -> str:
    """The training file with semicolons and decimal commas."""
    return text.replace(",", ";").replace(".", ",")


SPREADSHEET = in_commas(TRAINING.decode().replace("gre,gpa,rank,admit", "gre,gpa,rank,Zürich"))
DIALECTS = {
    "as the training file": (Dialect(separator=";", decimal=","), SPREADSHEET.encode()),
    "with commas": (Dialect(separator=";", decimal=","), TRAINING),
    "Windows-1252": (Dialect("windows-1252", ";", ","), SPREADSHEET.encode("windows-1252")),
    "UTF-8, though training was not": (Dialect("windows-1252", ";", ","), SPREADSHEET.encode()),
    "UTF-16": (Dialect("utf-16", ";", ","), SPREADSHEET.encode("utf-16")),
    "tabs and thousands": (Dialect(separator="\t", thousands=","), b'gre\tgpa\trank\n"1,700"\t3.5\t1\n600\t3\t2\n'),
    "thousands and decimal commas": (
        Dialect(separator=";", decimal=",", thousands="."),
        b"gre;gpa;rank\n1.700;3,5;1\n",
    ),
    "lines above the header": (Dialect(separator=";", decimal=",", skipped=2), b"A title\n\n" + SPREADSHEET.encode()),
    "row names": (Dialect(separator=";", decimal=",", extra="first"), b"gre;gpa;rank\na;700;3,5;1\nb;600;3;2\n"),
    "ends with a separator": (Dialect(separator=";", decimal=",", extra="last"), b"gre;gpa;rank\n700;3,5;1;\n"),
}


@pytest.mark.parametrize("case", DIALECTS)
def test_a_file_written_as_the_training_file_comes_back_with_the_bytes_of_the_service(
    model: Model, case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(csv_blocks, "BLOCK", 2**10)
    dialect, body = DIALECTS[case]
    other = Model(structs.replace(model.manifest, dialect=dialect), model.runtime)

    assert streamed(other, body, strict=True) == answered(other, body)


def test_options_say_how_a_file_is_written(model: Model, models: Path, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_bytes(SPREADSHEET.encode("windows-1252"))
    asked = [
        "score",
        str(tmp_path / "in.csv"),
        "-o",
        str(tmp_path / "out.csv"),
        "--models",
        str(models),
        "--model",
        "admissions",
    ]
    assert main([*asked, "--separator", ";", "--decimal", ",", "--encoding", "latin-1"]) == 0
    lines = (tmp_path / "out.csv").read_text().splitlines()

    assert lines[0].startswith("gre;gpa;rank;Zürich;admit;label;probability;logit;")
    assert lines[1:] == [in_commas(line) for line in streamed(model, TRAINING).decode().splitlines()[1:]]


MISSING = """gre,gpa,rank,name
700,,1,nan
-999,3.5,2,-999
NA, NaN ,3,
#N/A,3.1,4,x
"""


@pytest.mark.parametrize("block", [20, 2**20], ids=["small blocks", "one block"])
@pytest.mark.parametrize("body", [MISSING, MISSING.replace("#N/A", "NAN")], ids=["words", "no such word"])
def test_the_words_for_missing_are_those_of_the_service(
    model: Model, body: str, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(csv_blocks, "BLOCK", block)
    gre, gpa, rank = model.manifest.features
    features = (structs.replace(gre, fill=600.0), structs.replace(gpa, fill=3.0), rank)
    manifest = structs.replace(model.manifest, features=features, dialect=Dialect(missing=("-999",)))

    def runtime(x: Floats) -> tuple[Floats, Floats]:
        logit = reference.logit(manifest, x)
        return logit, 1 / (1 + np.exp(-logit))

    found = streamed(Model(manifest, runtime), body.encode()).decode().splitlines()

    *rows, last = answered(Model(manifest, runtime), MISSING.encode()).decode().splitlines()
    assert found[1:4] == [f"{row}," for row in rows[1:]]
    assert found[4] == f"{last}," if body == MISSING else found[4] == "NAN,3.1,4,x,,,,,,,,,gre: expected a number"


def test_awkward_names_and_levels_come_back_with_the_bytes_of_the_service(formulas: Model) -> None:
    body = (DATA.parent / "tests" / "fuzz" / "awkward.csv").read_bytes()

    assert streamed(formulas, body, strict=True) == answered(formulas, body)


def test_a_bad_row_carries_its_error_and_the_others_are_answered(model: Model) -> None:
    good = b"700,3.5,1\n600,3,2\n"
    bad = b"x,3,1\n700,,9\n700,3\n1e308,1e308,1\n700,3,1,5\n"
    out = streamed(model, b"gre,gpa,rank\n" + good + bad).splitlines()

    header, *rows = answered(model, b"gre,gpa,rank\n" + good).splitlines()
    assert out[0] == header + b",error"
    assert out[1:3] == [row + b"," for row in rows]
    assert out[3] == b"x,3,1,,,,,,,,,gre: expected a number"
    assert out[4].startswith(
        b'700,,9,,,,,,,,,"gpa: may not be empty: no training row lacked it; train with --missing gpa'
    )
    assert out[4].endswith(b'; rank: not one of the levels: 1, 2, 3, 4"')
    assert out[5] == b"700,3,,,,,,,,,,2 cells where the header has 3"
    assert out[7] == b"700,3,1,,,,,,,,,4 cells where the header has 3"


def test_strict_names_the_row_and_writes_nothing(model: Model, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_bytes(TRAINING + b"x,3,1,0\n")
    with pytest.raises(InvalidInstance) as raised:
        Files(model, strict=True).score(tmp_path / "in.csv", tmp_path / "out.csv")

    assert [(found.pointer, found.detail) for found in raised.value.problems] == [("row 401, gre", "expected a number")]
    assert [path.name for path in tmp_path.iterdir()] == ["in.csv"]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"gre,gpa\n1,2\n", "don't include the model's features"),
        (b"gre,gpa,rank,gre\n1,2,3,4\n", "don't include the model's features"),
        (b"gre,gpa,rank\n700,3,\xff\n", "not CSV in UTF-8"),
        (b"", "needs a header line"),
    ],
    ids=["column missing", "column twice", "not UTF-8", "empty"],
)
def test_what_is_no_table_of_this_model_is_refused(model: Model, body: bytes, message: str) -> None:
    with pytest.raises((InvalidInstance, MalformedBody), match=message):
        streamed(model, body)


def test_a_carriage_return_alone_ends_a_line_as_in_training(model: Model) -> None:
    assert streamed(model, TRAINING.replace(b"\n", b"\r")) == streamed(model, TRAINING)


def test_a_quote_that_is_never_closed_does_not_fill_the_memory(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_blocks, "BLOCK", 2**10)
    monkeypatch.setattr(csv_blocks, "LONGEST", 2**12)
    with pytest.raises(MalformedBody, match="is a quote never closed"):
        streamed(model, b'gre,gpa,rank,note\n1,2,3,"' + b"700,3,1,x\n" * 1000)


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

    receipt = Files(model).score(given, made)

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

    Files(model).score(tmp_path / "in.parquet", tmp_path / "out.parquet")

    assert pa.parquet.read_table(tmp_path / "out.parquet")["tags"].to_pylist() == [["a"], []]
    with pytest.raises(ConfigError, match=r"in\.parquet: tags holds lists or records, which CSV can't: write Parquet"):
        Files(model).score(tmp_path / "in.parquet", tmp_path / "out.csv")
    assert not (tmp_path / "out.csv").exists()


def test_a_full_disk_behind_standard_output_is_named(model: Model) -> None:
    with (
        open("/dev/full", "wb", 0) as full,
        pytest.raises(ConfigError, match="standard output: No space left on device"),
    ):
        Files(model).stream(io.BytesIO(TRAINING), full)


def test_the_figures_are_those_of_the_export_on_its_training_file(model: Model, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_bytes(TRAINING)
    figures = Files(model).score(tmp_path / "in.csv", tmp_path / "out.csv")["figures"]

    known = model.manifest.training.metrics
    assert figures["rows"] == known.rows
    for name in ("log_loss", "accuracy", "brier"):
        assert figures[name] == pytest.approx(getattr(known, name), rel=1e-12)
    assert abs(figures["auc"] - known.auc) <= figures["auc_error"] < 1e-3
    assert sum(part["rows"] for part in figures["calibration"]) == 400
    assert figures["true_positives"] + figures["false_negatives"] == 127


def test_the_outcomes_are_those_of_training_in_every_spelling(model: Model) -> None:
    for given in (["1", "1.0 ", "0", "yes", None], [1.0, 1.0, 0.0, 2.0, None], [True, True, False, None, None]):
        found = Files(model).outcome(pa.array(given))
        numbers = [1, 1, 0, np.nan, np.nan] if given[0] is not True else [np.nan] * 5
        np.testing.assert_array_equal(found, numbers)


def test_explain_adds_the_contributions_of_the_service(model: Model, tmp_path: Path) -> None:
    body = b"gre,gpa,rank\n700,3.5,1\nx,3,2\n"
    header, first, second = streamed(model, body, explained=True).decode().splitlines()

    answer = dict(zip(header.split(","), first.split(","), strict=True))
    why = explain(model, np.array([[700, 3.5, 0.0]]), model.score(np.array([[700, 3.5, 0.0]]))[0])[0]
    assert float(answer["baseline"]) == why["baseline"]
    assert {name: float(answer[f"contribution_{name}"]) for name in ("gre", "gpa", "rank")} == why["contributions"]
    assert second.endswith(",,,,,gre: expected a number")


def test_a_folder_goes_on_where_it_was(model: Model, tmp_path: Path) -> None:
    parts, out = tmp_path / "parts", tmp_path / "out"
    parts.mkdir()
    for name in ("a.csv", "b.csv", "c.csv"):
        (parts / name).write_bytes(TRAINING)
    Files(model).folder(parts, out)
    (out / "b.csv").unlink()
    (parts / "c.csv").write_bytes(TRAINING + b"700,3.5,1,1\n")
    before = (out / "a.csv").stat().st_mtime_ns

    receipts = Files(model).folder(parts, out)

    assert [receipt["rows"] for receipt in receipts] == [400, 400, 401]
    assert (out / "a.csv").stat().st_mtime_ns == before
    assert (out / "b.csv").read_bytes() == (out / "a.csv").read_bytes()


def test_an_interrupted_file_leaves_what_was_there(model: Model, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_bytes(TRAINING)
    (tmp_path / "out.csv").write_text("before")

    def interrupted(rows: int, seconds: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Files(model, progress=interrupted).score(tmp_path / "in.csv", tmp_path / "out.csv")

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
