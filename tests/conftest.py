"""Shared fixtures: models exported once a session, and the service on either runtime."""

import json
import shutil

import pytest

from serve.server.flask_app import create_app
from serve.settings import Config
from tests.support import DATA, ROOT
from tests.support.browser import browser  # noqa: F401  (a fixture)
from train.__main__ import main

MODELS = {"hours": [], "study_hours": ["--target", "passed"], "admissions": ["--categorical", "rank"]}


@pytest.fixture(scope="session")
def models(tmp_path_factory):
    """A repository with one version of each of the three tables' models, made by the command line."""
    folder = tmp_path_factory.mktemp("models")
    checkpoints = tmp_path_factory.mktemp("checkpoints")
    for name, arguments in MODELS.items():
        data = [] if name == "hours" else ["--data", str(DATA / f"{name}.csv")]
        assert main(["fit", *data, *arguments, "--checkpoints", str(checkpoints)]) == 0
        assert main(["export", *data, "--checkpoints", str(checkpoints), "--models", str(folder)]) == 0
    return folder


@pytest.fixture(scope="session")
def awkward(models, tmp_path_factory):
    """A repository of the admissions' model and one more, whose names and levels are formulas, HTML and quotes."""
    folder = tmp_path_factory.mktemp("awkward_models")
    shutil.copytree(models / "admissions", folder / "admissions")
    data = ["--data", str(ROOT / "tests" / "fuzz" / "awkward.csv"), "--target", "target", "--positive", "=yes()"]
    checkpoints = ["--checkpoints", str(tmp_path_factory.mktemp("awkward"))]
    assert main(["fit", *data, "--categorical", "rank", "--l2", "1", *checkpoints]) == 0
    assert main(["export", *data[:2], "--models", str(folder), *checkpoints]) == 0
    return folder


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
    """ask(path, body, type, **headers) -> the response of a service that also has Vertex AI's routes."""
    config = Config(models=models, model_name="admissions", vertex_predict="/vertex", vertex_health="/healthy")
    client = create_app(config).test_client()

    def ask(path, body, content_type="application/json", **headers):
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return client.post(path, data=data, content_type=content_type, headers=headers)

    ask.get = client.get
    return ask
