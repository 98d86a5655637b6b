"""JSON to rows of numbers, strictly, and answers to JSON.

A row is an object with exactly the model's features. A fast decoder, a msgspec type made of the columns, reads it; what
that refuses, a slow one reads again, to say what is wrong and where.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from passfail.arrays import Bools, Floats, Row
from passfail.codecs import strict_json
from passfail.codecs.answers import chosen, names
from passfail.codecs.strict_json import Fields
from passfail.columns import Column, Columns, InvalidValue, invalid, kind
from passfail.errors import InvalidInstance, MalformedBody, Problem
from passfail.manifest import Manifest


class JsonRows:
    """The decoder and encoder of one model's rows in JSON."""

    def __init__(self, manifest: Manifest, columns: Columns) -> None:
        self._columns = columns
        self._codes = [column.codes for column in columns]
        fields = [(f"f{i}", column.json_type) for i, column in enumerate(columns)]
        rename = {f"f{i}": column.name for i, column in enumerate(columns)}
        row: Any = msgspec.defstruct("Row", fields, rename=rename, forbid_unknown_fields=True, frozen=True, gc=False)
        self._rows: msgspec.json.Decoder[msgspec.Struct | list[msgspec.Struct]]
        self._rows = msgspec.json.Decoder(row | list[row])

        texts = [text for column in columns for text in (column.name, *column.feature.levels)]
        self._most_braces = columns.max_rows * (1 + sum(text.count("{") for text in texts))
        # Of one row: escapes, numbers and white space included.
        self._most_characters = 65_536 + 16 * sum(32 + len(text) for text in texts)

        text, (verdict, *_) = msgspec.json.encode, names(manifest)
        self._verdicts: dict[bool | None, bytes] = {
            flag: b'{%b:%b,"label":%b,"probability":' % (text(verdict), text(flag), text(manifest.target.labels[flag]))
            for flag in (False, True)
        }
        identity = b'"model":%b,"version":%d' % (text(manifest.name), manifest.version)
        self._stables = {flag: b',"stable":%b,%b' % (text(flag), identity) for flag in (True, False, None)}

    def read(self, body: bytes) -> tuple[list[Row], bool]:
        """Decode a body: an object, or an array of them.

        Returns
        -------
        The rows, and whether the body was one object. A row is its d numbers in the features' order: of a category
        the index of its level; None is missing.

        Raises
        ------
        MalformedBody, BodyTooLarge, InvalidInstance : the last names the places that are wrong.
        """
        # Before anything is decoded, which takes the interpreter's lock: a row has a brace, and its texts have few.
        if body.count(b"{") > self._most_braces and body.lstrip()[:1] == b"[":
            self._columns.check_rows(self._columns.max_rows + 1)
        try:
            found = self._rows.decode(body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            # Where the two decoders disagree, it is refused with as much as is known.
            raise self._fault(body) or MalformedBody(strict_json.UNREADABLE) from error
        single = not isinstance(found, list)
        structs = found if isinstance(found, list) else [found]
        self._columns.check_rows(len(structs))
        rows = [msgspec.structs.astuple(struct) for struct in structs]
        if self._may_repeat(body, rows) and (fault := self._fault(body)):
            raise fault
        return self._numbers(rows), single

    def read_table(self, columns: Sequence[str], rows: Sequence[Sequence[object]], place: str) -> Floats:
        """Decode a table of JSON values.

        Parameters
        ----------
        columns : the columns' names, in any order.
        rows : each row's values, in that order; an error calls row i f"{place}[{i}]".

        Returns
        -------
        x, float64 (n, d).

        Raises
        ------
        BodyTooLarge, InvalidInstance : the latter names the places that are wrong.
        """
        self._columns.check_rows(len(rows))
        self._columns.check_names(columns, "$.columns", "the columns are not the model's features")
        order = self._columns.order(columns)
        if error := invalid(self._table_problems(rows, len(columns), order, place)):
            raise error
        return self._columns.matrix(self._numbers([[row[at] for at in order] for row in rows]))

    def write(
        self,
        verdict: Bools,
        logit: Floats,
        probability: Floats,
        stable: Bools | None,
        single: bool,
        more: Mapping[str, Sequence[object]] | None = None,
        outside: Sequence[Sequence[str]] | None = None,
    ) -> bytes:
        """Encode the answers: an array or, for a single row, an object.

        Parameters
        ----------
        verdict, logit, probability, stable : (n,) each; stable is None where it is not known.
        single : whether to write an object.
        more : {a field to add to each answer: its n values}.
        outside : n lists of features; each that has some is added to its answer.
        """
        # Joined from pieces, not encoded from objects: each answer is the same but for a few of them.
        n = len(logit)
        pieces = [b',"logit":'] * (6 * n)
        pieces[0::6] = chosen(self._verdicts, verdict, n)
        pieces[1::6] = _texts(probability)
        pieces[3::6] = _texts(logit)
        pieces[4::6] = chosen(self._stables, stable, n)
        ends = _ends(more) if more else [b"},"] * n
        pieces[5::6] = ends if outside is None else list(map(_with_outside, outside, ends))
        answers = b"".join(pieces)[:-1]
        return answers if single else b"[" + answers + b"]"

    def write_row(
        self, verdict: bool, logit: float, probability: float, stable: bool | None, outside: Sequence[str] = ()
    ) -> bytes:
        """Encode the answer to a single row, from plain values: the same bytes as those of `write`."""
        text, end = msgspec.json.encode, _with_outside(outside, b"}")
        pieces = self._verdicts[verdict], text(probability), b',"logit":', text(logit), self._stables[stable], end
        return b"".join(pieces)

    def problems(self, body: bytes) -> Iterator[Problem]:
        """What is wrong with a body, row by row, as the slow decoder finds it."""
        rows, single = strict_json.values(body, self._most_characters)
        for index, row in enumerate(rows):
            if single and not isinstance(row, Fields):
                yield Problem("$", f"expected an object or an array of objects, got {kind(row)}")
            else:
                self._columns.check_rows(index + 1)
                yield from self._row_problems(row, "$" if single else f"$[{index}]")

    def _numbers(self, rows: list[Any]) -> list[Row]:
        """Rows of decoded values -> rows of numbers: a level becomes its index."""
        if not self._columns.categorical:
            return rows
        return [
            [value if codes is None else codes[value] for value, codes in zip(row, self._codes, strict=True)]
            for row in rows
        ]

    def _may_repeat(self, body: bytes, rows: list[tuple[object, ...]]) -> bool:
        """Whether some object may hold a duplicate field, of which msgspec keeps the last value.

        A row of d features holds 2 d quotes for the names and 2 for each text; any more is a duplicate or an escaped
        quote, and then the slow decoder tells which.
        """
        texts = sum(isinstance(value, str) for row in rows for value in row) if self._columns.categorical else 0
        return body.count(b'"') != 2 * (len(self._columns) * len(rows) + texts)

    def _fault(self, body: bytes) -> InvalidInstance | None:
        return invalid(self.problems(body))

    def _row_problems(self, row: object, place: str) -> Iterator[Problem]:
        if not isinstance(row, Fields):
            yield Problem(place, f"expected an object, got {kind(row)}")
            return
        yield from self._columns.name_problems([name for name, _ in row], place)
        for name, value in row:
            if column := self._columns.by_name.get(name):
                yield from _value_problem(column, value, place)

    def _table_problems(
        self, rows: Sequence[Sequence[object]], width: int, order: Sequence[int], place: str
    ) -> Iterator[Problem]:
        for i, row in enumerate(rows):
            if len(row) != width:
                yield Problem(f"{place}[{i}]", f"{len(row)} values where there are {width} columns")
                continue
            for column, at in zip(self._columns, order, strict=True):
                yield from _value_problem(column, row[at], f"{place}[{i}]")


def _value_problem(column: Column, value: object, place: str) -> Iterator[Problem]:
    try:
        column.number(value)
    except InvalidValue as error:
        yield column.problem(f"{place}.{column.name}", error)


def _ends(more: Mapping[str, Sequence[object]]) -> list[bytes]:
    """{name: n values} -> what ends each of n answers."""
    rows = zip(*more.values(), strict=True)
    return [b"," + msgspec.json.encode(dict(zip(more, values, strict=True)))[1:] + b"," for values in rows]


def _with_outside(outside: Sequence[str], end: bytes) -> bytes:
    """The end of an answer, with the features outside the training range, if there are any."""
    return b',"outside":%b%b' % (msgspec.json.encode(outside), end) if outside else end


def _texts(numbers: Floats) -> list[bytes]:
    """float64 (n,) -> each as JSON: the shortest text that reads back as the same number."""
    return msgspec.json.encode(numbers.tolist())[1:-1].split(b",") if len(numbers) else []
