"""The hot endpoints, which both roads to the model share.

Every request takes one of two roads, chosen once, by WORKER_CLASS:
  asgi     (the default) gunicorn's ASGI worker. Where the endpoints below are asked in the usual form, server/quick.py
           takes the request from gunicorn's parser; what else there is goes to serve/server/asgi.py, and on to Flask
  gthread  gunicorn's threads -> Flask, which answers the endpoints as well, in a view around the same function
Two, because Flask and gthread take more of a request's time than the model does, and gunicorn's ASGI messages still
do; one function an endpoint, so that no answer can depend on the road (tests/integration/test_roads.py).
"""

import re

from serve.http import messages
from serve.http.auth import METRICS, is_health
from serve.http.errors import Overloaded
from serve.protocols import mlflow
from serve.protocols import open_inference as v2
from serve.protocols.predict import explained, predict

# Path -> endpoint (service, Request, **names in the path) -> Answer, for POST.
HOT = {"/predict": predict, "/invocations": mlflow.invocations}
INFER = ("/v2/models/<name>/infer", "/v2/models/<name>/versions/<version>/infer")
INFERS = re.compile("/v2/models/(?P<name>[^/]+)(?:/versions/(?P<version>[^/]+))?/infer")
# (Method, rule) -> endpoint likewise, but Flask's on both roads.
OTHERS = {
    ("POST", "/explain"): explained,
    ("GET", "/v2"): v2.server,
    ("GET", "/v2/models/<name>"): v2.model,
    ("GET", "/v2/models/<name>/versions/<version>"): v2.model,
    ("GET", "/v2/models/<name>/ready"): v2.ready,
    ("GET", "/v2/models/<name>/versions/<version>/ready"): v2.ready,
    ("GET", "/ping"): mlflow.ping,
    ("GET", "/version"): mlflow.version,
    ("POST", "/v2/repository/index"): v2.index,
    ("POST", "/v2/repository/models/<name>/load"): v2.load,
    ("POST", "/v2/repository/models/<name>/unload"): v2.load,
}
RULES = {("POST", rule): endpoint for rule, endpoint in (HOT | dict.fromkeys(INFER, v2.infer)).items()} | OTHERS


def hot(path):
    """(rule, endpoint, names in the path) of the hot endpoint that answers POST there, or None."""
    if path in HOT:
        return path, HOT[path], {}
    if found := INFERS.fullmatch(path):
        names = found.groupdict()
        return INFER[names["version"] is not None], v2.infer, names
    return None


def is_probe(config, path):
    """Whether the path is of health or the metrics, which are answered however much else there is to do."""
    return path == METRICS or is_health(config, path)


def refusal(config, path):
    """What makes a RequestError an Answer in the shape of the protocol that the path is of."""
    if path == "/v2" or path.startswith("/v2/"):
        return v2.refusal
    shapes = {"/invocations": mlflow.refused_by_mlflow, config.vertex_predict: mlflow.refused_by_vertex}
    return shapes.get(path, messages.refusal)


def overloaded(config, path):
    """The Answer to a request that there is no room for, in the shape of the protocol that the path is of."""
    answer = refusal(config, path)(Overloaded("too many requests at a time; ask again"))
    return answer._replace(headers=(*answer.headers, (b"Retry-After", b"1")))
