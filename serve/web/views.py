"""The page at /, which also answers without JavaScript; /docs, and the export's report."""

import json
import math
import re
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from pathlib import Path
from urllib.parse import urlencode

import numpy as np
from flask import Blueprint, Response, abort, current_app, render_template, request, send_from_directory

from passfail.arrays import Floats
from passfail.columns import Value, instance, invalid
from passfail.errors import IntegrityError, RequestError
from passfail.explain import Evidence, LevelFlip, ValueFlip, evidence, explain
from passfail.manifest import Feature, Manifest
from passfail.model import Model
from passfail.repository import read_file
from serve.http.messages import JSON
from serve.protocols import openapi
from serve.registry import Served, Service
from serve.telemetry.recorder import Recorder
from serve.web.code import requests
from serve.web.docs import asking, operations

FOLDER = Path(__file__).parent
# The browser may use the page's own scripts, styles and requests, and nothing else.
OWN = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
MODULE = "model.js"  # the export's script: the page computes answers with it while the service does not answer
# The report states its own policy: its styles, and one script, which it names by its digest.
POLICY = re.compile(rb'http-equiv="Content-Security-Policy" content="([^"]+)"')
ANSWERS = ("/", "/answer")  # these hold a row and its answer, so the browser must not cache them
FIRST = 8  # contributions and flips that the page shows unfolded
FORM_BYTES = 256 * 1024  # of the page's form: parsing it takes forty times as much memory
# With more levels, a feature gets a search instead of a list. With more features, the form gets one, and groups.
LEVELS, FEATURES = 15, 12
SLICE_ROWS = 5000  # rows of a table that the page sends at a time
QUANTILES = {"low": 0.1, "middle": 0.5, "high": 0.9}  # of the training rows: values of no single person
DIGITS = range(3, 17)  # significant digits of a suggested value: the fewest that still flip the verdict

PAGE = Blueprint("page", __name__, template_folder=FOLDER / "templates")


@dataclass(frozen=True)
class Flip:
    """A change of one feature that flips the verdict.

    Attributes
    ----------
    text : the feature and its value in words.
    value : the value as the form takes it, rounded to the side that flips.
    exact : the nearest value that flips, with all its digits; "" for a level.
    outside : whether the value lies outside the training range.
    change : the size of the change as a share of the training range; 1 for a level.
    """

    name: str
    text: str
    value: str
    exact: str = ""
    outside: bool = False
    change: float = 1.0


@dataclass(frozen=True)
class Shown:
    """A form's answer, as the page shows it.

    Attributes
    ----------
    row : the row as a request for /predict has it; code is that request in three languages.
    outside : the features whose value lies outside the training range.
    contributions : the largest first; largest is the largest absolute one, 1 if all are 0.
    flips : those within the training range first, the smallest change first.
    evidence : the held-out rows with a similar probability, counted for the answer's label.
    """

    row: dict[str, Value]
    code: dict[str, str]
    positive: bool
    probability: float
    outside: tuple[str, ...]
    contributions: list[tuple[str, float]]
    largest: float
    flips: list[Flip]
    evidence: Evidence | None


@PAGE.after_request
def _guard(response: Response) -> Response:
    response.headers.setdefault("Content-Security-Policy", OWN)
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Referrer-Policy"] = "no-referrer"  # the form's values are in the address
    response.headers["Cache-Control"] = "no-store" if request.path in ANSWERS else "no-cache"
    return response


@PAGE.get("/")
def index() -> Response:
    """The whole page; a query fills in the form, and its answer counts as traffic."""
    service = _service()
    recorder: Recorder = current_app.extensions["recorder"]
    manifest, columns = service.served.model.manifest, service.served.codecs.columns
    pairs = list(request.args.items(multi=True))
    return _answered(
        "index.html",
        pairs or list(_quantile(manifest, QUANTILES["middle"]).items()),
        traffic=bool(pairs),
        columns=list(dict.fromkeys(column.source or column.name for column in columns)),
        drift=recorder.drift.report(manifest),
        report="report.html" in manifest.files,
        module=MODULE in manifest.files,
        metrics=service.config.metrics_port is None,
        versions=sorted(service.kept),
        slice_rows=min(SLICE_ROWS, service.config.max_rows),
        slice_bytes=service.config.max_body_bytes,
    )


