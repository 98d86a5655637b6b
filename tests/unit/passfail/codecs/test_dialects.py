"""The file that a model was trained on can be scored as it is, however it is written."""

import csv

import numpy as np
import pytest

from passfail.codecs import Codecs
from passfail.codecs.answers import Answers
from passfail.errors import InvalidInstance, MalformedBody
from passfail.frames import matrix
from tests.support.tables import ROWS, WRITTEN, manifest_of, read, text, with_x


def opened(tmp_path, content, **options):
    """(the table, the decoders of a model of it, the file's bytes)."""
    table = read(tmp_path, content, **options)
    return table, Codecs(manifest_of(table, options.get("fold_case", False)), 100), (tmp_path / "t.csv").read_bytes()


def write(decoders, x, sent, faults=None):
    verdict, number = np.ones(len(x), bool), np.arange(len(x)) + 0.25
    return decoders.csv.write(sent, Answers(verdict, number, number / 100, None), faults)


@pytest.mark.parametrize("kind", WRITTEN)
def test_the_training_file_scores_back(tmp_path, kind):
    content, options = WRITTEN[kind]
    table, decoders, body = opened(tmp_path, content, **options)
    x, sent = decoders.csv.read(body)

    assert x.tobytes() == table.x.tobytes()
    assert len(write(decoders, x, sent).splitlines()) == len(ROWS) + 1


@pytest.mark.parametrize("kind", [kind for kind in WRITTEN if kind != "no header"])
def test_plain_csv_is_read_as_before(tmp_path, kind):
    content, options = WRITTEN[kind]
    table, decoders, _ = opened(tmp_path, content, **options)
    level = (table.features[-1].levels or ("",))[0]
    names = [feature.name for feature in table.features]
    for end in ("\n", ",extra\n"):
        line = ",".join("1.5" if f.kind == "numeric" else level for f in table.features)
        x, sent = decoders.csv.read((",".join(names) + end + line + end).encode())

        assert x.tolist() == [[1.5 if f.kind == "numeric" else 0.0 for f in table.features]]
        assert write(decoders, x, sent).splitlines()[1].startswith(line.encode())


def test_the_answer_is_written_as_the_file_was(tmp_path):
    _, decoders, body = opened(tmp_path, *WRITTEN["decimal commas"][:1])
    x, sent = decoders.csv.read(body)
    header, first = list(csv.reader(write(decoders, x, sent).decode().splitlines(), delimiter=";"))[:2]

    assert header == ["x", "g", "y", "predicted_y", "label", "probability", "logit", "stable", "model", "version"]
    assert first == ["20,5", "north", "1", "true", "yes", "0,0025", "0,25", "", "m", "1"]


@pytest.mark.parametrize(
    ("kind", "body", "said"),
    [
        ("a unit", "x,g\n62.9 g,north\n", "expected a number$"),
        ("a unit", "x,g\n1.629 g,north\n", "expected a number$"),
        ("semicolons", 'x,g\n"1,629",north\n', "expected a number with a decimal point$"),
        (
            "quoted decimal commas",
            'x,g\n"1,5",north\n1.5,north\n',
            "line 3, x: expected a number with a decimal comma$",
        ),
        ("thousands", 'x,g\n"1,5",north\n', "expected a number with a decimal point$"),
        ("decimal commas", "x;g\n62.9;north\n", "expected a number with a decimal comma$"),
        ("decimal commas", "x;h\n62,9;north\n", "the header doesn't name"),
        ("a title", "\n\nx,h\n62.9,north\n", "line 3, g: missing"),
        ("a word of one's own", "x,g\n1,999\n", r"line 2, g: may not be empty: .* --missing g=most-frequent to allow"),
    ],
    ids=[
        "another unit",
        "another unit and three decimals",
        "thousands that training lacked",
        "both marks",
        "a decimal comma",
        "another decimal mark",
        "names",
        "lines",
        "missing",
    ],
)
def test_what_the_training_file_had_not_is_refused(tmp_path, kind, body, said):
    _, decoders, _ = opened(tmp_path, WRITTEN[kind][0], **WRITTEN[kind][1])
    with pytest.raises(InvalidInstance) as refused:
        decoders.csv.read(body.encode())
    with pytest.raises(AssertionError, match=said):
        raise AssertionError(refused.value.text)


