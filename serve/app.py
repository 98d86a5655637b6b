"""The Flask application: settings in, a service out."""

import gc
import os
import sys

from flask import Flask, Response, current_app, request
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge

from serve.api.page import PAGE
from serve.config import Config
from serve.errors import RequestError, StartupError
from serve.exchange import Request, failure, problem, refusal, too_large
from serve.routes import HOT, OTHERS
from serve.service import Service


def create_app(config=None):
    """Open the model that config (by default the environment) names, and make the service for it.

    Raises StartupError where the model can't be trusted; `from_gunicorn` turns that into one line and an exit.
    """
    config = Config.from_env(os.environ) if config is None else config
    app = Flask(__name__, static_folder=None)
    # One more than the limit: of a chunked body Werkzeug gives as much as it may, and doesn't say that there was more.
    app.config["MAX_CONTENT_LENGTH"] = config.max_body_bytes + 1
    app.service = Service(config)
    app.register_error_handler(RequestError, lambda error: _response(refusal(error)))
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(Exception, _unforeseen)
    for rule, endpoint in (HOT | OTHERS).items():
        app.add_url_rule(rule, view_func=_view(endpoint), endpoint=rule, methods=["POST"])
    app.add_url_rule("/health/live", view_func=_live)
    app.add_url_rule("/health/ready", view_func=_ready)
    # The Open Inference Protocol's names for the same two, which orchestrators ask.
    app.add_url_rule("/v2/health/live", "v2_live", view_func=_live)
    app.add_url_rule("/v2/health/ready", "v2_ready", view_func=lambda: {"ready": True, "live": True})
    app.add_url_rule("/model", view_func=_model)
    app.register_blueprint(PAGE)
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
    return app


def _view(endpoint):
    """A Flask view of an endpoint (service, Request) -> Answer."""

    def view():
        headers = {name.lower(): value for name, value in request.headers}
        sent = Request(request.path, request.query_string.decode("latin-1"), headers, _body())
        return _response(endpoint(current_app.service, sent))

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
    manifest = current_app.service.served.model.manifest
    return {"ready": True, "model": manifest.name, "version": manifest.version}


def _model():
    return Response(current_app.service.served.model.manifest.encode(), content_type="application/json")


def _http_error(error):
    headers = [("Allow", ", ".join(sorted(error.valid_methods)))] if getattr(error, "valid_methods", None) else []
    return _response(problem(error.code, error.name, error.description, headers=headers))


def _unforeseen(error):
    return _response(failure(current_app.logger, request.method, request.path))
