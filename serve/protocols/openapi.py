"""GET /openapi.json: the service's description in OpenAPI 3.1, made from the loaded model."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from copy import copy
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import msgspec

from passfail.codecs import answers
from passfail.codecs.tensors import Inference
from passfail.manifest import Feature, Manifest
from serve.http.auth import METRICS
from serve.http.errors import MEANINGS
from serve.http.messages import JSON, Answer, Request, completed
from serve.protocols import mlflow, vertex
from serve.protocols.predict import FLAG, VALUES
from serve.protocols.table_formats import csv_text
from serve.registry import Served, Service
from serve.settings import Config

if TYPE_CHECKING:
    from serve.protocols.routes import Route

Schema = dict[str, Any]
Schemas = Mapping[object, Schema]

VERSION = "3.1.0"
REF = "#/components/schemas/{name}"
KEYS = ("bearer", "basic")  # the schemes of an API key: serve/http/auth.py
STATUSES = {
    400: "The body can't be read, or the query is unknown",
    401: "No API key, or an unknown one",
    404: "No such model or version",
    409: "Refused",
    406: "The Accept header names nothing that this endpoint can send",
    413: "More bytes or rows than one request may have",
    415: "Unsupported Content-Type",
    422: "A row doesn't fit the model's features",
    503: "The service is at capacity: retry after Retry-After seconds",
}
NOT_READY = "Not ready: the process is about to stop"


def document(service: Service, routes: Iterable[Route]) -> Schema:
    """Describe a service: its columns, levels and ranges, and examples of requests and answers."""
    config, manifest = service.config, service.served.model.manifest
    routes = [route for route in routes if route.endpoint and not (config.metrics_port and route.rule == METRICS)]
    models = _schemas(service.served, config)
    types = list({what for route in routes for what in (*route.takes.values(), *route.gives.values())} - models.keys())
    types += {route.shape.schema for route in routes}
    described, components = msgspec.json.schema_components(types, ref_template=REF)
    schemas = dict(zip(types, described, strict=True)) | {name: _ref(name) for name in models}
    quiet, examples = unobserved(service), _examples(manifest)
    paths: Schema = {}
    for route in routes:
        operation = _operation(route, quiet, schemas, examples)
        if config.api_keys and not route.probe:
            operation["security"] = [{name: []} for name in KEYS]
            operation["responses"]["401"] = _refusal(route, 401, schemas)
        paths.setdefault(re.sub(r"<(\w+)>", r"{\1}", route.rule), {})[route.method.lower()] = operation
    locked = {"securitySchemes": {name: {"type": "http", "scheme": name} for name in KEYS}} if config.api_keys else {}
    return {
        "openapi": VERSION,
        "info": {
            "title": f"{manifest.name}: {manifest.target.labels[1]} or {manifest.target.labels[0]}",
            "version": str(manifest.version),
            "description": f"{manifest.target.name} is {manifest.target.values[1]}: {manifest.target.labels[1]}, above "
            f"a probability of {manifest.threshold}. Trained on {manifest.training.rows} rows.",
        },
        "servers": [{"url": config.root_path or "/"}],
        "paths": paths,
        "components": {"schemas": models | dict(sorted(components.items())), **locked},
    }


def unobserved(service: Service) -> Service:
    """Copy a service: its answers are no traffic, and the shadow does not compare them."""
    quiet = copy(service)
    quiet.served, *kept = (replace(one, shadow=None, recorder=None) for one in (service.served, *service.kept.values()))
    quiet.kept = dict(zip(service.kept, kept, strict=True))
    return quiet


def _operation(route: Route, quiet: Service, schemas: Schemas, examples: Schemas) -> Schema:
    operation: Schema = {"tags": [route.shape.protocol], "summary": route.summary}
    operation["parameters"] = _parameters(route, quiet.served.model.manifest)
    if route.takes:
        content = {
            kind: {"schema": schemas[what], "examples": {name: {"value": one} for name, one in examples[what].items()}}
            for kind, what in route.takes.items()
        }
        operation["requestBody"] = {"required": True, "content": content}
    content = {kind: {"schema": schemas[what], **_answered(route, quiet, kind, examples)}
               for kind, what in route.gives.items()}  # fmt: skip
    operation["responses"] = {"200": {"description": "The answer", "content": content}} if route.gives else {}
    operation["responses"] |= {str(status): _refusal(route, status, schemas) for status in route.refusals}
    return operation


def _answered(route: Route, quiet: Service, kind: str, examples: Schemas) -> Schema:
    """The answer to the example of a request, as OpenAPI's `example`; {} if it has no schema."""
    if route.gives[kind] in ("Object", str) or "stats" in route.rule:  # each request changes the answer
        return {}
    manifest, body = quiet.served.model.manifest, ""
    sent = kind if kind in route.takes else next(iter(route.takes), "")
    if sent:
        example = next(iter(examples[route.takes[sent]].values()))
        body = example if isinstance(example, str) else json.dumps(example)
    path = route.rule.replace("<name>", manifest.name).replace("<version>", str(manifest.version))
    text = asked(route, quiet, path, sent, body, kind).body.decode()
    return {"example": json.loads(text) if kind == JSON else text}


def asked(route: Route, service: Service, path: str, sent: str, body: str, wanted: str = "") -> Answer:
    """The answer of a route to a body of the media type `sent`, or to none."""
    assert route.endpoint is not None
    request = Request(path, "", {b"content-type": sent.encode(), b"accept": wanted.encode()}, body.encode())
    return completed(route.endpoint(service, request, **(route.names_in(path) or {})))


