"""The Flask application of the service, made from its settings."""

from __future__ import annotations

from collections.abc import Callable

from flask import Flask, Response, g, request
from gunicorn.http.errors import ParseException
from msgspec.structs import replace
from werkzeug.exceptions import HTTPException, MethodNotAllowed, NotFound, RequestEntityTooLarge

from passfail.errors import MalformedBody, RequestError
from serve.http.messages import Answer, Endpoint, Request, completed, compressed, header_line, too_large
from serve.http.receipt import identified
from serve.server.application import Application
from serve.settings import Config
from serve.telemetry.recorder import Asked
from serve.web.views import PAGE


class Pages(Flask):
    """The Flask application: every route of an Application, and the page for people."""

    def __init__(self, application: Application) -> None:
        super().__init__(__name__, static_folder=None)
        self.routes, self.recorder = application.routes, application.recorder
        self.service, self.auth = application.service, application.auth
        config = self.service.config
        # For serve/web/views.py.
        self.extensions |= {"service": self.service, "recorder": self.recorder, "routes": self.routes}
        # One more than the limit, because Werkzeug cuts a chunked body off there without an error.
        self.config["MAX_CONTENT_LENGTH"] = config.max_body_bytes + 1
        for route in self.routes:
            if route.endpoint is not None:
                name = f"{route.method} {route.rule}"
                self.add_url_rule(route.rule, name, self._view(route.endpoint), methods=[route.method])
        self.register_blueprint(PAGE)
        self.register_error_handler(HTTPException, self._http_error)
        self.register_error_handler(Exception, self._unexpected)
        self.before_request(self._begin)
        self.before_request(self._authenticate)
        self.after_request(self._end)

    def _view(self, endpoint: Endpoint) -> Callable[..., Response]:
        """A Flask view of an endpoint."""

        def view(**names: str) -> Response:
            query, limit = request.query_string.decode("latin-1"), self.service.config.max_body_bytes
            sent = Request(request.path, query, g.headers, self._body(), limit)
            try:
                g.answer = compressed(completed(endpoint(self.service, sent, **names)), g.headers)
            except RequestError as error:
                g.answer = self.routes.refusal(request.path, error)
            return _response(g.answer)

        return view

    def _body(self) -> bytes | RequestError:
        """The request's body, or the error that it causes."""
        limit = self.service.config.max_body_bytes
        try:
            body = request.get_data()
        except RequestEntityTooLarge:
            return too_large(limit)
        except ParseException:  # gunicorn's gthread worker raises it while Werkzeug reads a chunked body
            return MalformedBody("malformed chunked encoding in the request body")
        if len(body) < (request.content_length or 0):  # gunicorn reports a truncated body to Werkzeug as complete
            return MalformedBody("the body ended before its Content-Length")
        return body if len(body) <= limit else too_large(limit)

    def _begin(self) -> None:
        g.began = self.recorder.begin()
        g.headers = {key.lower().encode("latin-1"): text.encode("latin-1", "replace") for key, text in request.headers}

    def _authenticate(self) -> Response | None:
        """Refuse a request without a key, before its body is read, in its protocol's error format."""
        error = self.auth.refusal(request.path, request.server[1] if request.server else None, g.headers)
        if error is None:
            return None
        g.answer = self.routes.refusal(request.path, error)
        return _response(g.answer)

    def _end(self, response: Response) -> Response:
        rule = request.url_rule.rule if request.url_rule else None
        answer = g.get("answer") or Answer(response.status_code, "", b"")
        self.recorder.end([(g.began, Asked(request.method, request.path, rule, g.headers), answer)])
        if "X-Request-Id" not in response.headers:
            response.headers.extend(identified(Answer(0, "", b""), g.headers).fields)
        return response

    def _http_error(self, error: HTTPException) -> Response:
        detail = error.description or ""
        headers = ""
        if isinstance(error, MethodNotAllowed):
            methods = ", ".join(sorted(error.valid_methods or ()))
            detail = f"{request.path} takes {methods}, not {request.method}: /docs has an example, / is the page"
            headers = header_line("Allow", methods)
        elif isinstance(error, NotFound):
            detail = "nothing is at this path: /docs lists the paths"
        answer = self.routes.shape(request.path)(error.code or 500, error.name, detail)
        return _response(replace(answer, headers=answer.headers + headers))

    def _unexpected(self, error: Exception) -> Response:
        return _response(self.routes.failure(self.logger, request.method, request.path))


def create_app(config: Config | None = None) -> Pages:
    """Open the model that `config` (default: the environment) names; make its Flask application.

    Raises
    ------
    StartupError : as `Application`.
    """
    return Pages(Application(Config.from_env() if config is None else config))


def _response(answer: Answer) -> Response:
    return Response(answer.body, answer.status, answer.fields)
