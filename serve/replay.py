"""python -m serve replay request.json: repeats a past decision and compares the answers."""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from passfail.commandline import Parser
from passfail.errors import StartupError
from serve.http.messages import CSV, JSON, Request, completed
from serve.protocols.predict import predict
from serve.registry import Service
from serve.settings import Config

SAME, DIFFERENT, IMPOSSIBLE = 0, 1, 2
LISTED = 20
ASKED = {"explain=true": b'"explanation":', "evidence=true": b'"evidence":', "interval=true": b'"interval":'}


def main(arguments: Sequence[str]) -> int:
    """Return the exit status: SAME (also without --answer), DIFFERENT or IMPOSSIBLE."""
    parser = Parser(
        "python -m serve replay", description=__doc__.partition(": ")[2],
        examples=["python -m serve replay request.json --answer answer.json --version 3"],
    )  # fmt: skip
    parser.add_argument("request", type=Path, help="the request's body as it was sent: .json, or .csv")
    parser.add_argument("--answer", type=Path, help="the answer's body as it was received")
    parser.add_argument("--version", type=int, help="number of the version that answered (default: MODEL_VERSION)")
    parser.add_argument("--model", help="name of the model (MODEL_NAME)")
    options = parser.parse_args(arguments)
    try:
        body = options.request.read_bytes()
        past = None if options.answer is None else options.answer.read_bytes()
        named = {"model_name": options.model, "model_version": options.version}
        config = replace(Config.from_env(), shadow=None, **{k: v for k, v in named.items() if v is not None})
        answer = completed(predict(Service(config), _request(options.request, body, past)))
    except StartupError as error:
        return _say(IMPOSSIBLE, f"passfail can't replay: {error}")
    except OSError as error:
        return _say(IMPOSSIBLE, f"passfail can't replay: {error.filename}: {error.strerror}")
    sys.stdout.buffer.write(answer.body.rstrip(b"\n") + b"\n")
    for name, value in answer.fields:
        if name in ("X-Model-Digest", "X-Request-Digest"):
            print(f"{name}: {value}", file=sys.stderr)
    if answer.status != 200 and past is None:
        return _say(IMPOSSIBLE, "this model refuses the request")
    if past is None:
        return _say(SAME, "no --answer to compare with")
    if past.strip() == answer.body.strip():
        return _say(SAME, "the same, bit for bit")
    return _say(DIFFERENT, f"different: {', '.join(_differences(past, answer.body)) or 'only in formatting'}")


def _request(path: Path, body: bytes, past: bytes | None) -> Request:
    """The request, with the query parameters that the fields of the past answer imply."""
    if path.suffix == ".csv":
        return Request("/predict", "", {b"content-type": CSV.encode()}, body)
    asked = [query for query, mark in ASKED.items() if mark in (past or b"")]
    return Request("/predict", "&".join(asked), {b"content-type": JSON.encode()}, body)


def _differences(past: bytes, now: bytes) -> list[str]:
    """The places where two answers differ, at most LISTED of them."""
    before: Mapping[str, object]
    after: Mapping[str, object]
    try:
        before, after = (dict(_places(json.loads(text), "$")) for text in (past, now))
    except ValueError:
        before, after = ({f"line {at}": line for at, line in enumerate(text.splitlines(), 1)} for text in (past, now))
    missing = object()
    places = [place for place in before | after if before.get(place, missing) != after.get(place, missing)]
    return places[:LISTED]


def _places(document: object, place: str) -> Iterator[tuple[str, object]]:
    """(place, value) of each value in a JSON document."""
    if isinstance(document, dict):
        for name, value in document.items():
            yield from _places(value, f"{place}.{name}")
    elif isinstance(document, list):
        yield f"{place} length", len(document)
        for index, value in enumerate(document):
            yield from _places(value, f"{place}[{index}]")
    else:
        yield place, document


def _say(status: int, text: str) -> int:
    print(text, file=sys.stderr)
    return status
