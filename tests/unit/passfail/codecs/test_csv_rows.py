"""CSV that is read in columns has the bits of CSV that is read cell by cell.

So has the table that goes back.
"""

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from passfail.codecs import Codecs
from passfail.codecs.answers import Answers
from passfail.errors import RequestError
from passfail.manifest import decode

PLAIN = ["700", "-3.5", "1e5", "0", "-0.0", "12345678901234567890", "5e-324", "1.7976931348623157e308", " 2", "3\t"]
OTHERWISE = [
    "+1",
    ".5",
    "1.",
    "007",
    "",
    "NA",
    "null",
    " ",
    "1e999",
    "nan",
    "true",
    "[1",
    "1]",
    "x",
    '"4"',
    '"1',
    "1 2",
]
LEVELS = ["1", "2", " 3", "4", "9", "", "x", '"2"']


@pytest.fixture(scope="module")
def decoders(models):
    """Decoders of two models, with missing cells allowed and without.

    The admissions have two numbers and a category, hours has one number.
    """
    manifest, hours = (decode((models / n / "1" / "manifest.json").read_bytes()) for n in ("admissions", "hours"))
    nullable, hour = (
        [msgspec.structs.replace(f, fill=1.0, missing="mean") for f in one.features] for one in (manifest, hours)
    )
    others = [msgspec.structs.replace(manifest, features=features) for features in (nullable, manifest.features[:2])]
    return [Codecs(one, 50) for one in (manifest, *others, hours, msgspec.structs.replace(hours, features=hour))]


def test_each_column_that_goes_back_has_a_name_of_its_own(models):
    manifest = decode((models / "hours" / "1" / "manifest.json").read_bytes())
    (hours,) = manifest.features
    feature, target = (
        msgspec.structs.replace(hours, name="probability"),
        msgspec.structs.replace(manifest.target, name="predicted_probability"),
    )
    decoder = Codecs(msgspec.structs.replace(manifest, features=[feature], target=target), 50)
    x, sent = decoder.csv.read(b"probability\n7\n")

    header = decoder.csv.write(sent, Answers(np.array([True]), x[:, 0], x[:, 0], None)).splitlines()[0].split(b",")
    assert header[:2] == [b"probability", b"predicted_probability"]
    assert len(set(header)) == len(header) == 8


@st.composite
def tables(draw, features):
    """Tables that are nearly right, and often wholly."""
    names = draw(st.permutations([feature.name for feature in features]))
    kinds = {"rank": st.sampled_from(LEVELS[:4] * 8 + LEVELS)}
    number = st.sampled_from(PLAIN * 8 + OTHERWISE)
    rows = draw(st.lists(st.tuples(*(kinds.get(name, number) for name in names)).map(list), max_size=6))
    if draw(st.integers(0, 9)) == 0 and rows:
        draw(st.sampled_from(rows)).append("1")
    end = draw(st.sampled_from(["\n", "\r\n"]))
    lines = [",".join(row) for row in [names, *rows]]
    return (
        end.join(lines) + draw(st.sampled_from(["", end, end + end])) + draw(st.sampled_from([""] * 9 + ["\r", "\0"]))
    )


def read(function, *arguments):
    try:
        return function(*arguments)
    except RequestError as error:
        return type(error), str(error), error.problems


@given(st.data())
@settings(max_examples=400)
def test_both_ways_of_reading_agree(decoders, data):
    decoder = data.draw(st.sampled_from(decoders))
    text = data.draw(tables(decoder.columns))
    found = read(decoder.csv.read, text.encode())
    careful = read(decoder.csv._careful, text.encode(), "utf-8", None)

    if isinstance(careful[0], type):
        assert found == careful
        return
    (x, sent), (expected, other) = found, careful
    assert x.flags.c_contiguous
    assert x.tobytes() == expected.tobytes()
    verdict, logit = np.arange(len(x)) % 2 == 0, np.arange(len(x)) / 3
    answers = [decoder.csv.write(one, Answers(verdict, logit, logit, None)) for one in (sent, other)]
    assert answers[0] == answers[1]
    assert answers[0].count(b"\n") == len(x) + 1


def test_a_single_cell_of_white_space_is_no_row_of_none(decoders):
    plain, _, numbers, hours, _ = decoders
    for decoder, text in ((hours, "hours\n "), (plain, "rank,gre,gpa\n2, ,3"), (numbers, "gre,gpa\n ,3")):
        with pytest.raises(RequestError, match="1 place is wrong"):
            decoder.csv.read(text.encode())


def test_an_empty_line_is_no_row(decoders):
    """The cells of a single column may be empty."""
    for decoder in decoders[-2:]:
        for text in (b"hours\n1\n\n", b"hours\n\n1\n", b"hours\n1\n\n1"):
            assert decoder.csv.read(text)[0].tolist() == [[1]] * text.count(b"1")


def test_plain_tables_are_read_in_columns(decoders, monkeypatch):
    """Else the two ways would agree because there is one."""
    for decoder in decoders:
        monkeypatch.setattr(decoder.csv, "_careful", lambda *body: 1 / 0)
    plain, nullable, numbers, hours, _ = decoders

    assert plain.csv.read(b"rank,gre,gpa\r\n2,700,3.5\n1,5e2,-0\n")[0].tolist() == [[700, 3.5, 1], [500, 0, 0]]
    assert np.isnan(nullable.csv.read(b"gre,gpa,rank\n,3.5,1")[0][0, 0])
    assert numbers.csv.read(b"\xef\xbb\xbfgpa,gre\n3.5,700\n")[0].tolist() == [[700, 3.5]]
    assert hours.csv.read(b"hours\n")[0].shape == (0, 1)


def test_a_long_table_is_taken_in_slices_in_order(models):
    decoder = Codecs(decode((models / "hours" / "1" / "manifest.json").read_bytes()), 100_000)
    body = ("hours\n" + "".join(f"{i}.5\n" for i in range(100_000))).encode()
    x, sent = decoder.csv.read(body)

    assert (x[:, 0] == np.arange(100_000) + 0.5).all()
    assert len(list(sent.slices())) > 3
    assert [line for lines in sent.slices() for line in lines] == body.split(b"\n")[1:-1]
    with pytest.raises(RequestError, match="more than 100000 rows"):
        decoder.csv.read(body + b"1\n")
