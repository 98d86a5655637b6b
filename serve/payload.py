"""Request bodies to x, strictly, and answers to bodies. Knows no Flask.

A row has exactly the model's features. A numeric one is a finite number; a categorical one is one of its levels, as
text or, where the level is a whole number, as that number; a nullable one may be null (JSON) or empty (CSV).
"""

import csv
import io
import json
import math
import re
from itertools import chain
from typing import Literal

import msgspec
import numpy as np

from serve.errors import BodyTooLarge, InvalidInstance, MalformedBody, Problem
from serve.manifest import MISSING

WORDS = {True: "true", False: "false", None: ""}  # as CSV has them
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)


class Payload:
    """The decoder and encoder of one model's rows."""

    def __init__(self, manifest, max_rows):
        self.features = manifest.features
        self.max_rows = max_rows
        self.codes = [_codes(feature) for feature in self.features]
        self._names = {feature.name: index for index, feature in enumerate(self.features)}
        fields = [
            (f"f{i}", _type(f, codes)) for i, (f, codes) in enumerate(zip(self.features, self.codes, strict=True))
        ]
        rename = {f"f{i}": feature.name for i, feature in enumerate(self.features)}
        row = msgspec.defstruct("Row", fields, rename=rename, forbid_unknown_fields=True, frozen=True, gc=False)
        self._rows = msgspec.json.Decoder(row | list[row])

        fixed = ["label", "probability", "logit", "stable", "model", "version"]
        taken = {*fixed, "explanation", "evidence"}
        verdict = manifest.target.name if manifest.target.name not in taken else f"predicted_{manifest.target.name}"
        self.answer_names = [verdict, *fixed]
        text = msgspec.json.encode
        self._json = [
            b'{%b:%b,"label":%b,"probability":' % (text(verdict), said, text(label))
            for said, label in zip((b"false", b"true"), manifest.target.labels, strict=True)
        ]
        identity = b'"model":%b,"version":%d' % (text(manifest.name), manifest.version)
        self._json_stable = {sure: b',"stable":%b,%b' % (text(sure), identity) for sure in (True, False, None)}
        self._labels = manifest.target.labels
        self._identity = (manifest.name, manifest.version)

    def decode_json(self, body):
        """bytes -> (x float64 (n, d), whether the body was one object rather than an array of them).

        Raises MalformedBody, BodyTooLarge or InvalidInstance, the last naming every place that is wrong.
        """
        try:
            rows = self._rows.decode(body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise self._diagnose(body) from error
        single = not isinstance(rows, list)
        if single:
            rows = [rows]
        self._check_rows(len(rows))
        rows = [msgspec.structs.astuple(row) for row in rows]
        if self._says_twice(body, rows):
            raise self._diagnose(body)
        return self._numbers(rows), single

    def decode_table(self, names, rows, place):
        """The columns' names and each row's JSON values, in that order -> x float64 (n, d); row i is f"{place}[{i}]".

        Raises BodyTooLarge, or InvalidInstance naming every place that is wrong.
        """
        self._check_rows(len(rows))
        problems = self._key_problems(names, "$.columns")
        if problems:
            raise InvalidInstance("the columns are not the model's features", problems)
        order = [names.index(feature.name) for feature in self.features]
        for i, row in enumerate(rows):
            if len(row) != len(names):
                problems.append(Problem(f"{place}[{i}]", f"{len(row)} values where there are {len(names)} columns"))
                continue
            for index, at in enumerate(order):
                if problem := self._value_problem(f"{place}[{i}]", index, row[at]):
                    problems.append(problem)
        if problems:
            raise self._invalid(problems)
        return self._numbers([[row[at] for at in order] for row in rows])

    def decode_csv(self, body):
        """bytes, with a header line that names the features in any order -> (x float64 (n, d), the cells as sent).

        Raises as decode_json does; the cells are [header, *rows], each a list of text.
        """
        try:
            reader = csv.reader(io.StringIO(body.decode("utf-8-sig"), newline=""), strict=True)
            table = [(reader.line_num, row) for row in reader if row]
        except (UnicodeDecodeError, csv.Error) as error:
            raise MalformedBody(f"not CSV in UTF-8: {_reason(error)}") from error
        if not table:
            raise MalformedBody("an empty body; CSV needs a header line")
        header = [name.strip() for name in table[0][1]]
        rows = table[1:]
        self._check_rows(len(rows))
        problems = self._key_problems(header, "line 1")
        if problems:
            raise InvalidInstance("the header doesn't name the model's features", problems)
        order = [header.index(feature.name) for feature in self.features]
        values = []
        for line, row in rows:
            if len(row) != len(header):
                problems.append(Problem(f"line {line}", f"{len(row)} cells where the header has {len(header)}"))
                continue
            values.append([self._cell(i, row[at].strip(), line, problems) for i, at in enumerate(order)])
        if problems:
            raise self._invalid(problems)
        x = np.array(values, dtype=np.float64).reshape(len(values), len(self.features))
        return x, [header, *(row for _, row in rows)]

    def encode_json(self, verdict, logit, probability, stable, single, more=None):
        """The answers, as an array or, for a single row, an object: bytes.

        more: {a name to add to each answer: its n values}.
        """
        # Joined from pieces, not encoded from objects: each answer is the same but for a few of them.
        pieces = [b',"logit":'] * (6 * len(logit))
        pieces[0::6] = map(self._json.__getitem__, verdict.tolist())
        pieces[1::6] = _texts(probability)
        pieces[3::6] = _texts(logit)
        pieces[4::6] = map(self._json_stable.__getitem__, stable)
        pieces[5::6] = _tails(more) if more else [b"},"] * len(logit)
        answers = b"".join(pieces)[:-1]
        return answers if single else b"[" + answers + b"]"

    def encode_csv(self, verdict, logit, probability, stable, cells):
        """The cells as sent with the answer's columns added: bytes."""
        header, *rows = cells
        added = [name if name not in header else f"predicted_{name}" for name in self.answer_names]
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow([*header, *added])
        negative, positive = self._labels
        columns = verdict.tolist(), probability.tolist(), logit.tolist(), stable
        for row, passed, p, z, sure in zip(rows, *columns, strict=True):
            label = positive if passed else negative
            writer.writerow([*row, WORDS[passed], label, p, z, WORDS[sure], *self._identity])
        return text.getvalue().encode()

    def _numbers(self, rows):
        """Tuples of decoded values -> x: a level becomes its index, None becomes NaN."""
        if any(codes is not None for codes in self.codes):
            rows = [
                [value if codes is None else codes[value] for value, codes in zip(row, self.codes, strict=True)]
                for row in rows
            ]
        flat = list(chain.from_iterable(rows))  # several times faster to convert than the tuples
        return np.array(flat, dtype=np.float64).reshape(len(rows), len(self.features))

    def _check_rows(self, n):
        if n > self.max_rows:
            raise BodyTooLarge(f"more than {self.max_rows} rows; send them in several requests")

    def _says_twice(self, body, rows):
        """Whether some object may name a feature twice, of which msgspec would keep the last.

        A row of d features holds 2 d quotes for the names and 2 for each text; any more is a repeated name or an
        escaped quote, and then the slow decoder tells which.
        """
        texts = sum(isinstance(value, str) for row in rows for value in row) if any(self.codes) else 0
        if body.count(b'"') == 2 * (len(self.features) * len(rows) + texts):
            return False
        return bool(self._problems(_parse(body)))

    def _diagnose(self, body):
        """The error that names every place at fault in a body that the fast decoder refused."""
        problems = self._problems(_parse(body))
        if not problems:  # the two decoders disagree; refuse with as much as is known
            return MalformedBody("not JSON that this endpoint can read")
        return self._invalid(problems)

    def _invalid(self, problems):
        count = f"{len(problems)} places are" if len(problems) > 1 else "1 place is"
        return InvalidInstance(f"{count} wrong", problems)

    def _problems(self, document):
        if isinstance(document, Pairs):
            return self._row_problems(document, "$")
        if not isinstance(document, list):
            return [Problem("$", f"expected an object or an array of objects, got {_kind(document)}")]
        self._check_rows(len(document))
        problems = []
        for index, row in enumerate(document):
            if isinstance(row, Pairs):
                problems += self._row_problems(row, f"$[{index}]")
            else:
                problems.append(Problem(f"$[{index}]", f"expected an object, got {_kind(row)}"))
        return problems

    def _row_problems(self, pairs, place):
        problems = self._key_problems([name for name, _ in pairs], place)
        for name, value in pairs:
            if name in self._names and (problem := self._value_problem(place, self._names[name], value)):
                problems.append(problem)
        return problems

    def _key_problems(self, names, place):
        problems = []
        unknown = sum(name not in self._names for name in names)
        if unknown:
            expected = ", ".join(self._names)
            problems.append(Problem(place, f"{unknown} unknown name(s); the features are: {expected}"))
        for feature in self._names:
            if names.count(feature) != 1:
                said = "missing" if feature not in names else "given more than once"
                problems.append(Problem(f"{place}.{feature}" if place[0] == "$" else f"{place}, {feature}", said))
        return problems

    def _value_problem(self, place, index, value):
        """What is wrong with one value of the row at that place, a Problem; or None."""
        feature, codes = self.features[index], self.codes[index]
        place, detail = f"{place}.{feature.name}", None
        if value is None:
            detail = None if feature.nullable else "may not be null"
        elif codes is None:
            detail = _number_problem(value)
        elif not isinstance(value, (str, int)) or isinstance(value, bool):
            detail = f"expected one of the levels: {', '.join(feature.levels)}; got {_kind(value)}"
        elif value not in codes:
            return Problem.unseen_level(place, feature)
        return detail and Problem(place, detail)

    def _cell(self, index, text, line, problems):
        feature, codes = self.features[index], self.codes[index]
        place, detail = f"line {line}, {feature.name}", None
        if codes is not None and text in codes:
            return codes[text]
        if text in MISSING:
            detail = None if feature.nullable else "may not be empty"
        elif codes is not None:
            problems.append(Problem.unseen_level(place, feature))
        elif not NUMBER.fullmatch(text):
            detail = "expected a number"
        elif math.isfinite(value := float(text)):
            return value
        else:
            detail = "not a finite number"
        if detail:
            problems.append(Problem(place, detail))
        return math.nan


class Pairs(list):
    """A JSON object as its (name, value) pairs, so that a name said twice is seen."""


def _codes(feature):
    """{what a request may say: the index in x} for a categorical feature, None for a numeric one."""
    if feature.kind == "numeric":
        return None
    codes = {level: float(index) for index, level in enumerate(feature.levels)}
    whole = {int(level): code for level, code in codes.items() if re.fullmatch(r"0|-?[1-9]\d{0,17}", level)}
    return codes | whole | ({None: math.nan} if feature.nullable else {})


def _type(feature, codes):
    if codes is None:
        return float | None if feature.nullable else float
    return Literal[tuple(codes)]


def _parse(body):
    """JSON as json reads it, but strictly and with objects as Pairs. Raises MalformedBody."""
    try:
        return json.loads(
            body.decode("utf-8"),
            object_pairs_hook=Pairs,
            parse_constant=lambda name: float("nan"),  # NaN and Infinity: found again as "not a finite number"
            parse_int=lambda text: int(text) if len(text) < 400 else float("inf"),
        )
    except json.JSONDecodeError as error:
        raise MalformedBody(f"not JSON: {error.msg} at line {error.lineno}, column {error.colno}") from error
    except UnicodeDecodeError as error:
        raise MalformedBody("not JSON: not UTF-8") from error
    except RecursionError as error:
        raise MalformedBody("not JSON that this endpoint can read: nested too deep") from error


def _number_problem(value):
    """What is wrong with a JSON value where a number is due; or None."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return f"expected a number, got {_kind(value)}"
    try:
        finite = math.isfinite(value)
    except OverflowError:
        finite = False
    return None if finite else "not a finite number"


def _kind(value):
    names = {Pairs: "an object", list: "an array", str: "a string", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number")


def _reason(error):
    return "not UTF-8" if isinstance(error, UnicodeDecodeError) else str(error)


def _tails(more):
    """{name: n values} -> what ends each of n answers, bytes."""
    rows = zip(*more.values(), strict=True)
    return [b"," + msgspec.json.encode(dict(zip(more, values, strict=True)))[1:] + b"," for values in rows]


def _texts(numbers):
    """float64 (n,) -> each as JSON, bytes: the shortest text that reads back as the same number."""
    return msgspec.json.encode(numbers.tolist())[1:-1].split(b",") if len(numbers) else []
