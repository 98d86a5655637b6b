"""The hot endpoints, which both roads to the model share.

Every request takes one of two roads, chosen once, by WORKER_CLASS:
  asgi     gunicorn -> serve/asgi.py, which answers the endpoints below itself and hands all else to Flask (the default)
  gthread  gunicorn -> Flask, which answers them as well, in a view around the same function
Two, because Flask and gthread take more of a request's time than the model does; one function an endpoint, so that
no answer can depend on the road (tests/test_roads.py).
"""

from serve.api.predict import explained, predict

# Path -> endpoint (service, Request) -> Answer, for POST.
HOT = {"/predict": predict}
# Likewise, but Flask's on both roads.
OTHERS = {"/explain": explained}