@PAGE.post("/answer")
def answer() -> Response:
    """The form and the answer alone, for page.js; ?watch=true counts the row as traffic."""
    if len(request.get_data()) > FORM_BYTES:  # Werkzeug's limits on forms do not cover this media type
        abort(413, f"the form has more than {FORM_BYTES} bytes")
    return _answered("one.html", list(request.form.items(multi=True)), request.args.get("watch") == "true")


@PAGE.get("/docs")
def docs() -> str:
    """GET /openapi.json for people."""
    service, routes = _service(), current_app.extensions["routes"]
    api, address = openapi.document(service, routes), _address()
    groups = operations(api, address, asking(service, routes))
    return render_template("docs.html", api=api, address=address, groups=groups)


@PAGE.get("/page/<name>")
def static(name: str) -> Response:
    """A script or style of the page, or the script of the export in service."""
    if name != MODULE:
        return send_from_directory(FOLDER / "static", name)
    found = _exported(_service().served.model.manifest, MODULE)
    return abort(404) if found is None else Response(found, content_type="text/javascript; charset=utf-8")


@PAGE.get("/report")
def report() -> Response:
    """The report of the export in service."""
    found = _exported(_service().served.model.manifest, "report.html")
    policy = POLICY.search(found or b"")
    if found is None or policy is None:
        abort(404)
    headers = {"Content-Security-Policy": f"{policy[1].decode()}; base-uri 'none'; frame-ancestors 'none'"}
    return Response(found, content_type="text/html; charset=utf-8", headers=headers)


def _service() -> Service:
    service: Service = current_app.extensions["service"]
    return service


def _address() -> str:
    """The service's address for its clients; a proxy's header says whether they use TLS."""
    said = request.headers.get("X-Forwarded-Proto")
    scheme = said if said in ("http", "https") else request.scheme
    return f"{scheme}://{request.host}{_service().config.root_path}"


def _answered(template: str, pairs: list[tuple[str, str]], traffic: bool, **more: object) -> Response:
    """Render a template with a form's (name, text) pairs, and their answer or their errors."""
    served = _service().served
    manifest = served.model.manifest
    shown, errors, general = None, {}, ""
    try:
        shown = _shown(served, pairs, traffic)
    except RequestError as error:
        errors = {problem.column: problem.detail for problem in error.problems}
        general = errors.pop("", "") if errors else str(error)  # of no field: shown at the answer
    values = dict(pairs)
    text = render_template(
        template,
        manifest=manifest,
        values=values,
        answer=shown,
        errors=errors,
        general=general,
        href=lambda changed: "./?" + urlencode(values | changed),
        first=FIRST,
        groups=_groups(manifest),
        searched=(LEVELS, FEATURES),
        quantiles={name: "./?" + urlencode(_quantile(manifest, share)) for name, share in QUANTILES.items()},
        **more,
    )
    return Response(text, 200 if shown else 422, content_type="text/html; charset=utf-8")


def _shown(served: Served, pairs: list[tuple[str, str]], traffic: bool) -> Shown:
    """Answer a form's (name, text) pairs, read as a row of CSV. Raises RequestError."""
    model, manifest, columns = served.model, served.model.manifest, served.codecs.columns
    names, cells = [name for name, _ in pairs], [text for _, text in pairs]
    columns.check_names(names, "line 1", "the form's fields are not the model's features")
    numbers, problems = served.codecs.csv.row("line 2", cells, len(cells), columns.order(names))
    if fault := invalid(problems):
        raise fault
    x = columns.matrix([numbers])
    found = served.predict(x, traffic=traffic)
    positive = bool(found.verdict[0])
    why = explain(model, x, found.logit)[0]
    parts = sorted((why["contributions"] or {}).items(), key=lambda part: -abs(part[1]))
    row = {name: _whole(value) for name, value in instance(manifest.features, x[0].tolist()).items()}
    flips = [one for column, flip in enumerate(why["flips"].values()) for one in _flips(model, x, column, flip)]
    return Shown(
        row,
        code=requests("POST", f"{_address()}/predict", JSON, json.dumps(row, ensure_ascii=False)),
        positive=positive,
        probability=float(found.probability[0]),
        outside=(found.outside or [()])[0],
        contributions=parts,
        largest=max((abs(part) for _, part in parts), default=0) or 1,
        flips=sorted(flips, key=lambda one: (one.outside, one.change)),
        evidence=_evidence(manifest, found.probability, positive),
    )


