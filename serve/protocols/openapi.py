"""GET /openapi.json: what the service takes and answers, made from the loaded model (OpenAPI 3.1)."""

import csv
import io

from passfail.codecs import answers
from serve.http.auth import Door
from serve.telemetry.prometheus import CONTENT_TYPE as METRICS

VERSION = "3.1.0"
PROBLEM = "application/problem+json"


def document(served, config):
    """The description of the service, plain values: its columns, levels, training ranges, examples that run."""
    manifest = served.model.manifest
    title = f"{manifest.name}: {manifest.target.labels[1]} or {manifest.target.labels[0]}"
    locked = {"securitySchemes": {name: {"type": "http", "scheme": name} for name in KEYS}} if config.api_keys else {}
    return {
        "openapi": VERSION,
        "info": {
            "title": title,
            "version": str(manifest.version),
            "description": f"{manifest.target.name} is {manifest.target.values[1]}: {manifest.target.labels[1]}, above "
            f"a probability of {manifest.threshold}. Trained on {manifest.training.rows} rows.",
        },
        "paths": _paths(served, config),
        "components": {"schemas": _schemas(served, config), **locked},
    }


KEYS = ("bearer", "basic")  # how an API key is brought: serve/http/auth.py


def _paths(served, config):
    manifest = served.model.manifest
    name = {"name": "name", "in": "path", "required": True, "schema": {"const": manifest.name, "type": "string"}}
    version = {
        "name": "version", "in": "path", "required": True,
        "schema": {"type": "string", "pattern": "^[0-9]+$"}, "example": str(manifest.version),
    }  # fmt: skip
    flag = {"type": "string", "enum": ["true", "false"]}
    asked = [{"name": what, "in": "query", "schema": flag, "description": about} for what, about in (
        ("explain", "what each feature contributes, and what would change the verdict"),
        ("evidence", "the calibration bin that the probability falls in"),
        ("watch", "false: the rows are no traffic; the metrics of rows and the drift leave them out"),
    )]  # fmt: skip
    one = next(example.instance for example in manifest.examples)
    rows = {
        "application/json": {
            "schema": {"oneOf": [_ref("Row"), {"type": "array", "items": _ref("Row"), "maxItems": config.max_rows}]},
            "examples": {"one": {"value": one}, "several": {"value": [e.instance for e in manifest.examples]}},
        }
    }
    table = {"text/csv": {"schema": {"type": "string"}, "example": _csv(manifest, one)}}
    answer = {"application/json": {"schema": {"oneOf": [_ref("Answer"), {"type": "array", "items": _ref("Answer")}]}}}
    tensors = {"application/json": {"schema": _ref("Inference"), "example": _inference(manifest, one)}}
    inferred = {"application/json": {"schema": _ref("Inferred")}}
    scored = {"application/json": {"schema": _ref("Predictions")}}
    invoked = {"application/json": {"schema": _ref("Invocation"), "example": {"instances": [one]}}, **table}
    refusals, v2, mlflow, vertex = (_refusals(*shape) for shape in SHAPES)
    absent = {404: v2[404]}
    ready = {"application/json": {"schema": {"type": "object", "required": ["ready"]}}}
    leaving = {503: {"description": "Not ready: the process is about to stop", "content": ready}}
    paths = {
        "/predict": {"post": _post("Verdicts on rows", {**rows, **table}, {**answer, **table}, refusals, asked)},
        "/explain": {"post": _post("Verdicts, and why", rows, answer, refusals, asked)},
        "/model": {"get": _get("The manifest: features, parameters, metrics, certificate", _json())},
        "/health/live": {"get": _get("Whether the process answers", _json())},
        "/health/ready": {"get": _get("Whether the model answers, and what was refused", ready, (), leaving)},
        "/drift": {"get": _get("How far the rows of the last hours are from the training's", _json())},
        "/metrics": {"get": _get("For Prometheus", {METRICS: {"schema": {"type": "string"}}})},
        "/openapi.json": {"get": _get("This description", _json())},
        "/v2": {"get": _get("Open Inference Protocol: the server", _json())},
        "/v2/health/live": {"get": _get("Open Inference Protocol: alive", _json())},
        "/v2/health/ready": {"get": _get("Open Inference Protocol: ready", ready, (), leaving)},
        "/v2/repository/index": {"post": _post("Versions served, or refused", None, _json("array"), {})},
        "/invocations": {"post": _post("MLflow, SageMaker: predictions", invoked, scored, mlflow)},
        "/ping": {"get": _get("MLflow, SageMaker: alive", _json(), (), {503: leaving[503] | {"content": _json()}})},
        "/version": {
            "get": _get("MLflow: the version of its protocol", {"text/plain": {"schema": {"type": "string"}}})
        },
    }
    for prefix, where in (("", [name]), ("/versions/{version}", [name, version])):
        home = f"/v2/models/{{name}}{prefix}"
        paths[home] = {"get": _get("Open Inference Protocol: the signature", _json(), where, absent)}
        paths[f"{home}/ready"] = {"get": _get("Open Inference Protocol: ready", ready, where, absent | leaving)}
        paths[f"{home}/infer"] = {"post": _post("Open Inference Protocol: tensors", tensors, inferred, v2, where)}
    for what in ("load", "unload"):
        paths[f"/v2/repository/models/{{name}}/{what}"] = {
            "post": {"summary": "Always refused: what is served follows the repository", "parameters": [name],
                     "responses": {"409": {**v2[400], "description": "Refused"}}}
        }  # fmt: skip
    if config.vertex_predict:
        asked = {"application/json": {"schema": _ref("Prediction"), "example": {"instances": [one]}}}
        paths[config.vertex_predict] = {"post": _post("Vertex AI: predictions", asked, scored, vertex)}
    if config.vertex_health:
        paths.setdefault(config.vertex_health, {}).setdefault("get", _get("Vertex AI: alive", _json()))
    if config.metrics_port:
        del paths["/metrics"]
    if config.api_keys:
        _lock(paths, config)
    return paths


