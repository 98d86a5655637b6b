"""GET /: the page for people, which needs no JavaScript to answer. GET /docs, and the export's report."""

import csv
import io
from pathlib import Path
from urllib.parse import urlencode

from flask import Blueprint, Response, abort, current_app, render_template, request, send_from_directory

from passfail.errors import IntegrityError, RequestError
from passfail.explain import evidence, explain
from passfail.repository import read_file
from serve.protocols import openapi

FOLDER = Path(__file__).parent
STATIC = ("style.css", "page.js", "table.js", "draw.js")
# What the page may do in a browser: talk to its own service, and nothing else.
OWN = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
# The report is one file with its styles inside, and runs nothing.
REPORT = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; frame-ancestors 'none'"
SLICE_ROWS = 5000  # of a table that the page sends at a time

PAGE = Blueprint("page", __name__, template_folder=FOLDER / "templates")


@PAGE.after_request
def _guard(response):
    response.headers.setdefault("Content-Security-Policy", OWN)
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Referrer-Policy"] = "no-referrer"  # what was filled in stands in the address
    response.headers["Cache-Control"] = "no-cache"
    return response


@PAGE.get("/")
def index():
    """The form, made from the features; with a query, filled in from it and answered, or with each field's error."""
    service = current_app.service
    served = service.served
    manifest = served.model.manifest
    pairs = list(request.args.items(multi=True))
    values, answer, errors, said = dict(pairs), None, {}, None
    try:
        answer = _answer(served, pairs or list(_middle(manifest).items()), watched=bool(pairs))
    except RequestError as error:
        # `line 2, gre` is the field gre; what stands at no field is said above the form.
        errors = {found.pointer.partition(", ")[2]: found.detail for found in error.problems}
        said = errors.pop("", None) if errors else str(error)
    card = _exported(service, manifest, "MODEL_CARD.md")
    text = render_template(
        "index.html",
        manifest=manifest,
        values=values if pairs else _middle(manifest),
        answer=answer,
        errors=errors,
        said=said,
        card=card and card.decode(),
        report="report.html" in manifest.files,
        metrics=service.config.metrics_port is None,
        versions=sorted(service.kept),
        slice_rows=min(SLICE_ROWS, service.config.max_rows),
        named_errors=RequestError.LIMIT,
        slice_bytes=service.config.max_body_bytes,
        href=lambda changed: "/?" + urlencode(values | changed if pairs else _middle(manifest) | changed),
    )
    return Response(text, 422 if errors or said else 200, content_type="text/html; charset=utf-8")


@PAGE.get("/docs")
def docs():
    """GET /openapi.json for people."""
    service = current_app.service
    return render_template("docs.html", api=openapi.document(service.served, service.config))


@PAGE.get("/page/<name>")
def static(name):
    return send_from_directory(FOLDER / "static", name) if name in STATIC else abort(404)


@PAGE.get("/report")
def report():
    """The report of the export in service."""
    service = current_app.service
    found = _exported(service, service.served.model.manifest, "report.html")
    if found is None:
        abort(404)
    return Response(found, content_type="text/html; charset=utf-8", headers={"Content-Security-Policy": REPORT})


def _answer(served, pairs, watched):
    """What the page says of a form's (name, text) pairs, which are read as a table of one row: as strictly as any."""
    model = served.model
    text = io.StringIO()
    csv.writer(text).writerows([[name for name, _ in pairs], [value for _, value in pairs]])
    x, _ = served.codecs.csv.read(text.getvalue().encode())
    logit, probability = served.predict(x, traffic=watched)
    why = explain(model, x, logit)[0]
    parts = why["contributions"] or {}
    return {
        "positive": bool(model.verdict(logit)[0]),
        "probability": float(probability[0]),
        "contributions": parts,
        "largest": max(map(abs, parts.values()), default=0) or 1,
        "flips": why["flips"],
        "evidence": evidence(model.manifest.training.calibration, probability)[0],
    }


def _middle(manifest):
    """{feature: text} of a row to begin with: the mean of the training rows, to three digits; the first level."""
    row = {feature.name: feature.levels[0] if feature.levels else "0" for feature in manifest.features}
    for column in manifest.parameters.columns:
        feature = manifest.features[column.feature]
        if feature.kind == "numeric" and not column.missing:
            inside = min(max(float(f"{column.mean:.3g}"), feature.minimum), feature.maximum)
            row[feature.name] = f"{inside:.15g}"
    return row


def _exported(service, manifest, name):
    """The bytes of a file of the export; None where there is none, or no longer the one that was exported."""
    if name not in manifest.files:
        return None
    try:
        return read_file(service.config.models / manifest.name / str(manifest.version), manifest, name)
    except IntegrityError:
        return None
