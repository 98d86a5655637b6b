"""Fixtures of all tests: exported models, and the service on each runtime."""

import functools
import json
import os

import hypothesis
import pytest
from onnxscript import TracedOnnxFunction

from serve.server.flask_app import create_app
from serve.settings import Config
from tests.support.browser import browser  # noqa: F401  (a fixture)
from tests.support.models import (
    QUICK,
    WHOLE,
    export_awkward,
    kept,
    made_models,
    made_once,
    proven_on,
    shared,
    written,
)
from tests.support.proxies import behind_nginx  # noqa: F401  (a fixture)
from train.export import formats

# The same examples in each run, however slow the machine: `make fuzz` looks for new ones.
hypothesis.settings.register_profile(
    "same", derandomize=True, deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("same")


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Start a process for each processor, and one more for `-n auto`: many tests wait."""
    return (config.option.numprocesses == "auto") + len(os.sched_getaffinity(0))


@pytest.fixture(scope="session", autouse=True)
def quick_exports(tmp_path_factory):
    """Make the files of equal models once a run, which take seconds, and prove on few rows."""
    folder = shared(tmp_path_factory) / "files"
    folder.mkdir(exist_ok=True)
    with pytest.MonkeyPatch.context() as patch, proven_on(QUICK):
        for name in ("to_onnx", "to_torchscript", "to_exported_program"):
            patch.setattr(formats, name, kept(getattr(formats, name), folder))
        # The exporter to ONNX parses the source of each operator of torchlib anew for each export.
        signature = TracedOnnxFunction.function_ir
        patch.setattr(TracedOnnxFunction, "function_ir", property(functools.cache(signature.fget)))
        yield


@pytest.fixture
def whole_proof():
    """Prove on as many rows as the trainer does."""
    with proven_on(WHOLE):
        yield


@pytest.fixture(scope="session")
def models(tmp_path_factory):
    """A repository with one version of each of the three tables' models, which no test changes."""
    folder = made_models(tmp_path_factory)
    before = written(folder)
    yield folder
    assert written(folder) == before, "a test wrote into the models that all workers share: copy them first"


@pytest.fixture(scope="session")
def awkward(models, tmp_path_factory):
    """A repository of the admissions' model, and of one with formulas and HTML for names."""
    return made_once(tmp_path_factory, "awkward", lambda folder: export_awkward(models, folder))


@pytest.fixture(scope="session", params=["onnx", "torchscript"])
def runtime(request):
    """Every test that uses this runs once on each runtime."""
    return request.param


@pytest.fixture
def client(models, runtime):
    """make(name) -> a test client of the service for that model, on each runtime."""

    def make(name, **settings):
        return create_app(Config(models=models, model_name=name, runtime=runtime, **settings)).test_client()

    return make


@pytest.fixture(scope="module")
def ask(models):
    """ask(path, body, type, **headers) -> the response of a service with Vertex AI's routes."""
    config = Config(models=models, model_name="admissions", vertex_predict="/vertex", vertex_health="/healthy")
    client = create_app(config).test_client()

    def ask(path, body, content_type="application/json", **headers):
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return client.post(path, data=data, content_type=content_type, headers=headers)

    ask.get, ask.client = client.get, client
    return ask