def test_a_row_without_values_is_no_rule(tmp_path):
    _, decoders, _ = opened(tmp_path, WRITTEN["Markdown"][0])
    faults = {}
    x, _ = decoders.csv.read(b"x,g\n---,:-:\n1,north\n-,-\n-,\n", faults)

    assert x.tolist() == [[1, 1]]
    assert {row: fault.partition(":")[0] for row, fault in faults.items()} == {1: "x", 2: "x"}


def test_a_file_in_neither_encoding_is_refused(tmp_path):
    _, decoders, _ = opened(tmp_path, WRITTEN["Windows-1252"][0])
    with pytest.raises(MalformedBody, match="not CSV in UTF-8 or windows-1252"):
        decoders.csv.read(b"x,g\n1,\x81\n")


@pytest.mark.parametrize("separator", [",", ";"])
def test_rows_that_are_wrong_carry_their_error_and_the_others_are_answered(tmp_path, separator):
    _, decoders, _ = opened(tmp_path, text(separator=separator))
    lines = ["id,x,g", "1,20.5,north", "2,,mars", "3,1,south", "4,1", "5,2,east"]
    faults = {}
    x, sent = decoders.csv.read("\n".join(lines).replace(",", separator).encode(), faults)
    header, *rows = csv.reader(write(decoders, x, sent, faults).decode().splitlines(), delimiter=separator)

    assert x.tolist() == [[20.5, 1], [1, 2], [2, 0]]
    assert sorted(faults) == [1, 3]
    assert [header[3], header[-1]] == ["y", "error"]
    assert [row[:3] for row in rows] == [(line + ",").split(",")[:3] for line in lines[1:]]
    assert [bool(row[4]) for row in rows] == [True, False, True, False, True]
    assert rows[1][-1].startswith("x: may not be empty: no training row lacked it; train with --missing x=mean")
    assert rows[1][-1].endswith("; g: not one of the levels: east, north, south")
    assert rows[3][-1] == "2 cells where the header has 3"
    assert {len(row) for row in rows} == {len(header)}


def test_a_table_that_is_right_has_an_empty_column_of_errors(tmp_path):
    _, decoders, _ = opened(tmp_path, text())
    faults = {}
    x, sent = decoders.csv.read(b"x,g\n1,north\n", faults)

    assert faults == {}
    assert write(decoders, x, sent, faults).splitlines()[1].endswith(b",m,1,")


def test_json_rows_that_are_wrong_are_left_out(tmp_path):
    _, decoders, _ = opened(tmp_path, text())
    body = b'[{"x": 1, "g": "north"}, {"x": "1", "g": null}, 7, {"x": 2, "g": "east"}]'
    faults, none = {}, {}
    x, single, unseen = decoders.json.read_some(body, faults)

    assert (x.tolist(), single, unseen) == ([[1, 1], [2, 0]], False, None)
    assert faults[1].startswith("x: expected a number, got a string; g: may not be null: no training row lacked it")
    assert faults[2] == "expected an object, got a number"
    decoders.json.read_some(b'[{"x": 1, "g": "north"}]', none)
    assert none == {}
    with pytest.raises(InvalidInstance):
        decoders.json.read_some(b'{"x": "1", "g": "north"}', none)


def test_a_date_is_read_as_its_parts_in_every_format(tmp_path):
    _, decoders, _ = opened(tmp_path, WRITTEN["dates"][0], **WRITTEN["dates"][1])
    row = [2024, 2, 4, 1520, 1]

    assert decoders.csv.read(b"x,g\n2024-02-29,north\n")[0].tolist() == [row]
    assert decoders.json.read(b'{"x": "2024-02-29T12:00:00Z", "g": "north"}') == row
    assert decoders.json.read(b'[{"x": "2024-02-29", "g": "north"}]').tolist() == [row]
    parts = b'{"x.year":2024,"x.month":2,"x.weekday":4,"x.days-since-2020-01-01":1520,"g":"north"}'
    assert decoders.json.read(parts) == row
    for given in (b'"2024-02-29"', b"20240229", b"20240229.0"):
        array = b'[["north", %b]]' % given
        assert decoders.json.read_arrays(array, ["g", "x"], "$").tolist() == [row]
        assert decoders.json.read_columns(b'{"g": ["north"], "x": [%b]}' % given, "$").tolist() == [row]
    assert matrix(decoders.columns, {"x": np.array([20240229]), "g": ["north"]}).tolist() == [row]
    with pytest.raises(InvalidInstance, match="wrong") as refused:
        decoders.json.read_arrays(b'[["north", "29.2.2024"], ["north"]]', ["g", "x"], "$")
    assert [one.pointer for one in refused.value.problems] == ["$[0].x.year", "$[1]"]
    for wrong, said in ((b'{"x": "29.2.2024", "g": "north"}', "expected a date"), (b'{"g": "north"}', "missing")):
        with pytest.raises(InvalidInstance) as refused:
            decoders.json.read(wrong)
        assert said in refused.value.problems[0].detail
    with pytest.raises(InvalidInstance, match="wrong") as refused:
        decoders.csv.read(b"x,g\n20240229x,north\n")
    assert refused.value.problems[0].pointer == "line 2, x.year"


