"""The codec of rows in JSON: strict decoding to numbers, and answers to JSON.

A row is an object with exactly the model's features, or an array of their values. A fast decoder, a msgspec type made
from the columns, reads rows a slice at a time. If it refuses a slice, a slow decoder reads the slice again and names
the faults and their places.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache, partial
from itertools import chain, islice
from operator import add
from typing import Any, Literal

import msgspec
import numpy as np
from msgspec import UNSET, UnsetType

from passfail.arrays import Floats, Row
from passfail.codecs import strict_json
from passfail.codecs.answers import Answers, chosen, names
from passfail.codecs.strict_json import FAULTS, UNREADABLE, WHITE, Fields, is_array
from passfail.columns import Columns, InvalidValue, invalid, kind, wrong
from passfail.errors import InvalidInstance, MalformedBody, Problem, of_a_row
from passfail.manifest import Manifest

Unseen = Sequence[Sequence[str]] | None  # of each row, as `Columns.unseen`
Faults = dict[int, str] | None
Start = tuple[int, int]  # the byte of an array's element, and its index
Decode = Callable[[bytes, int], list[Any]]  # a piece of an array, and the index of its first row, to the rows
WRITTEN = 10_000  # answers encoded at a time
JOINED = 20_000  # cells joined at a time: a call for all would hold the interpreter's lock
RAWS, COLUMNS = msgspec.json.Decoder(list[msgspec.Raw]), msgspec.json.Decoder(dict[str, msgspec.Raw])


class JsonRows:
    """The decoder and encoder of one model's rows in JSON."""

    def __init__(self, manifest: Manifest, columns: Columns) -> None:
        self._columns = columns
        self._width = len(columns)
        self._codes = [(at, column.codes) for at, column in enumerate(columns) if column.codes is not None]
        fields = [(f"f{i}", column.json_type) for i, column in enumerate(columns)]
        rename = {f"f{i}": column.name for i, column in enumerate(columns)}
        row: Any = strict_json.struct("Row", fields, rename=rename)
        self._row: msgspec.json.Decoder[msgspec.Struct] = msgspec.json.Decoder(row)
        self._rows: msgspec.json.Decoder[list[msgspec.Struct]] = msgspec.json.Decoder(list[row])
        self._arrays, self._documents = lru_cache(8)(self._decode_arrays), lru_cache(8)(partial(self._document, row))

        texts = [text for column in columns for text in (column.name, *column.feature.levels)]
        self._most_braces = columns.max_rows * (1 + sum(text.count("{") for text in texts))
        # The limit of one row, with its escapes, numbers and white space.
        self._most_characters = 65_536 + 16 * sum(32 + len(text) for text in texts)

        text, (verdict, *_) = msgspec.json.encode, names(manifest)
        self._verdicts: dict[bool | None, bytes] = {
            flag: b'{%b:%b,"label":%b,"probability":' % (text(verdict), text(flag), text(manifest.target.labels[flag]))
            for flag in (False, True)
        }
        identity = b'"model":%b,"version":%d' % (text(manifest.name), manifest.version)
        self._stables = {flag: b',"stable":%b,%b' % (text(flag), identity) for flag in (True, False, None)}

    def read(self, body: bytes) -> Row | Floats:
        """Decode a body: an object, or an array of them.

        Returns
        -------
        For an object the row: d numbers in feature order, the level's index for a category, None for a missing value.
        For an array x, float64 (n, d).

        Raises
        ------
        MalformedBody, BodyTooLarge, InvalidInstance : the last names the places that are wrong.
        """
        if is_array(body):
            return self.read_objects(body)
        if self._columns.parts:
            return self.read_slowly(body)[0]
        try:
            if len(body) > self._most_characters < len(body.strip(WHITE)):
                raise ValueError
            row: list[Any] = list(msgspec.structs.astuple(self._row.decode(body)))
            texts = 0
            for at, codes in self._codes:
                texts += type(row[at]) is str
                row[at] = codes[row[at]]
            if self._may_repeat(body, 1, texts):
                self.read_slowly(body)
            return row
        except FAULTS as error:
            self.read_slowly(body)
            raise MalformedBody(UNREADABLE) from error

    def read_some(self, body: bytes, faults: Faults) -> tuple[Row | Floats, bool, Unseen]:
        """Decode a body as `read` does; `faults` takes the invalid objects of an array.

        Parameters
        ----------
        faults : filled with {row: its fault}; None: an invalid object is an error.

        Returns
        -------
        What `read` returns, or x (1, d) for an object if the model pools levels; whether the body was one object; and
        the features with an unseen level of each valid row, as `Columns.unseen`.
        """
        try:
            found = self.read(body)
            if not self._columns.pools:
                return found, not isinstance(found, np.ndarray), None
        except InvalidInstance:
            if faults is None or not is_array(body):
                raise
        rows = self.read_slowly(body, faults)
        return self._columns.matrix(rows), not is_array(body), self._columns.unseen(rows)

    def only_row(self, body: bytes, fields: tuple[str, ...]) -> Row | None:
        """Decode the only row of a document as most clients write it; None: any other document.

        Parameters
        ----------
        fields : one of them has the row, an object or an array in feature order; `dataframe_split` has a table.
        """
        if self._columns.parts or self._columns.pools or len(body) > self._most_characters:
            return None
        found: Any = strict_json.plain(self._documents(fields), body)
        given = [some for some in msgspec.structs.astuple(found) if some is not UNSET] if found else []
        if len(given) != 1:
            return None
        (row,) = given[0] if isinstance(given[0], tuple) else given[0].data
        with suppress(KeyError):  # an unknown level, if the column accepts other texts than its levels
            return self._numbers([msgspec.structs.astuple(row) if isinstance(row, msgspec.Struct) else row])
        return None

    def _document(self, row: Any, fields: tuple[str, ...]) -> msgspec.json.Decoder[msgspec.Struct]:
        """Make the decoder of documents with one row, a `row` or an array, in one of the fields."""
        names: Any = tuple[tuple(Literal[column.name] for column in self._columns)]  # type: ignore[misc]
        array: Any = tuple[tuple(column.json_type for column in self._columns)]  # type: ignore[misc]
        kinds: dict[str, Any] = dict.fromkeys(fields, tuple[row | array])
        if "dataframe_split" in kinds:
            index = "index", tuple[int] | UnsetType, UNSET
            kinds["dataframe_split"] = strict_json.struct("Split", [("columns", names), ("data", tuple[array]), index])
        optional = [(name, some | UnsetType, UNSET) for name, some in kinds.items()]
        return msgspec.json.Decoder(strict_json.struct("Document", optional))

    def read_slowly(
        self, body: bytes, faults: Faults = None, start: Start = (0, 0), names: Sequence[str] = (), place: str = "$"
    ) -> list[Row]:
        """Decode a body value by value, and name the faults.

        Parameters
        ----------
        faults : as `read_some` takes it.
        start : in an array, the byte at which to start, and the index of the row there.
        names : the columns' names, if each row is an array of their values.
        place : the body's place.

        Raises
        ------
        MalformedBody, BodyTooLarge, InvalidInstance : the last names the places that are wrong.
        """
        rows: list[Row] = []
        problems: list[Problem] = []
        for i, value in enumerate(strict_json.values(body, self._most_characters, start[0]), start[1]):
            self._columns.check_rows(i + 1)
            numbers: dict[str, float] = {}
            at = f"{place}[{i}]" if is_array(body) else place
            found = list(islice(self._problems(value, names, at, numbers), InvalidInstance.LIMIT + 1))
            if not found:
                rows.append([numbers[name] for name in self._columns.by_name])
            elif faults is not None:
                faults[i] = of_a_row(found[: InvalidInstance.LIMIT])
            else:
                problems += found
                if len(problems) > InvalidInstance.LIMIT:  # the error names no more
                    break
        if fault := invalid(problems):
            raise fault
        return rows

    def _problems(self, row: object, names: Sequence[str], place: str, found: dict[str, float]) -> Iterator[Problem]:
        """Find the faults of one row, and fill `found` with {feature: its number}."""
        if not isinstance(row, list) or isinstance(row, Fields) == bool(names):
            wanted = "an array" if names else "an object or an array of objects" if place == "$" else "an object"
            yield Problem(place, f"expected {wanted}, got {kind(row)}")
            return
        if names and len(row) != len(names):
            yield Problem(place, f"{len(row)} values where there are {len(names)} columns")
            return
        fields = list(zip(names, row, strict=True)) if names else row
        if not names:
            yield from self._columns.name_problems([name for name, _ in fields], place)
        for name, value in fields:
            for feature in self._columns.expanded([name]):
                if column := self._columns.by_name.get(feature):
                    try:
                        found[feature] = column.number(value)
                    except InvalidValue as error:
                        yield column.problem(f"{place}.{feature}", error)
                        break  # of a date, whose other parts have the same text

    def read_objects(self, array: bytes) -> Floats:
        """Decode an array of objects to x, as `read` does."""
        # Check before decoding: each row has one brace, and its texts have few.
        if array.count(b"{") > self._most_braces:
            self._columns.check_rows(self._columns.max_rows + 1)
        return self._matrix(array, self._decode_objects, partial(self.read_slowly, array, None))

    def read_arrays(self, array: bytes, columns: Sequence[str], place: str) -> Floats:
        """Decode an array of arrays.

        Parameters
        ----------
        columns : the columns' names, in any order.
        array : each row's values, in that order.
        place : the array's place; an error names row i as f"{place}[{i}]".

        Returns
        -------
        x, float64 (n, d).

        Raises
        ------
        MalformedBody, BodyTooLarge, InvalidInstance : the last names the places that are wrong.
        """
        self._columns.check_names(columns, "$.columns", "the columns are not the model's features")
        order = tuple(self._columns.order(columns))
        slowly = partial(self.read_slowly, array, None, names=columns, place=place)
        return self._matrix(array, self._arrays(order), slowly)

    def read_columns(self, text: bytes, place: str) -> Floats:
        """Decode an object with an array of values for each feature, as `read_arrays` does."""
        max_rows = self._columns.max_rows
        levels = "".join(level for column in self._columns for level in column.feature.levels)
        names = "".join(self._columns.by_name)
        for mark in "]:":  # a column has one of each, and its texts may have more
            most = 1000 + len(self._columns) + names.count(mark) + max_rows * levels.count(mark)
            if text.count(mark.encode()) > most:
                raise MalformedBody(UNREADABLE)
        try:
            sent = COLUMNS.decode(text)
        except FAULTS as error:
            raise MalformedBody(UNREADABLE) from error
        given = list(sent)
        if strict_json.may_repeat(text, sent):
            given = strict_json.field_names(text) if len(text) <= strict_json.SLICE else []
        self._columns.check_names(given, "$.columns", "the columns are not the model's features")
        for raw in sent.values():
            if bytes(raw).count(b",") > max_rows * (1 + levels.count(",")):
                self._columns.check_rows(max_rows + 1)
        rows = _transposed(list(sent.values()), place)
        return self.read_arrays(b"[[%b]]" % rows if rows else b"[]", list(sent), place)

    def pieces(self, found: Answers, more: Mapping[str, Sequence[object]] | None = None) -> Iterator[bytes]:
        """Encode the answers, in arrays of at most WRITTEN answers each.

        Parameters
        ----------
        found : the answers to n rows; each non-empty list of features outside is added to its answer.
        more : {field to add to each answer: its n values}.
        """
        for at in range(0, len(found.logit), WRITTEN):
            rows = slice(at, at + WRITTEN)
            n = len(found.logit[rows])
            ends = _ends({name: some[rows] for name, some in more.items()}) if more else [b"},"] * n
            # Join pieces instead of encoding objects: answers differ in few of the pieces.
            pieces = [b',"logit":'] * (6 * n)
            pieces[0::6] = chosen(self._verdicts, found.verdict[rows], n)
            pieces[1::6] = _texts(found.probability[rows])
            pieces[3::6] = _texts(found.logit[rows])
            pieces[4::6] = chosen(self._stables, None if found.stable is None else found.stable[rows], n)
            pieces[5::6] = ends if found.outside is None else list(map(add, map(_outside, found.outside[rows]), ends))
            yield b"[%b]" % b"".join(pieces)[:-1]

    def write_row(
        self, verdict: bool, logit: float, probability: float, stable: bool | None, outside: tuple[str, ...] = ()
    ) -> bytes:
        """Encode the answer to a single row, from plain values, with the same bytes as `pieces`."""
        text, end = msgspec.json.encode, _outside(outside) + b"}"
        pieces = self._verdicts[verdict], text(probability), b',"logit":', text(logit), self._stables[stable], end
        return b"".join(pieces)

    def _matrix(self, array: bytes, decode: Decode, slowly: Callable[[Start], list[Row]]) -> Floats:
        """Decode an array of rows, a piece at a time, to x, float64 (n, d).

        Parameters
        ----------
        decode : decodes a piece, given the index of its first row; raises FAULTS.
        slowly : the slow decoder, given its start; it raises the error that names the faults.
        """
        if self._columns.parts:
            return self._columns.matrix(slowly((0, 0)))
        parts, n, at = [], 0, 0
        try:
            for start, piece in strict_json.pieces(array, self._most_characters):
                at = start if n else 0
                rows = decode(piece, n)
                if n and not rows:  # behind the last comma
                    raise ValueError
                self._columns.check_rows(n + len(rows))
                parts.append(self._columns.shaped(self._numbers(rows)))
                n += len(rows)
        except FAULTS as error:
            slowly((at, n))
            raise MalformedBody(UNREADABLE) from error
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _decode_objects(self, piece: bytes, index: int) -> list[Any]:
        rows = list(map(msgspec.structs.astuple, self._rows.decode(piece)))
        texts = sum([type(row[at]) is str for at, _ in self._codes for row in rows])
        if self._may_repeat(piece, len(rows), texts):
            self.read_slowly(piece, None, (0, index))
        return rows

    def _decode_arrays(self, order: tuple[int, ...]) -> Decode:
        """Make a decoder of arrays whose features have that order."""
        types: list[Any] = [None] * len(order)
        for column, at in zip(self._columns, order, strict=True):
            types[at] = column.json_type
        decoder: msgspec.json.Decoder[list[Any]] = msgspec.json.Decoder(list[tuple[tuple(types)]])  # type: ignore[misc]
        if order == tuple(range(len(order))):
            return lambda piece, _: decoder.decode(piece)
        return lambda piece, _: [[row[at] for at in order] for row in decoder.decode(piece)]

    def _numbers(self, rows: list[Any]) -> list[float | None]:
        """The numbers of decoded rows, one row after the other: a level becomes its index."""
        numbers, d = list(chain.from_iterable(rows)), self._width
        for at, codes in self._codes:
            numbers[at::d] = map(codes.__getitem__, numbers[at::d])
        return numbers

    def _may_repeat(self, body: bytes, rows: int, texts: int) -> bool:
        """Whether one of the rows may have a duplicate field; msgspec would keep its last value.

        A row of d features has 2 d quotes for the names and 2 for each text. More quotes mean a duplicate field or an
        escaped quote; the slow decoder tells which.
        """
        return body.count(b'"') != 2 * (self._width * rows + texts)


