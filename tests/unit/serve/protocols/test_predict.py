"""POST /predict through the real application, on each runtime."""

import csv
import gzip
import io
import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from passfail.codecs import Codecs
from passfail.codecs.json_rows import JsonRows
from passfail.errors import Problem, RequestError
from passfail.manifest import decode
from serve.server.flask_app import create_app
from serve.settings import Config
from tests.support.predict import GOOD, post, problems
from train.__main__ import main

LACKED = ": no training row lacked it; train with --missing {} to allow it"


def test_the_lectures_two_predictions(client):
    seven = post(client("hours"), {"hours": 7}).json
    one = post(client("hours"), {"hours": 1}).json

    assert (seven["passed"], seven["label"], one["passed"], one["label"]) == (True, "pass", False, "fail")
    assert (seven["model"], seven["version"]) == ("hours", 1)
    assert 0.97 <= seven["probability"] < 0.98
    assert seven["probability"] == pytest.approx(1 / (1 + math.exp(-seven["logit"])), rel=1e-15)


def test_published_probabilities(client):
    answers = post(client("study_hours"), [{"hours": h} for h in range(1, 6)]).json

    assert [round(a["probability"], 2) for a in answers] == [0.07, 0.26, 0.61, 0.87, 0.97]
    assert [a["passed"] for a in answers] == [False, False, True, True, True]


def test_an_array_answers_in_its_order(client):
    served = client("admissions")
    rows = [GOOD, {"rank": "3", "gpa": 2.5, "gre": 300}, {**GOOD, "rank": "2"}]

    together = post(served, rows).json

    assert together == [post(served, row).json for row in rows]
    assert list(together[0]) == ["admit", "label", "probability", "logit", "stable", "model", "version"]
    assert post(served, []).json == []


def test_csv_answers_csv_with_columns_added(client):
    served = client("admissions")
    response = post(served, "\ufeffrank,gpa,gre\r\n1,4.0,800\r\n\r\n 3 ,2.5,300\r\n", "text/csv; charset=utf-8")
    rows = list(csv.DictReader(io.StringIO(response.text)))

    assert response.content_type == "text/csv; charset=utf-8"
    assert response.text.splitlines()[0] == "rank,gpa,gre,admit,label,probability,logit,stable,model,version"
    one = post(served, GOOD).json
    assert (rows[0]["admit"], float(rows[0]["probability"]), float(rows[0]["logit"])) == (
        "true",
        one["probability"],
        one["logit"],
    )
    assert (rows[1]["rank"], rows[1]["label"]) == (" 3 ", "no")
    assert post(served, "gre,gpa,rank\n", "text/csv").text.count("\n") == 1


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"gre": 800, "gpa": 4.0}, [("$.rank", "missing")]),
        ({**GOOD, "age": 3}, [("$", "1 unknown name(s); the features are: gre, gpa, rank")]),
        ('{"gre":1,"gre":2,"gpa":3,"rank":1}', [("$.gre", "given more than once")]),
        ('{"gre":1,"gpa":3,"rank":"1","rank":"1"}', [("$.rank", "given more than once")]),
        ({**GOOD, "gre": "800"}, [("$.gre", "expected a number, got a string")]),
        ({**GOOD, "gre": True}, [("$.gre", "expected a number, got a boolean")]),
        ({**GOOD, "gre": None}, [("$.gre", f"may not be null{LACKED.format('gre=mean')}")]),
        ({**GOOD, "gre": [1]}, [("$.gre", "expected a number, got an array")]),
        ({**GOOD, "gre": {}}, [("$.gre", "expected a number, got an object")]),
        ('{"gre":NaN,"gpa":-Infinity,"rank":1}', [("$.gre", "not a finite number"), ("$.gpa", "not a finite number")]),
        ('{"gre":1e400,"gpa":3,"rank":1}', [("$.gre", "not a finite number")]),
        ('{"gre":' + "9" * 500 + ',"gpa":3,"rank":1}', [("$.gre", "not a finite number")]),
        ({**GOOD, "rank": 5}, [("$.rank", "not one of the levels: 1, 2, 3, 4")]),
        ({**GOOD, "rank": "first"}, [("$.rank", "not one of the levels: 1, 2, 3, 4")]),
        ({**GOOD, "rank": True}, [("$.rank", "expected one of the levels, as a string: 1, 2, 3, 4; got a boolean")]),
        ({**GOOD, "rank": None}, [("$.rank", f"may not be null{LACKED.format('rank=most-frequent')}")]),
        ([GOOD, {**GOOD, "gpa": "x"}, 7], [("$[1].gpa", "expected a number, got a string"),
                                           ("$[2]", "expected an object, got a number")]),
        (7, [("$", "expected an object or an array of objects, got a number")]),
        ({**GOOD, "gpa": -1.5e308}, [("$", "its logit overflows float64")]),
        ([GOOD, {**GOOD, "gpa": 1.5e308}], [("$[1]", "its logit overflows float64")]),
    ],
)  # fmt: skip
def test_names_every_place_that_is_wrong(client, body, expected):
    response = post(client("admissions"), body)

    assert problems(response) == expected
    for sent in ("800", "first", "9999", "age"):
        assert sent not in response.text


