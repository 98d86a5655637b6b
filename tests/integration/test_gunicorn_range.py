"""The service on the oldest and the newest gunicorn that pyproject.toml allows."""

import re
import subprocess
import sys

import pytest

from tests.support import ROOT
from tests.support.http import BAD, GOOD, ask
from tests.support.service import service, start

RANGE = re.search(r'"(gunicorn[^"]*)"', (ROOT / "pyproject.toml").read_text())[1]
OLDEST = re.search(r">=\s*([\d.]+)", RANGE)[1]


pytestmark = pytest.mark.heavy


@pytest.fixture(scope="module", params=[f"gunicorn=={OLDEST}", RANGE], ids=["oldest", "newest"])
def path(request, tmp_path_factory):
    """PYTHONPATH with that gunicorn before the installed one."""
    folder = tmp_path_factory.mktemp("gunicorn")
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder), request.param]
    done = subprocess.run(install, capture_output=True, text=True, timeout=120)
    if done.returncode != 0:
        pytest.skip(f"{request.param} can't be installed here: it is NOT tested")
    return f"{folder}:{ROOT}"


@pytest.mark.parametrize("worker_class", ["asgi", "gthread"])
def test_it_answers_refuses_and_stops(models, path, worker_class):
    settings = {"MODEL_NAME": "admissions", "WEB_CONCURRENCY": "2", "WORKER_CLASS": worker_class, "PYTHONPATH": path}
    with service(models, **settings) as (address, process):
        host, port = address.removeprefix("http://").split(":")
        for sent, status in [
            (GOOD["an object"], 200), (GOOD["a chunked body"], 200), (GOOD["the page"], 200), (BAD["not json"], 400),
            (b"hello\r\n\r\n", 400),
        ]:  # fmt: skip
            assert ask((host, int(port)), sent)[0] == status
        process.terminate()
        output, _ = process.communicate(timeout=40)
    assert process.returncode == 0
    assert "Traceback" not in output


def test_a_model_that_is_not_there_is_one_line(path, tmp_path):
    process = start(tmp_path, PYTHONPATH=path)
    output, _ = process.communicate(timeout=60)

    assert process.returncode == 3
    assert "Traceback" not in output