def _transposed(arrays: list[msgspec.Raw], place: str) -> bytes:
    """The rows of columns, each an array, with `],[` between them.

    No call takes or frees all cells at once: see JOINED.
    """
    columns: list[list[msgspec.Raw]] = []
    try:
        for raw in arrays:
            columns.append(strict_json.decode(RAWS, raw))
        if len({len(values) for values in columns}) > 1:
            raise wrong(place, "the columns differ in their number of rows")
        n, step = len(columns[0]), max(1, JOINED // len(columns))
        slices = ([values[at : at + step] for values in columns] for at in range(0, n, step))
        return b"],[".join([b"],[".join(map(b",".join, zip(*some, strict=True))) for some in slices])
    finally:
        while columns:  # free them one by one
            columns.pop()


def _ends(more: Mapping[str, Sequence[object]]) -> list[bytes]:
    """The end of each of n answers, from {field: its n values}."""
    rows = zip(*more.values(), strict=True)
    return [b"," + msgspec.json.encode(dict(zip(more, values, strict=True)))[1:] + b"," for values in rows]


@lru_cache(256)  # many rows have the same features outside
def _outside(names: tuple[str, ...]) -> bytes:
    """The field of the features outside the training range; empty if there are none."""
    return b',"outside":%b' % msgspec.json.encode(names) if names else b""


def _texts(numbers: Floats) -> list[bytes]:
    """Write each float64 (n,) as JSON, in the shortest exact form."""
    return msgspec.json.encode(numbers.tolist())[1:-1].split(b",") if len(numbers) else []
