"""The page /docs: the operations of /openapi.json by protocol, with requests and responses."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from serve.http.messages import JSON
from serve.protocols import openapi
from serve.protocols.routes import Routes
from serve.registry import Service
from serve.web.code import requests

CHANGING = ("/metrics", "/stats", "/drift")  # each request changes their responses
LINES = 30  # of a response; the manifest has thousands
Ask = Callable[[str, str, str, str], str]


@dataclass(frozen=True)
class Body:
    """A kind of request body: an example, its request in three languages, and the response."""

    kind: str
    text: str
    code: dict[str, str]
    response: str


@dataclass(frozen=True)
class Operation:
    """A method and a path, as the page shows them.

    Attributes
    ----------
    path, url : the path with the names of its parameters, and the URL with their values.
    about : its description in OpenAPI.
    bodies : the kinds of request body; one with empty texts if there is no body.
    """

    id: str
    method: str
    path: str
    url: str
    about: dict[str, Any]
    bodies: list[Body]


def operations(api: dict[str, Any], address: str, ask: Ask) -> dict[str, list[Operation]]:
    """Group the operations of an OpenAPI document by their first tag.

    Parameters
    ----------
    address : the service's address, such as http://host.
    ask : (method, path, Content-Type or "", body) -> the response's text.
    """
    groups: dict[str, list[Operation]] = {}
    for path, methods in api["paths"].items():
        for method, about in methods.items():
            groups.setdefault(about["tags"][0], []).append(_operation(method.upper(), path, about, address, ask))
    return groups


def asking(service: Service, routes: Routes) -> Ask:
    """Make an Ask that a service answers without counting traffic; a long response is cut."""
    quiet = openapi.unobserved(service)

    def ask(method: str, path: str, kind: str, body: str) -> str:
        if path.endswith(CHANGING):
            return ""
        route = next(route for route in routes.at(path) if route.method == method)
        answer = openapi.asked(route, quiet, path, kind, body)
        text = answer.body.decode()
        if dict(answer.fields)["Content-Type"].endswith("json"):
            text = json.dumps(json.loads(text), indent=2, ensure_ascii=False)
        lines = text.splitlines()
        return "\n".join([*lines[:LINES], "..."] if len(lines) > LINES else lines)

    return ask


def _operation(method: str, path: str, about: dict[str, Any], address: str, ask: Ask) -> Operation:
    values = {one["name"]: one.get("example") or one["schema"]["const"] for one in about["parameters"]
              if one["in"] == "path"}  # fmt: skip
    place = re.sub(r"{(\w+)}", lambda name: str(values[name[1]]), path)
    url = address + place
    answers: dict[str, Any] = about["responses"].get("200", {}).get("content", {})
    first = next(iter(answers), JSON)
    sent: dict[str, Any] = about.get("requestBody", {}).get("content", {})
    bodies = []
    for kind, media in sent.items():
        text = _text(media)
        answered = kind if kind in answers else first
        bodies.append(Body(kind, text, requests(method, url, kind, text, answered), ask(method, place, kind, text)))
    bodies = bodies or [Body("", "", requests(method, url, answers=first), ask(method, place, "", ""))]
    return Operation(re.sub(r"\W+", "-", f"{method} {path}").strip("-").lower(), method, path, url, about, bodies)


def _text(media: dict[str, Any]) -> str:
    """The first example of a media type, as a body has it."""
    found = next(iter(media["examples"].values()))["value"]
    return found if isinstance(found, str) else json.dumps(found, ensure_ascii=False)