@pytest.mark.parametrize(
    ("body", "status"),
    [(b"{", 400), (b"", 400), (b"\xff", 400), (b"[" * 100_000, 400), (b'{"a":1}x', 400), (b"nul", 400)],
)
def test_broken_json_is_malformed(client, body, status):
    assert problems(post(client("hours"), body), status) == []


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("gre,gpa\n1,2\n", [("line 1, rank", "missing")]),
        (
            "gre,gpa,Rank,x\n1,2,1,1\n",
            [("line 1", "2 unknown name(s): Rank, did you mean rank?; the features are: gre, gpa, rank"),
            ("line 1, rank", "missing")],
        ),
        ("gre,gre,gpa,rank\n1,1,2,1\n", [("line 1, gre", "given more than once")]),
        ("gre,gpa,rank\n1,2\n", [("line 2", "2 cells where the header has 3")]),
        ("gre,gpa,rank\n1,x,1\n\n1,1_0,9\n,0x1,1\n", [("line 2, gpa", "expected a number"),
            ("line 4, gpa", "expected a number"), ("line 4, rank", "not one of the levels: 1, 2, 3, 4"),
            ("line 5, gre", f"may not be empty{LACKED.format('gre=mean')}"), ("line 5, gpa", "expected a number")]),
        ("gre,gpa,rank\n1,2,1\n\n1,1.5e308,1\n", [("row 2", "its logit overflows float64")]),
        ("gre,gpa,rank\n1e999,2,1\nnan,inf,1\n", [("line 2, gre", "not a finite number"),
            ("line 3, gre", f"may not be empty{LACKED.format('gre=mean')}"), ("line 3, gpa", "expected a number")]),
    ],
)  # fmt: skip
def test_csv_names_every_line_and_column(client, body, expected):
    assert problems(post(client("admissions"), body, "text/csv")) == expected


@pytest.mark.parametrize("body", [b"", b"\xff\n", b'gre,gpa,rank\n1,"2,3\n'])
def test_broken_csv_is_malformed(client, body):
    assert problems(post(client("admissions"), body, "text/csv"), 400) == []


def test_limits(client):
    served = client("hours", max_rows=2, max_body_bytes=100)

    assert post(served, [{"hours": 1}] * 2).status_code == 200
    assert "more than 2 rows" in post(served, [{"hours": 1}] * 3).json["detail"]
    assert problems(post(served, [{"hours": 1}] * 3), 413) == []
    assert problems(post(served, "hours\n1\n2\n3\n", "text/csv"), 413) == []
    assert problems(post(served, b" " * 101), 413) == []


@pytest.mark.parametrize(("count", "said"), [(1, "1 place is"), (20, "20 places are"), (21, "more than 20 places are")])
@pytest.mark.parametrize("kind", ["application/json", "text/csv"])
def test_the_places_are_counted_as_far_as_they_are_listed(client, count, said, kind):
    body = "hours\n" + "x\n" * count if kind == "text/csv" else [{}] * count
    response = post(client("hours"), body, kind)

    assert len(problems(response)) == min(count, 20)
    assert response.json["detail"] == f"{said} wrong"


MANY = {
    "objects": ("/predict", "[" + ",".join(["{}"] * 1000) + "]", "application/json"),
    "arrays": ("/invocations", '{"instances": [' + ",".join(["[]"] * 1000) + "]}", "application/json"),
    "lines": ("/predict", "gre,gpa,rank\n" + "x\n" * 1000, "text/csv"),
}


@pytest.mark.parametrize("kind", MANY)
def test_no_more_places_are_looked_for_than_are_named(client, monkeypatch, kind):
    """A hundred thousand empty objects for a hundred columns were gigabytes of them."""
    path, body, content_type = MANY[kind]
    served, made = client("admissions"), []
    for module in ("codecs.json_rows", "codecs.csv_rows", "columns"):
        monkeypatch.setattr(f"passfail.{module}.Problem", lambda *about: made.append(about) or Problem(*about))

    assert served.post(path, data=body, content_type=content_type).status_code == 422
    assert len(made) == 21


def test_of_a_table_beyond_the_limit_no_more_lines_are_read(client, monkeypatch):
    """Sixteen megabytes of them took nearly two gigabytes."""
    read = []
    lines = csv.reader

    class Reader:
        line_num = 1

        def __init__(self, *about, **how):
            self.lines = lines(*about, **how)

        def __iter__(self):
            for line in self.lines:
                read.append(line)
                yield line

    served = client("hours", max_rows=3)
    monkeypatch.setattr("passfail.codecs.csv_rows.csv.reader", Reader)

    assert problems(post(served, "hours\n" + '"1"\n' * 7, "text/csv"), 413) == []
    assert len(read) == 5


@pytest.mark.parametrize("content_type", [None, "text/plain", "application/x-www-form-urlencoded"])
def test_wrong_media_type(client, content_type):
    response = post(client("hours"), {"hours": 1}, content_type)

    assert problems(response, 415) == []
    assert response.json["detail"] == "send Content-Type: application/json, text/csv or application/jsonlines"


