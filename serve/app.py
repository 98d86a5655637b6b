"""The Flask application: settings in, a service out."""

import gc
import os
import sys
import threading

from flask import Flask, Response, current_app, g, request
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge

from serve.api import open_inference, openapi, scoring
from serve.api.page import PAGE
from serve.config import Config
from serve.errors import ConfigError, RequestError, StartupError
from serve.exchange import Answer, Request, failure, problem, refusal, too_large
from serve.metrics import CONTENT_TYPE
from serve.routes import RULES
from serve.service import Service
from serve.tally import SHARED
from serve.tracing import tracer
from serve.watch import Watch


def create_app(config=None):
    """Open the model that config (by default the environment) names, and make the service for it.

    Raises StartupError where the model can't be trusted; `from_gunicorn` turns that into one line and an exit.
    """
    config = Config.from_env(os.environ) if config is None else config
    app = Flask(__name__, static_folder=None)
    # One more than the limit: of a chunked body Werkzeug gives as much as it may, and doesn't say that there was more.
    app.config["MAX_CONTENT_LENGTH"] = config.max_body_bytes + 1
    app.register_error_handler(RequestError, lambda error: _response(refusal(error)))
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(Exception, _unforeseen)
    for (method, rule), endpoint in RULES.items():
        app.add_url_rule(rule, f"{method} {rule}", _view(endpoint), methods=[method])
    for rule, view in PAGES:
        app.add_url_rule(rule, rule, view)
    app.register_blueprint(PAGE)
    _add_vertex(app, config)
    rules = sorted({rule.rule for rule in app.url_map.iter_rules()})
    app.watch = Watch(rules, SHARED, config.access_log, tracer(os.environ))
    app.service = Service(config, app.watch)
    app.before_request(_begin)
    app.after_request(_end)
    return app


def from_gunicorn():
    """create_app for gunicorn's worker: a StartupError is one line, and exit status 3 stops the whole server."""
    try:
        app = create_app()
    except StartupError as error:
        print(f"passfail can't start: {error}", file=sys.stderr, flush=True)
        sys.exit(3)  # gunicorn's own code for "don't start me again"
    # What was loaded stays: without it in the collector's rounds, batches are faster.
    gc.collect()
    gc.freeze()
    threading.Thread(target=app.service.follow, name="follow", daemon=True).start()
    return app


def _add_vertex(app, config):
    """Add the routes that Vertex AI names when it starts the container; health may be asked at one of our own.

    Raises ConfigError for a path that is none, or one for predictions at which another protocol answers.
    """
    own = {(method, rule.rule) for rule in app.url_map.iter_rules() for method in rule.methods}
    asked = [("POST", config.vertex_predict, scoring.vertex), ("GET", config.vertex_health, scoring.ping)]
    for method, route, endpoint in asked:
        taken = (method, route) in own
        if route and (not route.startswith("/") or "<" in route or (taken and method == "POST")):
            raise ConfigError("AIP_PREDICT_ROUTE and AIP_HEALTH_ROUTE must be paths, the first none that is taken")
        if route and not taken:
            app.add_url_rule(route, f"{method} {route}", _view(endpoint), methods=[method])


def _view(endpoint):
    """A Flask view of an endpoint (service, Request) -> Answer."""

    def view(**names):
        sent = Request(request.path, request.query_string.decode("latin-1"), g.headers, _body())
        g.answer = endpoint(current_app.service, sent, **names)
        return _response(g.answer)

    return view


def _body():
    """The request's body, or the error that it is."""
    limit = current_app.service.config.max_body_bytes
    try:
        body = request.get_data()
    except RequestEntityTooLarge:
        return too_large(limit)
    return body if len(body) <= limit else too_large(limit)


def _response(answer):
    return Response(answer.body, answer.status, list(answer.headers))


def _live():
    return {"live": True}


def _ready():
    # The model was opened, verified and replayed before the first request could come in.
    service = current_app.service
    manifest = service.served.model.manifest
    body = {"ready": True, "model": manifest.name, "version": manifest.version}
    return body | ({"refused": service.refused} if service.refused else {})


def _model():
    return Response(current_app.service.served.model.manifest.encode(), content_type="application/json")


def _metrics():
    service = current_app.service
    manifest, watch = service.served.model.manifest, current_app.watch
    text = watch.metrics.text(manifest, service.config.runtime, len(service.refused), watch.drift.found(manifest))
    return Response(text, content_type=CONTENT_TYPE)


def _drift():
    return current_app.watch.drift.found(current_app.service.served.model.manifest)


def _openapi():
    service = current_app.service
    return openapi.document(service.served, service.config)


def _begin():
    g.began = current_app.watch.begin()
    g.headers = {name.lower(): value for name, value in request.headers}


def _end(response):
    rule = request.url_rule.rule if request.url_rule else None
    answer = g.get("answer") or Answer(response.status_code, (), b"")
    current_app.watch.end(g.began, request.method, request.path, rule, g.headers, answer)
    return response


def _http_error(error):
    headers = [("Allow", ", ".join(sorted(error.valid_methods)))] if getattr(error, "valid_methods", None) else []
    if request.path == "/v2" or request.path.startswith("/v2/"):
        answer = open_inference.problem(error.code, error.description)
        return _response(answer._replace(headers=(*answer.headers, *headers)))
    return _response(problem(error.code, error.name, error.description, headers=headers))


def _unforeseen(error):
    return _response(failure(current_app.logger, request.method, request.path))


PAGES = [
    ("/health/live", _live),
    ("/health/ready", _ready),
    # The Open Inference Protocol's names for the same two, which orchestrators ask.
    ("/v2/health/live", _live),
    ("/v2/health/ready", lambda: {"ready": True, "live": True}),
    ("/model", _model),
    ("/metrics", _metrics),
    ("/drift", _drift),
    ("/openapi.json", _openapi),
]
