"""The table of all routes.

Flask, the server's own endpoints, authentication, the error formats and OpenAPI use it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache, partial
from logging import Logger
from typing import NamedTuple

from passfail.codecs.tensors import Inference
from passfail.errors import ConfigError, RequestError
from serve.http.auth import METRICS
from serve.http.messages import CSV, JSON, JSON_LINES, Answer, Endpoint, Request, Shape, json_answer, problem, refusal
from serve.protocols import management, mlflow, openapi, predict, vertex
from serve.protocols import open_inference as v2
from serve.registry import Service
from serve.settings import Config
from serve.telemetry.prometheus import CONTENT_TYPE

# {media type: content}: a type that msgspec describes, or the name of a schema that depends on the model.
Content = Mapping[str, object]


@dataclass(frozen=True)
class Route:
    """A method and a path that the service answers.

    Attributes
    ----------
    rule : the path; `<name>` is one segment, which the endpoint receives under that name.
    endpoint : the function that answers; None: Flask renders a page (serve/web/views.py).
    summary : the route's purpose, in OpenAPI.
    takes, gives : the body of the request ({}: none) and of the answer.
    query : {parameter: its description}; each is "true" or "false" unless predict.VALUES has it.
    refusals : the statuses of its errors.
    shape : the format of its errors.
    hot : whether the server answers it itself, without Flask.
    probe : whether it takes no API key and is answered even at capacity.
    """

    method: str
    rule: str
    endpoint: Endpoint | None
    summary: str
    takes: Content = field(default_factory=dict)
    gives: Content = field(default_factory=lambda: {JSON: "Object"})
    query: Mapping[str, str] = field(default_factory=dict)
    refusals: Sequence[int] = ()
    shape: Shape = problem
    hot: bool = False
    probe: bool = False

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        return re.compile(re.sub(r"<(\w+)>", r"(?P<\1>[^/]+)", re.escape(self.rule)))

    def names_in(self, path: str) -> dict[str, str] | None:
        """The segments of a path by their names in the rule; None if the rule does not match."""
        found = self._pattern.fullmatch(path)
        return None if found is None else found.groupdict()


class Match(NamedTuple):
    """The route that a path matches."""

    rule: str
    endpoint: Endpoint
    names: Mapping[str, str]


def _describe(service: Service, request: Request) -> Answer:
    """GET /openapi.json."""
    return json_answer(openapi.document(service, Routes(service.config)))


PAGES = {
    ("GET", "/"): "The page",
    ("POST", "/answer"): "The page's form and answer alone, for its script",
    ("GET", "/docs"): "This description, for people",
    ("GET", "/page/<name>"): "The page's files",
    ("GET", "/report"): "The model's report",
}
TABLES: dict[str, object] = {JSON: "Rows", CSV: "Table", JSON_LINES: "Lines"}
ROWS_REFUSED = (400, 406, 413, 415, 422, 503)
V2 = partial(Route, shape=v2.ERROR)
ROUTES = (
    Route("POST", "/predict", predict.predict, "Verdicts on rows", takes=TABLES,
          gives=TABLES | {JSON: "Answers"}, query=predict.QUERY, refusals=ROWS_REFUSED, hot=True),
    Route("POST", "/explain", predict.explained, "Explained verdicts", takes={JSON: "Rows"}, gives={JSON: "Answers"},
          query=predict.QUERY, refusals=ROWS_REFUSED),
    Route("GET", "/model", management.model, "The manifest: features, parameters, metrics, certificate"),
    Route("GET", "/health/live", management.live, "Whether the process answers", gives={JSON: management.Live},
          probe=True),
    Route("GET", "/health/ready", management.ready, "Whether the model answers, and what was refused",
          gives={JSON: management.Ready}, refusals=(503,), probe=True),
    Route("GET", "/drift", management.drift, "Distance between the rows of the last hours and the training rows"),
    Route("GET", METRICS, management.metrics, "The metrics, for Prometheus", gives={CONTENT_TYPE: str}, probe=True),
    Route("GET", "/openapi.json", _describe, "This description"),
    V2("GET", "/v2", v2.server, "The server", gives={JSON: v2.Server}),
    V2("GET", "/v2/health/live", management.live, "Whether the process answers", gives={JSON: management.Live},
       probe=True),
    V2("GET", "/v2/health/ready", management.server_ready, "Whether the server is ready",
       gives={JSON: management.ServerReady}, refusals=(503,), probe=True),
    *(V2("GET", rule, v2.model, "The signature of a model", gives={JSON: v2.ModelMetadata}, refusals=(404,))
      for rule in v2.MODELS),
    *(V2("GET", f"{rule}/ready", v2.ready, "Whether a model is ready", gives={JSON: v2.ModelReady},
         refusals=(404, 503), probe=True) for rule in v2.MODELS),
    *(V2("POST", f"{rule}/infer", v2.infer, "Verdicts on rows as tensors", takes={JSON: Inference},
         gives={JSON: v2.Inferred}, refusals=(400, 404, 413, 422, 503), hot=True) for rule in v2.MODELS),
    *(V2("GET", f"{rule}/config", v2.config, "The signature, as Triton's model configuration",
         gives={JSON: v2.ModelConfig}, refusals=(404,)) for rule in v2.MODELS),
    *(V2("GET", f"{rule}/stats", v2.stats, "Rows and requests answered", gives={JSON: v2.Statistics}, refusals=(404,))
      for rule in v2.MODELS),
    V2("GET", "/v2/models/stats", v2.stats, "Rows and requests answered", gives={JSON: v2.Statistics}),
    V2("POST", "/v2/repository/index", v2.index, "Versions in service, and refused versions",
       gives={JSON: list[v2.IndexEntry]}, refusals=(400,)),
    *(V2("POST", f"/v2/repository/models/<name>/{verb}", v2.load, "Always refused: the service follows the repository",
         gives={}, refusals=(409,)) for verb in ("load", "unload")),
    Route("POST", "/invocations", mlflow.invocations, "Predictions", takes=TABLES | {JSON: mlflow.Invocation},
          gives=TABLES | {JSON: mlflow.Predictions}, refusals=ROWS_REFUSED, shape=mlflow.ERROR, hot=True),
    Route("GET", "/ping", mlflow.ping, "Whether the service is ready", refusals=(503,), shape=mlflow.ERROR, probe=True),
    Route("GET", "/version", mlflow.version, "The version of MLflow's protocol", gives={"text/plain": str},
          shape=mlflow.ERROR),
    *(Route(*where, None, summary, gives={"text/html": str}) for where, summary in PAGES.items()),
)  # fmt: skip


class Routes:
    """The routes of a service; the settings may add two for Vertex AI.

    Raises ConfigError if one of those two is not a path, or is already a route.
    """

    def __init__(self, config: Config) -> None:
        self._routes = ROUTES
        for route in self._vertex(config):  # one by one, so that the second can't take the first one's path
            self._routes += (route,)

    def __iter__(self) -> Iterator[Route]:
        return iter(self._routes)

    def at(self, path: str) -> list[Route]:
        """The routes of a path, whatever the method."""
        found = [route for route in self._routes if route.names_in(path) is not None]
        return sorted(found, key=lambda route: route.rule.count("<"))  # /v2/models/stats is no model's name

    def rule(self, path: str, method: str) -> str | None:
        """The rule of the route with that method and path, or None."""
        return next((route.rule for route in self.at(path) if route.method == method), None)

    def hot(self, path: str, method: str = "POST") -> Match | None:
        """The endpoint that answers that method and path without Flask, or None."""
        for route in self.at(path):
            if route.method == method and (route.hot or method == "GET") and route.endpoint is not None:
                return Match(route.rule, route.endpoint, route.names_in(path) or {})
        return None

    def is_probe(self, path: str) -> bool:
        """Whether the path is health or the metrics: it needs no key and is always admitted."""
        return _is_probe(self, path)

    def shape(self, path: str) -> Shape:
        """The format of errors at a path, also at a path without a route."""
        for route in self.at(path):
            return route.shape
        return v2.ERROR if path.startswith("/v2/") else problem

    def refusal(self, path: str, error: RequestError) -> Answer:
        """The Answer to a RequestError, in the format of the path's protocol."""
        return refusal(error, self.shape(path))

    def failure(self, logger: Logger, method: str, path: str) -> Answer:
        """Log the exception that is handled; return its Answer, 500, in the path's format."""
        logger.exception("%s %s failed", method, path)
        return self.shape(path)(500, "Internal server error", "the service failed; its log says why")

    def _vertex(self, config: Config) -> Iterator[Route]:
        """The routes that Vertex AI names when it starts the container."""
        if config.vertex_predict is not None:
            self._check_free("AIP_PREDICT_ROUTE", config.vertex_predict)
            yield Route("POST", config.vertex_predict, vertex.predict, "Predictions", takes={JSON: vertex.Prediction},
                        gives=TABLES | {JSON: mlflow.Predictions}, refusals=(400, 406, 413, 422, 503),
                        shape=vertex.ERROR, hot=True)  # fmt: skip
        if config.vertex_health is not None and not any(route.probe for route in self.at(config.vertex_health)):
            self._check_free("AIP_HEALTH_ROUTE", config.vertex_health)
            yield Route("GET", config.vertex_health, mlflow.ping, "Whether the service is ready", refusals=(503,),
                        shape=vertex.ERROR, probe=True)  # fmt: skip

    def _check_free(self, setting: str, path: str) -> None:
        if not re.fullmatch(r"(/[^<>?#%/\s]+)+/?|/", path):
            raise ConfigError(f"{setting} must be a path such as /v1/predict, without spaces, %, <, >, ?, # and //")
        if self.at(path):
            raise ConfigError(f"{setting} names {path}, which is a route of this service: choose another path")


@lru_cache(1024)  # called for each request, before its API key is checked
def _is_probe(routes: Routes, path: str) -> bool:
    return any(route.probe for route in routes.at(path))