@pytest.mark.parametrize("quote", ["", '"'], ids=["plain", "quoted"])
def test_a_date_in_the_place_of_its_part_is_read_as_that_part_with_quotes_or_without(tmp_path, quote):
    _, decoders, _ = opened(tmp_path, WRITTEN["dates"][0], dates={"x": ("year",)})

    assert decoders.csv.read(f"x.year,g\n20240229,{quote}north{quote}\n".encode())[0].tolist() == [[2024, 1]]


def test_an_unseen_level_is_other_where_rare_levels_were_pooled(tmp_path):
    table, decoders, _ = opened(tmp_path, with_x(lambda x: x).replace("east", "west", 3), rare=5)
    east, _, other, south = range(4)

    assert table.features[1].levels == ("east", "north", "other", "south")
    assert dict(table.pooled) == {"g": "other"}
    assert np.bincount(table.x[:, 1].astype(int))[other] == 3
    for body in (b"x,g\n1,mars\n1,west\n1,east\n", b'x,g\n1,"mars"\n1,west\n1,east\n'):
        x, sent = decoders.csv.read(body)
        assert x[:, 1].tolist() == [other, other, east]
        assert sent.unseen == [["g"], ["g"], []]
        assert [line.split(b",")[-1] for line in write(decoders, x, sent).splitlines()] == [b"unseen", b"g", b"g", b""]
    body = b'[{"x": 1, "g": "mars"}, {"x": 1, "g": "south"}]'
    assert decoders.json.read(body)[:, 1].tolist() == [other, south]
    assert decoders.json.read_some(body, {})[2] == [["g"], []]
    for body in (b'{"x": 1, "g": null}', b'{"x": 1, "g": true}'):
        with pytest.raises(InvalidInstance):
            decoders.json.read(body)
    with pytest.raises(InvalidInstance):
        decoders.csv.read(b"x,g\n1,\n")


def test_case_does_not_count_where_it_was_folded(tmp_path):
    _, decoders, _ = opened(tmp_path, text(), fold_case=True)

    assert decoders.csv.read(b"x,g\n1,NORTH\n2,South\n")[0][:, 1].tolist() == [1, 2]
    assert decoders.json.read(b'{"x": 1, "g": "East"}') == [1, 0]


@pytest.mark.parametrize(
    ("method", "sent"),
    [
        ("read", [b'{"x": 1, "g": "MARS"}']),
        ("read", [b'[{"x": 1, "g": "MARS"}]']),
        ("read_arrays", [b'[[1, "MARS"]]', ["x", "g"], "$"]),
        ("read_columns", [b'{"x": [1], "g": ["MARS"]}', "$"]),
    ],
    ids=["a row", "rows", "arrays", "columns"],
)
def test_an_unseen_level_is_refused_where_case_was_folded(tmp_path, method, sent):
    _, decoders, _ = opened(tmp_path, text(), fold_case=True)

    with pytest.raises(InvalidInstance, match="wrong") as refused:
        getattr(decoders.json, method)(*sent)
    assert refused.value.problems[0].detail == "not one of the levels: east, north, south"


def test_the_full_decoder_refuses_an_unseen_level_of_one_row_where_case_was_folded(tmp_path):
    _, decoders, _ = opened(tmp_path, text(), fold_case=True)

    assert decoders.json.only_row(b'{"instances": [[1, "EAST"]]}', ("instances",)) == [1, 0]
    assert decoders.json.only_row(b'{"instances": [[1, "MARS"]]}', ("instances",)) is None
