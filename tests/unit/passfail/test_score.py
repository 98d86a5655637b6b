"""The rows of a CSV are answered as POST /predict answers them, to the byte."""

import io
import random
from pathlib import Path

import numpy as np
import pytest
from msgspec import structs

from passfail import csv_blocks
from passfail.__main__ import main
from passfail.arrays import Floats
from passfail.batches import Scorer
from passfail.codecs import Codecs
from passfail.errors import InvalidInstance, MalformedBody
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
    reader = Codecs(model.manifest, 10**7).csv
    x, table = reader.read(body)
    found = model.answer(x)
    return reader.write(table, found._replace(outside=found.outside or [()] * len(x)))


def streamed(model: Model, body: bytes, **options: bool) -> bytes:
    out = io.BytesIO()
    Files(Scorer(model, **options)).csv(io.BytesIO(body), out.write)
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
    monkeypatch.setattr(csv_blocks, "LONGEST_RECORD", 2**12)
    with pytest.raises(MalformedBody, match="is a quote never closed"):
        streamed(model, b'gre,gpa,rank,note\n1,2,3,"' + b"700,3,1,x\n" * 1000)


def test_explain_adds_the_contributions_of_the_service(model: Model, tmp_path: Path) -> None:
    body = b"gre,gpa,rank\n700,3.5,1\nx,3,2\n"
    header, first, second = streamed(model, body, explained=True).decode().splitlines()

    answer = dict(zip(header.split(","), first.split(","), strict=True))
    why = explain(model, np.array([[700, 3.5, 0.0]]), model.score(np.array([[700, 3.5, 0.0]]))[0])[0]
    assert float(answer["baseline"]) == why["baseline"]
    assert {name: float(answer[f"contribution_{name}"]) for name in ("gre", "gpa", "rank")} == why["contributions"]
    assert second.endswith(",,,,,gre: expected a number")
