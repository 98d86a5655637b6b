"""The documentation page's view of /openapi.json: operations by protocol, each with requests that run."""

import json
import re
from dataclasses import dataclass
from typing import Any

from serve.web.code import JSON, requests


@dataclass(frozen=True)
class Body:
    """A kind of request body: an example, and the request with it in three languages."""

    kind: str
    text: str
    code: dict[str, str]


@dataclass(frozen=True)
class Operation:
    """A method and a path, as the page shows them.

    Attributes
    ----------
    path, url : the path with the names of its parameters, and the URL with their values.
    bodies : the kinds of request body; one with empty texts where there is none.
    responses : status -> what it means.
    example : an example of the response, or "".
    """

    id: str
    method: str
    path: str
    url: str
    summary: str
    query: list[dict[str, Any]]
    bodies: list[Body]
    responses: dict[str, str]
    example: str


def operations(api: dict[str, Any], address: str) -> dict[str, list[Operation]]:
    """Group the operations of an OpenAPI document by their first tag. address: of the service, such as http://host."""
    groups: dict[str, list[Operation]] = {}
    for path, methods in api["paths"].items():
        for method, about in methods.items():
            groups.setdefault(about["tags"][0], []).append(_operation(method.upper(), path, about, address))
    return groups


def _operation(method: str, path: str, about: dict[str, Any], address: str) -> Operation:
    values = {one["name"]: one.get("example") or one["schema"]["const"] for one in about["parameters"]
              if one["in"] == "path"}  # fmt: skip
    url = address + re.sub(r"{(\w+)}", lambda name: str(values[name[1]]), path)
    answers: dict[str, Any] = about["responses"].get("200", {}).get("content", {})
    first = next(iter(answers), JSON)
    sent: dict[str, Any] = about.get("requestBody", {}).get("content", {})
    bodies = []
    for kind, media in sent.items():
        text = _text(media)
        answered = kind if kind in answers else first
        bodies.append(Body(kind, text, requests(method, url, kind, text, answered)))
    return Operation(
        id=re.sub(r"\W+", "-", f"{method} {path}").strip("-").lower(),
        method=method,
        path=path,
        url=url,
        summary=about["summary"],
        query=[one for one in about["parameters"] if one["in"] == "query"],
        bodies=bodies or [Body("", "", requests(method, url, answers=first))],
        responses={status: response["description"] for status, response in about["responses"].items()},
        example=_text(answers[first]) if first in answers else "",
    )


def _text(media: dict[str, Any]) -> str:
    """The example of a media type as a body has it, or ""."""
    examples: list[dict[str, Any]] = list(media.get("examples", {}).values())
    found = media.get("example", examples[0]["value"] if examples else "")
    return found if isinstance(found, str) else json.dumps(found, ensure_ascii=False)
