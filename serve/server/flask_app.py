"""The Flask application: settings in, a service out."""

import gc
import sys
import threading

from flask import Flask, Response, abort, current_app, g, request
from gunicorn.http.errors import ParseException
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge

from passfail.errors import ConfigError, MalformedBody, RequestError, StartupError
from serve.http.auth import CHALLENGES, door
from serve.http.errors import Unauthenticated
from serve.http.messages import Answer, Request, completed, failure, problem, refusal, too_large
from serve.protocols import mlflow, open_inference, openapi, routes
from serve.protocols.routes import RULES
from serve.registry import Service
from serve.settings import Config
from serve.telemetry.prometheus import CONTENT_TYPE, exposition
from serve.telemetry.recorder import Recorder
from serve.telemetry.shared_counters import SHARED
from serve.telemetry.tracing import tracer
from serve.web.views import PAGE


def create_app(config=None):
    """Open the model that config (by default the environment) names, and make the service for it.

    Raises StartupError where the model can't be trusted; `from_gunicorn` turns that into one line and an exit.
    """
    config = Config.from_env() if config is None else config
    app = Flask(__name__, static_folder=None)
    app.json.sort_keys = False  # a row's features stand in the model's order
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
    app.recorder = Recorder(rules, SHARED, config.access_log, tracer(config.otel))
    app.service = Service(config, app.recorder)
    app.extensions |= {"service": app.service, "recorder": app.recorder}  # for serve/web/views.py
    app.door = door(config)
    app.before_request(_begin)
    if app.door:
        app.before_request(_guard)
    app.after_request(_end)
    return app


def from_gunicorn():
    """create_app for gunicorn's worker: a StartupError is one line of the first, and exit status 3 stops the server."""
    try:
        app = create_app()
    except StartupError as error:
        if SHARED.first():
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
    asked = [("POST", config.vertex_predict, mlflow.vertex), ("GET", config.vertex_health, mlflow.ping)]
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
        g.answer = completed(endpoint(current_app.service, sent, **names))
        return _response(g.answer)

    return view


def _body():
    """The request's body, or the error that it is."""
    limit = current_app.service.config.max_body_bytes
    try:
        body = request.get_data()
    except RequestEntityTooLarge:
        return too_large(limit)
    except ParseException:  # gunicorn's, of a chunked body; its ASGI worker answers them itself
        return MalformedBody("the body's chunks are not as HTTP/1.1 has them")
    if len(body) < (request.content_length or 0):  # gunicorn tells Werkzeug that a body ends where it ends
        return MalformedBody("the body ended before its Content-Length")
    return body if len(body) <= limit else too_large(limit)


def _response(answer):
    headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in answer.headers]
    return Response(answer.body, answer.status, headers)


def _live():
    return {"live": True}


def _ready():
    # The model was opened, verified and replayed before the first request could come in.
    service = current_app.service
    manifest = service.served.model.manifest
    body = {"ready": not service.leaving, "model": manifest.name, "version": manifest.version}
    return body | ({"refused": service.refused} if service.refused else {}), _health_status()


def _v2_ready():
    return {"ready": not current_app.service.leaving, "live": True}, _health_status()


def _health_status():
    return 503 if current_app.service.leaving else 200


def _model():
    return Response(current_app.service.served.model.manifest.encode(), content_type="application/json")


def _metrics():
    service = current_app.service
    manifest, recorder = service.served.model.manifest, current_app.recorder
    totals, drift = recorder.metrics.totals(), recorder.drift.report(manifest)
    text = exposition(totals, manifest, service.config.runtime, len(service.refused), drift)
    return Response(text, content_type=CONTENT_TYPE)


def _drift():
    return current_app.recorder.drift.report(current_app.service.served.model.manifest)


def _openapi():
    service = current_app.service
    return openapi.document(service.served, service.config)


def _begin():
    g.began = current_app.recorder.begin()
    g.headers = {name.lower().encode("latin-1"): value.encode("latin-1", "replace") for name, value in request.headers}


def _guard():
    """What the door doesn't let in is refused, each in its protocol's shape; no body has been read by then."""
    if not current_app.door.serves(request.path, request.server[1]):
        abort(404)
    if current_app.door.admits(request.path, g.headers):
        return None
    shape = routes.refusal(current_app.service.config, request.path)
    answer = shape(Unauthenticated("send Authorization: Bearer KEY, or Basic with the key as the password"))
    g.answer = answer._replace(headers=(*answer.headers, *CHALLENGES))
    return _response(g.answer)


def _end(response):
    rule = request.url_rule.rule if request.url_rule else None
    answer = g.get("answer") or Answer(response.status_code, (), b"")
    current_app.recorder.end(g.began, request.method, request.path, rule, g.headers, answer)
    return response


def _http_error(error):
    methods = getattr(error, "valid_methods", None)
    headers = [(b"Allow", ", ".join(sorted(methods)).encode())] if methods else []
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
    ("/v2/health/ready", _v2_ready),
    ("/model", _model),
    ("/metrics", _metrics),
    ("/drift", _drift),
    ("/openapi.json", _openapi),
]
