"""The hot endpoints, which both roads to the model share.

Every request takes one of two roads, chosen once, by WORKER_CLASS:
  asgi     gunicorn -> serve/asgi.py, which answers the endpoints below itself and hands all else to Flask (the default)
  gthread  gunicorn -> Flask, which answers them as well, in a view around the same function
Two, because Flask and gthread take more of a request's time than the model does; one function an endpoint, so that
no answer can depend on the road (tests/test_roads.py).
"""

import re

from serve.api import open_inference as v2
from serve.api import scoring
from serve.api.predict import explained, predict

# Path -> endpoint (service, Request, **names in the path) -> Answer, for POST.
HOT = {"/predict": predict, "/invocations": scoring.invocations}
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
    ("GET", "/ping"): scoring.ping,
    ("GET", "/version"): scoring.version,
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
