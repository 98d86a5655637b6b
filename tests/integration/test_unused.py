"""deploy/unused makes the environment smaller, and removes nothing that is opened."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.support import ROOT

# Trains, exports and serves, and writes every file that Python opened or the system mapped.
OPENED = """
import sys
opened = set()
sys.addaudithook(lambda event, args: event == "open" and isinstance(args[0], str) and opened.add(args[0]))
import train.commands.compare, train.commands.lesson
from train.__main__ import main
from serve.server.flask_app import create_app
from serve.settings import Config
from pathlib import Path
folder = Path(sys.argv[1])
checkpoints, models = ["--checkpoints", str(folder / "checkpoints")], ["--models", str(folder / "models")]
assert main(["fit", *checkpoints]) == main(["export", *checkpoints, *models]) == main(["report", *models]) == 0
for runtime in ("onnx", "torchscript"):
    client = create_app(Config(models=folder / "models", model_name="hours", runtime=runtime)).test_client()
    assert client.post("/predict", json={"hours": 7}).json["label"] == "pass"
opened |= {module.__file__ for module in sys.modules.values() if getattr(module, "__file__", None)}
with open("/proc/self/maps") as maps:
    opened |= {line.split(maxsplit=5)[5].rstrip() for line in maps if line.count("/")}
(folder / "opened").write_text("\\n".join(opened))
"""
UNUSED = [
    "matplotlib/tests/__init__.py", "numpy/lib/tests/test_io.py", "onnx/backend/test/data/node/x.onnx",
    "onnxruntime/capi/libonnxruntime.so.1.32.0", "onnxruntime/tools/__init__.py", "pyarrow/include/arrow/api.h",
    "pyarrow/libarrow_flight.so.2600", "scipy/stats/tests/__init__.py", "sympy/core/tests/__init__.py",
    "torch/bin/protoc", "torch/include/torch/torch.h", "torch/test/test_x.py",
]  # fmt: skip


@pytest.mark.heavy
def test_only_what_nothing_opens_is_removed(tmp_path):
    done = subprocess.run([sys.executable, "-c", OPENED, tmp_path], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    packages, environment = Path(np.__file__).parent.parent, tmp_path / "environment"
    paths = [Path(line) for line in (tmp_path / "opened").read_text().splitlines()]
    opened = {path.relative_to(packages) for path in paths if path.is_relative_to(packages) and path.is_file()}
    assert len(opened) > 1000
    for path in [*opened, *UNUSED]:
        (environment / path).parent.mkdir(parents=True, exist_ok=True)
        (environment / path).touch()

    subprocess.run([ROOT / "deploy" / "unused", environment], check=True)

    assert {path.relative_to(environment) for path in environment.rglob("*") if path.is_file()} == opened
