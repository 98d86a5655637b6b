"""deploy/unused makes the environment smaller, and takes nothing out of it that is opened."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from tests.support import ROOT

# Everything is imported that the service and the trainer import, and a row is answered.
OPENED = """
import sys
import train.__main__, train.export.publish
from serve.server.flask_app import create_app
assert create_app().test_client().post("/predict", json={"hours": 7}).json["label"] == "pass"
files = [module.__file__ for module in sys.modules.values() if getattr(module, "__file__", None)]
with open("/proc/self/maps") as maps:
    files += [line.split(maxsplit=5)[5].rstrip() for line in maps if line.count("/")]
print("\\n".join(files))
"""
UNUSED = ["onnxruntime/capi/libonnxruntime.so.1.32.0", "onnxruntime/tools/__init__.py", "numpy/lib/tests/test_io.py"]


def test_what_is_taken_out_is_opened_by_nobody(models, tmp_path):
    environ = os.environ | {"MODELS_DIR": str(models), "MODEL_NAME": "hours"}
    run = subprocess.run([sys.executable, "-c", OPENED], cwd=ROOT, env=environ, capture_output=True, text=True)
    packages = Path(np.__file__).parent.parent
    paths = [Path(line) for line in run.stdout.splitlines()]
    opened = {path.relative_to(packages) for path in paths if path.is_relative_to(packages)}
    assert len(opened) > 1000, run.stderr
    for path in [*opened, *UNUSED]:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()

    subprocess.run([ROOT / "deploy" / "unused", tmp_path], check=True)
    assert {path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file()} == opened
