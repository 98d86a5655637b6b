"""A client of the real application, for every module here."""

import functools

import pytest

from serve.server.flask_app import create_app
from serve.settings import Config


@pytest.fixture(scope="module")
def client(models, runtime):
    """make(name) -> a test client of the service for that model, the same for all tests."""

    @functools.cache
    def make(name, **settings):
        return create_app(Config(models=models, model_name=name, runtime=runtime, **settings)).test_client()

    return make