def _lock(paths, config):
    """Say of each operation that takes a key that it does, and what it answers without one."""
    door, others = Door(config), {"/invocations": 2, config.vertex_predict: 3}
    for path, methods in paths.items():
        media_type, schema, _ = SHAPES[others.get(path, 1 if path.startswith("/v2") else 0)]
        for operation in methods.values():
            if not door.admits(path, {}):
                operation["security"] = [{name: []} for name in KEYS]
                content = {media_type: {"schema": _ref(schema)}}
                operation["responses"]["401"] = {"description": "No API key, or an unknown one", "content": content}


# Of an error: its media type, its schema, its statuses; ours, the Open Inference Protocol's, MLflow's, Vertex AI's.
SHAPES = [
    (PROBLEM, "Problem", (400, 413, 415, 422, 503)),
    ("application/json", "Error", (400, 404, 413, 422, 503)),
    ("application/json", "MlflowError", (400, 413, 415, 422, 503)),
    ("application/json", "Error", (400, 413, 422, 503)),
]
REFUSALS = {
    400: "The body is not what this endpoint reads, or the query is unknown",
    404: "No such model or version",
    413: "More bytes or rows than one request may have",
    415: "Not a type that this endpoint reads",
    422: "The rows are not rows of this model",
    503: "More requests at a time than the service takes: ask again after Retry-After seconds",
}


def _refusals(media_type, schema, statuses):
    content = {media_type: {"schema": _ref(schema)}}
    return {status: {"description": REFUSALS[status], "content": content} for status in statuses}


def _ref(name):
    return {"$ref": f"#/components/schemas/{name}"}


def _json(kind="object"):
    return {"application/json": {"schema": {"type": kind}}}


def _get(summary, content, parameters=(), refusals=()):
    responses = {"200": {"description": "The answer", "content": content}}
    responses |= {str(status): found for status, found in dict(refusals).items()}
    return {"summary": summary, "parameters": list(parameters), "responses": responses}


def _post(summary, body, content, refusals, parameters=()):
    operation = _get(summary, content, parameters, refusals)
    return operation if body is None else {**operation, "requestBody": {"required": True, "content": body}}


