"""Nearly right requests: the corpus with a value, a token or some bytes changed."""

import ast
import json
import re
from pathlib import Path

CORPUS = Path(__file__).parent / "corpus"
TOKENS = Path(__file__).parent / "tokens.dict"
TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"|-?\d[\d.eE+-]*|true|false|null|[][{}:,\n]|\w+')
NEW = [ast.literal_eval(f"b{line}") for line in TOKENS.read_text("ascii").splitlines() if line.startswith('"')]
NEW += [b"9" * 400, b"[" * 2000, b'{"a":' * 1500]
CELL = re.compile(rb'"(?:[^"]|"")*"|[^,\r\n]+')
CELLS = [
    b"",
    b"NA",
    b"nan",
    b"null",
    b'""',
    b'" "',
    b"1",
    b" 2 ",
    b'"3"',
    b"\t4",
    b"\xc2\xa01",
    b"\x0c2",
    b"2\x1f",
    b"03",
    b"+1",
]
CELLS += [
    b".5",
    b"5.",
    b"-0",
    b"-0.0",
    b"1E-5",
    b"1e3",
    b"1e+3",
    b"3.0",
    b"00",
    b"1_0",
    b"0x1",
    b"1e999",
    b"=1+1",
    b"-x",
    b"true",
]
CELLS += [
    b"[]",
    b"1]",
    b"[1",
    b"1:2",
    b'"1\n"',
    b'"1\r"',
    b"1\0",
    b"'1",
    b"\xef\xbc\x91",
    b"1" * 400,
    b"0." + b"3" * 400,
    b"1,2",
]
# JSON values: json.loads takes NaN, Infinity and numbers beyond float64, too, and json.dumps writes them.
VALUES = [
    b'"\\ud800"',
    b"1e400",
    b"9007199254740993",
    b"18446744073709551616",
    b"[[1],[2]]",
    b'{"x":1}',
    b'"1"',
    b'" 2"',
]
VALUES += [
    token
    for token in NEW
    if re.fullmatch(rb'"[!#-~]*"|-?(0|[1-9]\d*)(\.\d+)?(e-?\d+)?|null|true|false|\[\]|\{\}|NaN', token)
]


def seeds(decoder):
    """The files of a decoder, in order: [(the model that the file's name begins with, bytes)]."""
    return [(path.name.partition("-")[0], path.read_bytes()) for path in sorted((CORPUS / decoder).iterdir())]


def mutated(data, others, random):
    """One or more changes of a request; others: to take pieces from. random: a random.Random."""
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        data = random.choice(CHANGES)(data, others, random)
    return data


def _value(data, others, random):
    """Another value at one place of the JSON, which stays JSON; and so do the lengths around it."""
    line, head, rest = _parts(data)
    try:
        document = json.loads(head)
    except (ValueError, RecursionError):
        return _cell(data, others, random)
    holder, key = random.choice(list(_places([document])))
    kind = random.randrange(6)
    if kind == 0 and len(holder) > 1:
        del holder[key]
    elif kind == 1 and isinstance(holder, list):
        holder.insert(key, holder[random.randrange(len(holder))])
    elif kind == 1:
        holder[random.choice(("x", "data", "columns", "id", "5ecre7-"))] = holder[key]
    else:
        holder[key] = json.loads(random.choice(VALUES)) if kind > 2 else random.choice(list(_places([document])))[0]
    try:
        head = json.dumps(document, ensure_ascii=random.random() < 0.5).encode("utf-8", "surrogatepass")
    except ValueError:  # a value that holds itself
        return data
    if line is None:
        return head
    if rest and random.random() < 0.3:
        at = random.randrange(len(rest))
        rest = rest[:at] + bytes([random.randrange(256)]) + rest[at + 1 :]
    return (b"%d" % len(head) if line else b"") + b"\n" + head + rest


def _parts(data):
    """(the line with the length, or None; the JSON; the bytes behind it)."""
    line, found, body = data.partition(b"\n")
    if not found or not (line.isdigit() or line == b""):
        return None, data, b""
    size = int(line[:9] or len(body))
    return line, body[:size], body[size:]


def _places(document):
    """(an object or array, a key or index of it) of each value below."""
    for key, value in list(document.items() if isinstance(document, dict) else enumerate(document)):
        yield document, key
        if isinstance(value, (dict, list)):
            yield from _places(value)


def _cell(data, others, random):
    """Another text for one cell of a CSV: a number, a level, nothing, or an invalid one."""
    found = list(CELL.finditer(data))
    if len(found) < 2:
        return _token(data, others, random)
    start, end = random.choice(found[1:]).span()
    return data[:start] + random.choice(CELLS) + data[end:]


def _token(data, others, random):
    """Another token in the place of one."""
    found = list(TOKEN.finditer(data[:4000]))
    if not found:
        return random.choice(NEW)
    start, end = random.choice(found).span()
    return data[:start] + random.choice(NEW) + data[end:]


def _own(data, others, random):
    """One of its own tokens in the place of another, or twice, or gone."""
    found = list(TOKEN.finditer(data[:4000]))
    if not found:
        return data
    (start, end), (first, last) = random.choice(found).span(), random.choice(found).span()
    return data[:start] + random.choice((data[first:last], data[start:end] * 2, b"")) + data[end:]


def _bytes(data, others, random):
    at = random.randrange(len(data) + 1)
    new = random.choice((bytes([random.randrange(256)]), random.choice(NEW)))
    return data[:at] + new + data[at + random.randrange(2) :]


def _cut(data, others, random):
    start, end = sorted((random.randrange(len(data) + 1), random.randrange(len(data) + 1)))
    return data[:start] + data[end:] if random.random() < 0.5 else data[:end] + data[start:]


def _spliced(data, others, random):
    other = random.choice(others)
    return data[: random.randrange(len(data) + 1)] + other[random.randrange(len(other) + 1) :]


CHANGES = (_value, _value, _value, _value, _token, _token, _own, _bytes, _cut, _spliced)
