"""The service on the oldest and the newest gunicorn that pyproject.toml allows."""

import re
import subprocess
import sys
import sysconfig
import tempfile
import venv
from importlib.metadata import version
from pathlib import Path

import pytest

from tests.support import ROOT
from tests.support.http import BAD, GOOD, ask
from tests.support.service import service, start

RANGE = re.search(r'"(gunicorn[^"]*)"', (ROOT / "pyproject.toml").read_text())[1]
OLDEST = re.search(r">=\s*([\d.]+)", RANGE)[1]
FRONT = ["connection", "admission", "addresses"]  # the others also compare with the parser of the installed gunicorn


pytestmark = pytest.mark.heavy


@pytest.fixture(scope="module", params=[f"gunicorn=={OLDEST}", RANGE], ids=["oldest", "newest"])
def python(request, tmp_path_factory):
    """A Python that has that gunicorn, and whatever else this one has."""
    folder = tmp_path_factory.mktemp("gunicorn")
    venv.create(folder)
    own = Path(sysconfig.get_path("purelib", "venv", {"base": str(folder)}))
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(own), request.param]
    done = subprocess.run(install, capture_output=True, text=True, timeout=600)
    if done.returncode != 0:
        pytest.skip(f"{request.param} can't be installed here: it is NOT tested")
    (own / "others.pth").write_text(sysconfig.get_path("purelib"))
    return folder / "bin" / "python"


@pytest.mark.parametrize("worker_class", ["asgi", "gthread"])
def test_it_answers_refuses_and_stops(models, python, worker_class):
    settings = {"MODEL_NAME": "admissions", "WEB_CONCURRENCY": "2", "WORKER_CLASS": worker_class}
    with service(models, python=python, **settings) as (address, process):
        host, port = address.removeprefix("http://").split(":")
        for sent, status in [
            (GOOD["an object"], 200), (GOOD["a chunked body"], 200), (GOOD["the page"], 200), (BAD["not json"], 400),
            (b"hello\r\n\r\n", 400),
        ]:  # fmt: skip
            assert ask((host, int(port)), sent)[0] == status
        process.terminate()
        output, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    assert "Traceback" not in output


def test_a_model_that_is_not_there_is_one_line(python, tmp_path):
    process = start(tmp_path, python=python)
    output, _ = process.communicate(timeout=120)

    assert process.returncode == 3
    assert "Traceback" not in output


def test_the_fronts_own_tests_pass(python):
    asked = [python, "-c", "from importlib.metadata import version; print(version('gunicorn'))"]
    if subprocess.check_output(asked, text=True).strip() == version("gunicorn"):
        pytest.skip("this gunicorn is the installed one: make test has run them")
    modules = [f"tests/integration/test_{name}.py" for name in FRONT]
    command = [python, "-m", "pytest", "-q", "-m", "not heavy", "-p", "no:cacheprovider", *modules]
    with tempfile.TemporaryDirectory() as folder:  # else it would take the models that another run has left
        command.append(f"--basetemp={folder}/base")
        done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 0, done.stdout