def _schemas(served, config):
    manifest = served.model.manifest
    number, text = {"type": "number"}, {"type": "string"}
    verdict, *_ = fields = answers.names(manifest)
    return {
        "Row": {
            "type": "object",
            "properties": {feature.name: _value(feature, manifest.units) for feature in manifest.features},
            "required": [feature.name for feature in manifest.features],
            "additionalProperties": False,
        },
        "Answer": {
            "type": "object",
            "properties": {
                verdict: {"type": "boolean"},
                "label": {"enum": list(manifest.target.labels)},
                "probability": {"type": "number", "minimum": 0, "maximum": 1},
                "logit": number,
                "stable": {"type": ["boolean", "null"]},
                "model": {"const": manifest.name},
                "version": {"type": "integer"},
                "explanation": {"type": "object"},
                "evidence": {"type": ["object", "null"]},
            },
            "required": fields,
        },
        "Problem": {
            "type": "object",
            "properties": {
                "type": text, "title": text, "status": {"type": "integer"}, "detail": text,
                "errors": {"type": "array", "items": {"type": "object", "required": ["pointer", "detail"]}},
            },
            "required": ["type", "title", "status", "detail"],
        },
        "Error": {"type": "object", "properties": {"error": text}, "required": ["error"]},
        "MlflowError": {
            "type": "object",
            "properties": {"error_code": text, "message": text},
            "required": ["error_code", "message"],
        },
        "Inference": {
            "type": "object",
            "properties": {
                "id": {"type": ["string", "null"]},
                "model_name": {"enum": [manifest.name, None]},
                "parameters": {"type": "object"},
                "inputs": {"type": "array", "items": _ref("Tensor"), "minItems": 1},
                "outputs": {"type": ["array", "null"], "items": {"type": "object", "required": ["name"]}},
            },
            "required": ["inputs"],
            "additionalProperties": False,
        },
        "Tensor": {
            "type": "object",
            "properties": {
                "name": {"enum": list(dict.fromkeys([*(f.name for f in manifest.features), "x"]))},
                "shape": {"type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 1, "maxItems": 2},
                "datatype": text,
                "parameters": {"type": "object"},
                "data": {"type": "array"},
            },
            "required": ["name", "shape", "datatype"],
            "additionalProperties": False,
        },
        "Inferred": {"type": "object", "required": ["model_name", "model_version", "outputs"]},
        "Invocation": {"oneOf": [_only(name, schema) for name, schema in _tables(manifest)]},
        "Prediction": {
            "type": "object",
            "properties": {
                "instances": {"type": "array", "items": _ref("Row")}, "parameters": {"type": ["object", "null"]},
            },
            "required": ["instances"],
            "additionalProperties": False,
        },
        "Predictions": {
            "type": "object",
            "properties": {"predictions": {"type": "array", "items": _ref("Answer")}},
            "required": ["predictions"],
        },
    }  # fmt: skip


def _tables(manifest):
    """(name, schema) of each form that /invocations takes."""
    d = len(manifest.features)
    values = [_value(feature, manifest.units) for feature in manifest.features]
    cells = {"type": "array", "prefixItems": values, "minItems": d, "maxItems": d}
    names = [feature.name for feature in manifest.features]
    split = {
        "type": "object",
        "properties": {"columns": {"const": names}, "data": {"type": "array", "items": cells}},
        "required": ["columns", "data"],
        "additionalProperties": False,
    }
    rows = {"type": "array", "items": _ref("Row")}
    return [("dataframe_split", split), ("dataframe_records", rows), ("instances", rows), ("inputs", rows)]


def _only(name, schema):
    return {"type": "object", "properties": {name: schema}, "required": [name], "additionalProperties": False}


def _value(feature, units):
    """The schema of one feature's value; the range is of the training rows, which a request may leave."""
    if feature.kind == "categorical":
        levels = [*feature.levels, None] if feature.nullable else list(feature.levels)
        return {"enum": levels}
    kind, unit = ["number", "null"] if feature.nullable else "number", units.get(feature.name)
    said = " ".join(filter(None, [f"from {feature.minimum:g} to {feature.maximum:g}", unit, "in training"]))
    schema = {"type": kind, "description": said, "examples": [feature.minimum, feature.maximum]}
    return schema | ({"x-unit": unit} if unit else {})


def _csv(manifest, instance):
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([feature.name for feature in manifest.features])
    writer.writerow([instance[feature.name] for feature in manifest.features])
    return text.getvalue()


def _inference(manifest, instance):
    return {
        "inputs": [
            {"name": f.name, "shape": [1], "datatype": "FP64" if f.kind == "numeric" else "BYTES",
             "data": [instance[f.name]]}
            for f in manifest.features
        ]
    }  # fmt: skip
