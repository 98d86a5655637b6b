"""The hot endpoints, which both roads to the model share.

Every request takes one of two roads, chosen once, by WORKER_CLASS:
  asgi     gunicorn -> serve/asgi.py, which answers the endpoints below itself and hands all else to Flask (the default)
  gthread  gunicorn -> Flask, which answers them as well, in a view around the same function
Two, because Flask and gthread take more of a request's time than the model does; one function an endpoint, so that
no answer can depend on the road (tests/test_roads.py).
"""

from serve.api.predict import explained, predict

# Flask's URL rule -> endpoint (service, Request) -> Answer, for POST. In a rule, <name> and <version> are the model's.
HOT = {"/predict": predict}
# Likewise, but Flask's on both roads.
OTHERS = {"/explain": explained}


def hot_paths(manifest):
    """{path: endpoint}: the hot rules filled in for the model in service. Others' names are Flask's to refuse."""
    own = {"<name>": manifest.name, "<version>": str(manifest.version)}
    paths = {}
    for rule, endpoint in HOT.items():
        for part, value in own.items():
            rule = rule.replace(part, value)
        paths[rule] = endpoint
    return paths
