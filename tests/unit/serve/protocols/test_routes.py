"""The table of routes: Flask, authentication, error shapes and the server follow from it."""

import json

import pytest

from passfail.errors import ConfigError, MalformedBody
from serve.http.auth import METRICS
from serve.protocols import mlflow
from serve.protocols import open_inference as v2
from serve.protocols.routes import ROUTES, Routes
from serve.server.flask_app import create_app
from serve.settings import Config

TAKEN = ["/predict", "/model", "/", "/docs", "/v2/models/a/infer"]
VERTEX = {"vertex_predict": "/v1/models/3:predict", "vertex_health": "/v1/models/3"}


def test_flask_has_exactly_the_routes_of_the_table(models):
    app = create_app(Config(models=models, model_name="hours", **VERTEX))

    flask = {(method, rule.rule) for rule in app.url_map.iter_rules() for method in rule.methods - {"HEAD", "OPTIONS"}}
    assert flask == {(route.method, route.rule) for route in app.routes}


@pytest.mark.parametrize(
    ("path", "rule", "names"),
    [
        ("/predict", "/predict", {}),
        ("/invocations", "/invocations", {}),
        ("/v1/models/3:predict", "/v1/models/3:predict", {}),
        ("/v2/models/a/infer", "/v2/models/<name>/infer", {"name": "a"}),
        ("/v2/models/a/versions/2/infer", "/v2/models/<name>/versions/<version>/infer", {"name": "a", "version": "2"}),
    ],
)
def test_the_hot_endpoints_are_found_by_their_paths(path, rule, names):
    found = Routes(Config(**VERTEX)).hot(path)

    assert (found.rule, found.names) == (rule, names)


@pytest.mark.parametrize("path", ["/", "/explain", "/predict/", "/v2/models//infer", "/v2/models/a/b/infer", "/ping"])
def test_any_other_path_is_not_hot(path):
    assert Routes(Config(**VERTEX)).hot(path) is None


def test_a_path_without_names_comes_before_one_with_a_name_in_its_place():
    assert Routes(Config()).hot("/v2/models/stats", "GET").rule == "/v2/models/stats"


@pytest.mark.parametrize(
    "path", ["/health/live", "/v2/health/ready", "/ping", METRICS, "/v2/models/a/ready", "/v1/models/3"]
)
def test_health_and_the_metrics_are_probes(path):
    assert Routes(Config(**VERTEX)).is_probe(path)


@pytest.mark.parametrize("path", ["/", "/predict", "/v2/models/a", "/healthXlive", "/v1/models/3:predict", "/nowhere"])
def test_nothing_else_is_a_probe(path):
    assert not Routes(Config(**VERTEX)).is_probe(path)


@pytest.mark.parametrize(
    ("path", "names"),
    [
        ("/predict", {"type", "title", "status", "detail"}),
        ("/nowhere", {"type", "title", "status", "detail"}),
        ("/v2/nowhere", {"error"}),
        ("/v2", {"error"}),
        ("/invocations", {"error_code", "message"}),
        ("/v1/models/3:predict", {"error"}),
    ],
)
def test_each_path_has_its_protocols_error_shape(path, names):
    answer = Routes(Config(**VERTEX)).refusal(path, MalformedBody("no"))

    assert (answer.status, set(json.loads(answer.body))) == (400, names)


def test_every_open_inference_and_mlflow_route_has_its_shape():
    shapes = {route.rule: route.shape for route in ROUTES}

    assert {shape for rule, shape in shapes.items() if rule.startswith("/v2")} == {v2.ERROR}
    assert shapes["/invocations"] is mlflow.ERROR


@pytest.mark.parametrize("setting", ["vertex_predict", "vertex_health"])
@pytest.mark.parametrize("path", [*TAKEN, "no-slash", "/a<b>", "/a?b", "//predict", "/%70redict", "/a b", "/a\n"])
def test_a_vertex_route_that_is_taken_or_no_path_is_refused(setting, path):
    """A route of health would open a path without a key."""
    name = {"vertex_predict": "AIP_PREDICT_ROUTE", "vertex_health": "AIP_HEALTH_ROUTE"}[setting]

    with pytest.raises(ConfigError, match=f"^{name} "):
        Routes(Config(**{setting: path}))


def test_one_route_for_both_of_vertex_is_refused():
    with pytest.raises(ConfigError, match="AIP_HEALTH_ROUTE names /x, which is a route"):
        Routes(Config(vertex_predict="/x", vertex_health="/x"))


@pytest.mark.parametrize("path", ["/ping", "/health/ready", "/v2/health/live"])
def test_vertex_may_ask_for_health_at_one_of_our_own_probes(path):
    assert len(list(Routes(Config(vertex_health=path)))) == len(ROUTES)