def _whole(value: Value) -> Value:
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < 1e15 else value


def _evidence(manifest: Manifest, probability: Floats, positive: bool) -> Evidence | None:
    """The calibration bin of the answer's probability, counted for the answer's label."""
    found = evidence(manifest.training.calibration, probability)[0]
    if found is None or positive:
        return found
    return found | {"positives": found["rows"] - found["positives"], "low": 1 - found["high"], "high": 1 - found["low"]}


def _flips(model: Model, x: Floats, column: int, flip: LevelFlip | ValueFlip) -> list[Flip]:
    """The suggestions for one feature of the row x (1, d)."""
    feature = model.manifest.features[column]
    if "levels" in flip:
        return [Flip(feature.name, f"{feature.name} {level}", level) for level in flip["levels"]]
    value = flip["value"]
    if value is None:
        return []
    here = x[0, column] if feature.fill is None or not np.isnan(x[0, column]) else feature.fill
    text = _rounded(model, x, column, value, up=value > here)
    bound = " " if value == here or model.manifest.parameters.hidden else f" at {'least' if value > here else 'most'} "
    unit = model.manifest.units.get(feature.name, "")
    words = f"{feature.name}{bound}{text} {unit}".strip()
    change = abs(value - here) / (feature.range[1] - feature.range[0] or 1.0)
    return [Flip(feature.name, words, text, repr(value), bool(flip["outside"]), change)]


def _rounded(model: Model, x: Floats, column: int, value: float, up: bool) -> str:
    """Round a value that flips the verdict to the fewest digits that still flip it.

    The rounding goes away from the row's own value. It does not cross an end of the training range. If no rounded value
    flips the verdict, the exact value is returned.
    """
    least, most = model.manifest.features[column].range
    largest = max(abs(value), most - least) or 1.0
    rounding = ROUND_CEILING if up else ROUND_FLOOR
    steps = [Decimal(1).scaleb(math.floor(math.log10(largest)) + 1 - digits) for digits in DIGITS]
    texts = [f"{float(Decimal(value).quantize(step, rounding)):.15g}" for step in steps]
    rows = np.repeat(x, len(texts) + 1, axis=0)
    rows[:-1, column] = [float(text) for text in texts]  # the last row is the one that was asked
    logit, _ = model.runtime(rows)
    verdict, inside = model.verdict(logit), (rows[:, column] >= least) & (rows[:, column] <= most)
    flips = (verdict != verdict[-1]) & np.isfinite(logit) & (inside == (least <= value <= most))
    return texts[int(flips.argmax())] if flips.any() else repr(value)


def _groups(manifest: Manifest) -> dict[str, list[tuple[int, Feature]]]:
    """Group many features by the first word of their names: {word: [(index, feature)]}.

    The other features are last, under "".
    """
    features = list(enumerate(manifest.features))
    if len(features) <= FEATURES:
        return {"": features}
    words = [re.split(r"[\W_]", feature.name, maxsplit=1)[0] for _, feature in features]
    names = [*(word for word in words if words.count(word) > 1), ""]
    found: dict[str, list[tuple[int, Feature]]] = {name: [] for name in names}
    for word, one in zip(words, features, strict=True):
        found[word if word in found else ""].append(one)
    return {word: some for word, some in found.items() if some}


def _quantile(manifest: Manifest, share: float) -> dict[str, str]:
    """The row with this quantile of each feature, to three digits, or its most frequent level."""
    row = {}
    for feature, spread in zip(manifest.features, manifest.training.baseline.features, strict=True):
        if feature.kind == "categorical":
            row[feature.name] = feature.levels[int(np.argmax(spread.shares[:-1]))]
            continue
        least, most = feature.range
        below = np.cumsum(spread.shares[: len(spread.edges)])
        nearest = spread.edges[int(np.abs(below - share).argmin())] if spread.edges else least
        row[feature.name] = f"{min(max(float(f'{nearest:.3g}'), least), most):.15g}"
    return row


def _exported(manifest: Manifest, name: str) -> bytes | None:
    """The bytes of a file of an export; None if it is missing or was changed."""
    if name not in manifest.files:
        return None
    try:
        return read_file(_service().config.models / manifest.name / str(manifest.version), manifest, name)
    except IntegrityError:
        return None
