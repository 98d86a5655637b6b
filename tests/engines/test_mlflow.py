"""MLflow loads, serves and registers an unchanged export, in an environment of its own."""

import json
import os
import shutil
import signal
import subprocess
import urllib.request
from pathlib import Path

import pytest

from passfail.loading import load
from tests.support import ROOT
from tests.support.service import free_port
from tests.support.wait import until

pytestmark = pytest.mark.engines
PYTHON = ROOT / ".venv-mlflow" / "bin" / "python"
LOADED = """
import json, sys, warnings
import mlflow, pandas
mlflow.set_tracking_uri(sys.argv[2])
rows = pandas.DataFrame({"gre": [700, 400], "gpa": [3.5, 2.0], "rank": [2, 4]})
model = mlflow.pyfunc.load_model(sys.argv[1])
example = model.input_example
names = model.metadata.get_input_schema().input_names()
answers = model.predict(rows).to_dict("list")
print(json.dumps({"answers": answers, "inputs": names, "example": len(model.predict(example))}))
if len(sys.argv) > 3:
    version = mlflow.register_model(sys.argv[1], "admissions")
    again = mlflow.pyfunc.load_model(f"models:/admissions/{version.version}")
    print(json.dumps(again.predict(rows).to_dict("list")))
"""


@pytest.fixture(scope="module")
def mlflow(tmp_path_factory: pytest.TempPathFactory):
    """Run Python code with MLflow and passfail, and return the lines it prints."""
    if not PYTHON.exists():
        pytest.skip("MLflow is not installed (make test-engines): MLmodel is NOT tested")
    folder = tmp_path_factory.mktemp("mlflow")
    environ = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "PATH": f"{PYTHON.parent}:{os.environ['PATH']}",
    }

    def run(code: str, *arguments: object) -> list[str]:
        command = [PYTHON, "-c", code, *map(str, arguments)]
        done = subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    run.environ = environ
    return run


def test_mlflow_loads_and_registers_an_export_and_answers_the_same_bits(models: Path, tmp_path: Path, mlflow) -> None:
    model = load(models / "admissions")
    folder = tmp_path / "admissions" / "1"
    shutil.copytree(models / "admissions" / "1", folder)  # MLflow leaves a file in what it registers
    lines = mlflow(LOADED, folder, f"sqlite:///{tmp_path}/mlflow.db", "register")

    found, again = json.loads(lines[0]), json.loads(lines[-1])
    expected = model.predict({"gre": [700, 400], "gpa": [3.5, 2.0], "rank": ["2", "4"]})
    assert found["inputs"] == ["gre", "gpa", "rank"]
    assert found["example"] == len(model.manifest.examples)
    for answers in (found["answers"], again):
        assert answers["logit"] == expected.logit.tolist()
        assert answers["probability"] == expected.probability.tolist()
        assert answers["label"] == expected.label
        assert answers["version"] == [1, 1]


def test_mlflow_serves_an_export(models: Path, mlflow) -> None:
    port = free_port()
    command = [PYTHON, "-m", "mlflow", "models", "serve", "-m", models / "admissions" / "1", "-p", port]
    server = subprocess.Popen([*map(str, command), "--env-manager", "local"], env=mlflow.environ,
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)  # fmt: skip
    try:
        address = f"http://127.0.0.1:{port}"
        until(lambda: urllib.request.urlopen(f"{address}/ping").status == 200, seconds=120)
        body = json.dumps({"dataframe_records": [{"gre": 700, "gpa": 3.5, "rank": 2}]}).encode()
        request = urllib.request.Request(f"{address}/invocations", body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request) as response:
            (answer,) = json.load(response)["predictions"]
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait()

    expected = load(models / "admissions").predict({"gre": [700], "gpa": [3.5], "rank": ["2"]})
    assert answer["logit"] == expected.logit[0]
    assert answer["label"] == expected.label[0]
