"""Request bodies to x, strictly, and answers to bodies: JSON here, CSV in table.py. Knows no Flask.

A row has exactly the model's features. A numeric one is a finite number; a categorical one is one of its levels, as
text or, where the level is a whole number, as that number; a nullable one may be null (JSON) or empty (CSV).
"""

import json
import math
import re
from collections import Counter
from itertools import chain, islice
from typing import Literal

import msgspec
import numpy as np

from passfail.codecs.csv_rows import Tables, chosen, floats
from passfail.errors import BodyTooLarge, InvalidInstance, MalformedBody, Problem


class Payload:
    """The decoder and encoder of one model's rows."""

    def __init__(self, manifest, max_rows):
        self.features = manifest.features
        self.max_rows = max_rows
        self.codes = [_codes(feature) for feature in self.features]
        self._nullable, self._categorical = any(feature.nullable for feature in self.features), any(self.codes)
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
        self._json = {
            said: b'{%b:%b,"label":%b,"probability":' % (text(verdict), text(said), text(manifest.target.labels[said]))
            for said in (False, True)
        }
        identity = b'"model":%b,"version":%d' % (text(manifest.name), manifest.version)
        self._json_stable = {sure: b',"stable":%b,%b' % (text(sure), identity) for sure in (True, False, None)}
        self.labels, self.identity = manifest.target.labels, (manifest.name, manifest.version)
        self.tables = Tables(self)

    def read_json(self, body):
        """bytes -> (n rows, whether the body was one object rather than an array of them).

        A row is its d numbers in the features' order: of a category the index of its level; None is missing. Raises
        MalformedBody, BodyTooLarge or InvalidInstance, the last naming the places that are wrong.
        """
        try:
            rows = self._rows.decode(body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            # Where the two decoders disagree, it is refused with as much as is known.
            raise self._fault(body) or MalformedBody("not JSON that this endpoint can read") from error
        single = not isinstance(rows, list)
        if single:
            rows = [rows]
        self.check_rows(len(rows))
        rows = [msgspec.structs.astuple(row) for row in rows]
        if self._says_twice(body, rows) and (error := self._fault(body)):
            raise error
        return self._coded(rows), single

    def matrix(self, rows):
        """Rows as `read_json` returns them -> x float64 (n, d)."""
        flat = list(chain.from_iterable(rows))  # several times faster to convert than the tuples
        x = np.array(flat, dtype=np.float64) if self._nullable else floats(flat)
        return x.reshape(len(rows), len(self.features))

    def decode_table(self, names, rows, place):
        """The columns' names and each row's JSON values, in that order -> x float64 (n, d); row i is f"{place}[{i}]".

        Raises BodyTooLarge, or InvalidInstance naming the places that are wrong.
        """
        self.check_rows(len(rows))
        self.check_names(names, "$.columns", "the columns are not the model's features")
        order = [names.index(feature.name) for feature in self.features]
        if error := self.invalid(self._cell_problems(rows, len(names), order, place)):
            raise error
        return self.matrix(self._coded([[row[at] for at in order] for row in rows]))

    def names_in(self, body):
        """The names in a JSON object, each as often as it is said. Raises MalformedBody."""
        return [name for name, _ in _parse(body)]

    def encode_json(self, verdict, logit, probability, stable, single, more=None):
        """The answers, as an array or, for a single row, an object: bytes.

        verdict, logit, probability, stable: as `Tables.write` takes them.
        more: {a name to add to each answer: its n values}.
        """
        # Joined from pieces, not encoded from objects: each answer is the same but for a few of them.
        pieces = [b',"logit":'] * (6 * len(logit))
        pieces[0::6] = chosen(self._json, verdict, len(logit))
        pieces[1::6] = _texts(probability)
        pieces[3::6] = _texts(logit)
        pieces[4::6] = chosen(self._json_stable, stable, len(logit))
        pieces[5::6] = _tails(more) if more else [b"},"] * len(logit)
        answers = b"".join(pieces)[:-1]
        return answers if single else b"[" + answers + b"]"

    def encode_row(self, verdict, logit, probability, stable):
        """The answer of a single row, from plain values: bytes, the same as `encode_json`'s."""
        text = msgspec.json.encode
        pieces = self._json[verdict], text(probability), b',"logit":', text(logit), self._json_stable[stable], b"}"
        return b"".join(pieces)

    def _coded(self, rows):
        """Rows of decoded values -> rows of numbers: a level becomes its index."""
        if not self._categorical:
            return rows
        return [
            [value if codes is None else codes[value] for value, codes in zip(row, self.codes, strict=True)]
            for row in rows
        ]

    def check_rows(self, n):
        if n > self.max_rows:
            raise BodyTooLarge(f"more than {self.max_rows} rows; send them in several requests")

    def check_names(self, names, place, said):
        """Raises InvalidInstance, which says so, where a table's columns are not exactly the features."""
        if problems := list(self._key_problems(names, place)):
            raise InvalidInstance(said, problems)

    def _says_twice(self, body, rows):
        """Whether some object may name a feature twice, of which msgspec would keep the last.

        A row of d features holds 2 d quotes for the names and 2 for each text; any more is a repeated name or an
        escaped quote, and then the slow decoder tells which.
        """
        texts = sum(isinstance(value, str) for row in rows for value in row) if self._categorical else 0
        return body.count(b'"') != 2 * (len(self.features) * len(rows) + texts)

    def _fault(self, body):
        """What is wrong with a body, as the slow decoder sees it: the error, or None."""
        return self.invalid(self._problems(_parse(body)))

    def invalid(self, problems):
        """The error that these places make, or None where there are none: no more are looked for than are named."""
        most = InvalidInstance.LIMIT
        found = list(islice(problems, most + 1))
        count = f"more than {most}" if len(found) > most else str(len(found))
        places = "place is" if len(found) == 1 else "places are"
        return InvalidInstance(f"{count} {places} wrong", found) if found else None

    def _problems(self, document):
        if isinstance(document, Pairs):
            yield from self._row_problems(document, "$")
        elif isinstance(document, list):
            self.check_rows(len(document))
            for index, row in enumerate(document):
                yield from self._row_problems(row, f"$[{index}]")
        else:
            yield Problem("$", f"expected an object or an array of objects, got {_kind(document)}")

    def _row_problems(self, row, place):
        if not isinstance(row, Pairs):
            yield Problem(place, f"expected an object, got {_kind(row)}")
            return
        yield from self._key_problems([name for name, _ in row], place)
        for name, value in row:
            if name in self._names and (problem := self._value_problem(place, self._names[name], value)):
                yield problem

    def _cell_problems(self, rows, width, order, place):
        for i, row in enumerate(rows):
            if len(row) != width:
                yield Problem(f"{place}[{i}]", f"{len(row)} values where there are {width} columns")
                continue
            for index, at in enumerate(order):
                if problem := self._value_problem(f"{place}[{i}]", index, row[at]):
                    yield problem

    def _key_problems(self, names, place):
        given = Counter(names)
        unknown = sum(count for name, count in given.items() if name not in self._names)
        if unknown:
            expected = ", ".join(self._names)
            yield Problem(place, f"{unknown} unknown name(s); the features are: {expected}")
        for feature in self._names:
            if given[feature] != 1:
                said = "given more than once" if given[feature] else "missing"
                yield Problem(f"{place}.{feature}" if place[0] == "$" else f"{place}, {feature}", said)

    def _value_problem(self, place, index, value):
        """What is wrong with one value of the row at that place, a Problem; or None."""
        feature, codes = self.features[index], self.codes[index]
        place, detail = f"{place}.{feature.name}", None
        if value is None:
            detail = None if feature.nullable else "may not be null"
        elif codes is None:
            detail = _number_problem(value)
        elif not isinstance(value, (str, int)) or isinstance(value, bool):
            detail = f"expected one of the levels, as a string: {', '.join(feature.levels)}; got {_kind(value)}"
        elif value not in codes:
            return Problem.unseen_level(place, feature)
        return detail and Problem(place, detail)


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


def _tails(more):
    """{name: n values} -> what ends each of n answers, bytes."""
    rows = zip(*more.values(), strict=True)
    return [b"," + msgspec.json.encode(dict(zip(more, values, strict=True)))[1:] + b"," for values in rows]


def _texts(numbers):
    """float64 (n,) -> each as JSON, bytes: the shortest text that reads back as the same number."""
    return msgspec.json.encode(numbers.tolist())[1:-1].split(b",") if len(numbers) else []