def test_other_routes(client):
    served = client("hours")

    assert served.get("/health/live").json == {"live": True}
    assert served.get("/health/ready").json == {"ready": True, "model": "hours", "version": 1}
    assert served.get("/v2/health/live").json == {"live": True}
    assert served.get("/v2/health/ready").json == {"ready": True, "live": True}
    assert decode(served.get("/model").data).name == "hours"
    assert "so a later PyTorch or Python may not load it" in served.get("/model").json["files"]["model.pt"]["about"]
    assert problems(served.get("/predict"), 405) == []
    assert served.get("/predict").headers["Allow"] == "OPTIONS, POST"
    assert problems(served.get("/nowhere"), 404) == []


def test_nothing_unforeseen_leaks(client, monkeypatch):
    served = client("hours")
    monkeypatch.setattr(JsonRows, "read", lambda *_: 1 / 0)

    response = post(served, {"hours": 1})

    assert problems(response, 500) == []
    assert "division" not in response.text


@pytest.fixture(scope="module")
def odd(tmp_path_factory):
    """A repository of a model with missing cells, whose columns have the answers' names."""
    folder = tmp_path_factory.mktemp("odd")
    (folder / "odd.csv").write_text(
        "age,model,größe,label\n" + "".join(f"{i or ''},{'ab '[i % 3]},{i * i % 7},{['no', 'yes'][i % 5 < 2]}\n"
                                          for i in range(12)), "utf-8")  # fmt: skip
    arguments = ["--data", str(folder / "odd.csv"), "--checkpoints", str(folder)]
    assert main(["fit", *arguments, "--l2", "1"]) == 0
    assert main(["export", *arguments, "--models", str(folder / "models")]) == 0
    return folder / "models"


def test_missing_values_and_awkward_names(odd, runtime):
    served = create_app(Config(models=odd, runtime=runtime)).test_client()
    full = {"age": 3, "model": "a", "größe": 2}
    manifest = decode((odd / "odd" / "1" / "manifest.json").read_bytes())
    age, model, _ = manifest.features

    assert post(served, full).json["predicted_label"] in (True, False)
    blank = post(served, {**full, "age": None, "model": None}).json
    filled = post(served, {**full, "age": age.fill, "model": model.levels[int(model.fill)]}).json
    assert blank == filled
    text = post(served, "age,model,größe\n,NA,2\n".encode(), "text/csv").text
    assert (
        text.splitlines()[0] == "age,model,größe,predicted_label,label,probability,logit,stable,predicted_model,version"
    )
    assert float(next(csv.DictReader(io.StringIO(text)))["logit"]) == blank["logit"]
    assert problems(post(served, {"age": 1, "größe": 1})) == [("$.model", "missing")]


@pytest.mark.parametrize(("cell", "status"), [('"a"', 200), ('"NaN"', 422)], ids=["missing cells", "and a text"])
def test_nan_of_mlflows_client_is_a_missing_value_in_a_short_body(odd, cell, status):
    served = create_app(Config(models=odd)).test_client()
    right = f'{{"dataframe_split":{{"columns":["age","model","größe"],"data":[[null,{cell},2],[3, null,2]]}}}}'
    sent = right.replace("null", "NaN")

    wanted, found, long = (
        served.post("/invocations", data=text, content_type="application/json")
        for text in (right, sent, sent + " " * 2**20)
    )

    assert (found.status_code, found.json) == (status, wanted.json)
    assert (long.status_code, "send null for NaN" in long.json["message"]) == (400, True)


def test_a_fault_behind_nan_has_its_place_in_the_body_as_sent(ask):
    sent = '{"dataframe_split":{"data":[[NaN, NaN],[NaN]],x}}'

    message = ask("/invocations", sent.encode()).json["message"]

    assert int(message.partition("(byte ")[2].partition(")")[0]) == sent.index("x}}")


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(["1", "2", "x", '"', "\\", "é"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["gre", "gpa", "rank", "y"]), inner),
    max_leaves=8,
)
ROWS = st.fixed_dictionaries(
    {"gre": JSON_VALUES, "gpa": st.floats(), "rank": st.sampled_from([1, "2", 3.0, True, "9"])}
)


@given(ROWS | st.lists(ROWS, max_size=3) | JSON_VALUES)
@settings(max_examples=300)
def test_the_two_decoders_agree(models, document):
    """Whatever the fast decoder refuses, the slow one has a reason for, and the other way round."""
    manifest = decode((models / "admissions" / "1" / "manifest.json").read_bytes())
    decoder = Codecs(manifest, 100).json
    body = json.dumps(document).encode()

    def problems(read):
        try:
            read(body)
        except RequestError as error:
            return error.problems
        return ()

    assert problems(decoder.read) == problems(decoder.read_slowly)


def test_compressed_bodies_are_not_guessed(client):
    assert post(client("hours"), gzip.compress(b'{"hours": 1}')).status_code == 400
