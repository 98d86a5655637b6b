"""The Flask application: settings in, a service out."""

import os
import sys
from http import HTTPStatus

from flask import Flask, Response, current_app, request
from werkzeug.exceptions import HTTPException

from serve.api.predict import explained, predict
from serve.config import Config
from serve.errors import RequestError, StartupError
from serve.exchange import Request, problem, refusal
from serve.service import Service


def create_app(config=None):
    """Open the model that config (by default the environment) names, and make the service for it.

    Raises StartupError where the model can't be trusted; `from_gunicorn` turns that into one line and an exit.
    """
    config = Config.from_env(os.environ) if config is None else config
    app = Flask(__name__, static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = config.max_body_bytes
    app.service = Service(config)
    app.register_error_handler(RequestError, lambda error: _response(refusal(error)))
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(Exception, _unforeseen)
    app.add_url_rule("/predict", view_func=_view(predict), endpoint="predict", methods=["POST"])
    app.add_url_rule("/explain", view_func=_view(explained), endpoint="explain", methods=["POST"])
    app.add_url_rule("/health/live", view_func=_live)
    app.add_url_rule("/health/ready", view_func=_ready)
    app.add_url_rule("/model", view_func=_model)
    return app


def from_gunicorn():
    """create_app for gunicorn's worker: a StartupError is one line, and exit status 3 stops the whole server."""
    try:
        return create_app()
    except StartupError as error:
        print(f"passfail can't start: {error}", file=sys.stderr, flush=True)
        sys.exit(3)  # gunicorn's own code for "don't start me again"


def _view(endpoint):
    """A Flask view of an endpoint (service, Request) -> Answer."""

    def view(**_):
        headers = {name.lower(): value for name, value in request.headers}
        sent = Request(request.path, request.query_string.decode("latin-1"), headers, request.get_data())
        return _response(endpoint(current_app.service, sent))

    return view


def _response(answer):
    return Response(answer.body, answer.status, list(answer.headers))


def _live():
    return {"live": True}


def _ready():
    # The model was opened, verified and replayed before the first request could come in.
    manifest = current_app.service.model.manifest
    return {"ready": True, "model": manifest.name, "version": manifest.version}


def _model():
    return Response(current_app.service.model.manifest.encode(), content_type="application/json")


def _http_error(error):
    headers = [("Allow", ", ".join(sorted(error.valid_methods)))] if getattr(error, "valid_methods", None) else []
    detail = error.description
    if error.code == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        detail = f"more than {current_app.config['MAX_CONTENT_LENGTH']} bytes; send several smaller requests"
    return _response(problem(error.code, error.name, detail, headers=headers))


def _unforeseen(error):
    # The log gets the traceback; the answer gets nothing that could leak.
    current_app.logger.exception("%s %s failed", request.method, request.path)
    return _response(problem(500, "Internal server error", "the service failed; its log says why"))