def _refusal(route: Route, status: int, schemas: Schemas) -> Schema:
    if route.probe and status == 503:
        content = {kind: {"schema": schemas[what]} for kind, what in route.gives.items()}
        return {"description": NOT_READY, "content": content}
    title = next((title for code, title in MEANINGS.values() if code == status), "Refused")
    example = json.loads(route.shape(status, title, STATUSES[status]).body)
    content = {route.shape.media_type: {"schema": schemas[route.shape.schema], "example": example}}
    return {"description": STATUSES[status], "content": content}


def _parameters(route: Route, manifest: Manifest) -> list[Schema]:
    segments: dict[str, Schema] = {
        "name": {"schema": {"const": manifest.name, "type": "string"}},
        "version": {"schema": {"type": "string", "pattern": "^[0-9]+$"}, "example": str(manifest.version)},
    }
    path = [{"name": name, "in": "path", "required": True, **segments[name]}
            for name in re.findall(r"<(\w+)>", route.rule)]  # fmt: skip
    query = {name: {"type": "string", "enum": list(VALUES.get(name, FLAG))} for name in route.query}
    return path + [{"name": name, "in": "query", "description": about, "schema": query[name]}
                   for name, about in route.query.items()]  # fmt: skip


def _ref(name: str) -> Schema:
    return {"$ref": REF.format(name=name)}


def _examples(manifest: Manifest) -> dict[object, Schema]:
    """The examples of bodies, by schema and name; the service answers each with 200."""
    one, *_ = several = [example.instance for example in manifest.examples]
    names = [feature.name for feature in manifest.features]
    instances = {"one": {"instances": [one]}}
    return {
        "Rows": {"one": one, "several": several},
        "Table": {"one": csv_text([names, [one[name] for name in names]])},
        "Lines": {"several": "".join(f"{json.dumps(row)}\n" for row in several)},
        Inference: {"one": _inference(manifest, one)},
        mlflow.Invocation: instances,
        vertex.Prediction: instances,
    }


def _schemas(served: Served, config: Config) -> Schema:
    """The schemas that depend on the model."""
    manifest = served.model.manifest
    verdict, *_ = fields = answers.names(manifest)
    refused: Schema = {"type": "object", "properties": {"error": {"type": "string"}}, "required": ["error"]}
    dated = {f"{name}.{part}" for name, dates in manifest.dates.items() for part in dates.parts}
    return {
        "Row": {
            "type": "object",
            "properties": {feature.name: _value(feature, manifest) for feature in manifest.features}
            | {name: {"type": "string", "description": "a date: 2024-05-31"} for name in manifest.dates},
            "required": [feature.name for feature in manifest.features if feature.name not in dated],
            "additionalProperties": False,
        },
        "Answer": {
            "type": "object",
            "properties": {
                verdict: {"type": "boolean"},
                "label": {"enum": list(manifest.target.labels)},
                "probability": {"type": "number", "minimum": 0, "maximum": 1},
                "logit": {"type": "number"},
                "stable": {"type": ["boolean", "null"]},
                "model": {"const": manifest.name},
                "version": {"type": "integer"},
                "outside": {"type": "array", "items": {"enum": [f.name for f in manifest.features]}},
                "interval": {
                    "type": "object",
                    "properties": {"low": {"type": "number"}, "high": {"type": "number"}, "method": {"enum": ["wald"]}},
                },
                "explanation": {"type": "object", "additionalProperties": {}},
                "evidence": {"type": ["object", "null"], "additionalProperties": {}},
                "extra": {"type": "object", "additionalProperties": {}},
                **({"unseen": {"type": "array", "items": {"enum": list(manifest.pooled)}}} if manifest.pooled else {}),
            },
            "required": fields,
        },
        "Rows": {"oneOf": [_ref("Row"), {"type": "array", "items": _ref("Row"), "maxItems": config.max_rows}]},
        "Object": {"type": "object", "additionalProperties": {}},
        "Table": {"type": "string", "minLength": 1},
        "Lines": {"type": "string", "description": "JSON lines: each line is a row, or the answer to one"},
        # The third includes the second, which gives generated clients a type for answers without errors.
        "Answers": {"anyOf": [
            _ref("Answer"),
            {"type": "array", "items": _ref("Answer")},
            {"type": "array", "items": {"anyOf": [_ref("Answer"), refused]}},
        ]},
    }  # fmt: skip


def _value(feature: Feature, manifest: Manifest) -> Schema:
    """The schema of one feature's value; a value may lie outside the training range."""
    if feature.kind == "categorical":
        if feature.name in manifest.pooled:
            levels = {"type": ["string", "null"] if feature.nullable else "string", "examples": list(feature.levels)}
            return levels | {"description": f"any other text is {manifest.pooled[feature.name]}"}
        return {"enum": [*feature.levels, None] if feature.nullable else list(feature.levels)}
    kind, unit = ["number", "null"] if feature.nullable else "number", manifest.units.get(feature.name)
    said = " ".join(filter(None, [f"from {feature.minimum:g} to {feature.maximum:g}", unit, "in training"]))
    schema = {"type": kind, "description": said, "examples": [feature.minimum, feature.maximum]}
    return schema | ({"x-unit": unit} if unit else {})


def _inference(manifest: Manifest, instance: Mapping[str, object]) -> Schema:
    return {
        "inputs": [
            {"name": f.name, "shape": [1], "datatype": "FP64" if f.kind == "numeric" else "BYTES",
             "data": [instance[f.name]]}
            for f in manifest.features
        ]
    }  # fmt: skip
