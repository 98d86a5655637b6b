"""python -m tests.support.triton: a real Triton serves an unchanged export folder.

It answers the recorded examples. The binary is that of NVIDIA's wheel nvidia-pytriton: Triton's core, its HTTP front
and the backend for Python. There is none for ONNX; tests/support/triton_backend.py stands in for that. The options are
those of python -m train conform.
"""

import contextlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np

from tests.support.outside import conform
from tests.support.service import free_port
from train.errors import ExportError

SECONDS = 60  # until it is ready


def main(arguments):
    """Replay a published version's examples; return the exit status."""
    return conform("triton", serving if installed() else None, arguments)


def installed():
    return importlib.util.find_spec("pytriton") is not None


@contextlib.contextmanager
def serving(folder):
    """A Triton that serves the version in `folder`.

    It yields a callable x (n, d) -> (logit, probability), float64 (n, 1) each. Raises ExportError where Triton
    doesn't start, doesn't take the folder, or doesn't answer.
    """
    wheel = Path(importlib.util.find_spec("pytriton").origin).parent
    name, version = folder.parent.name, folder.name
    with tempfile.TemporaryDirectory() as scratch, open(Path(scratch, "log"), "w+") as log:
        models, backends = _repository(Path(scratch, "models"), folder), _backends(Path(scratch, "backends"), wheel)
        port = free_port()
        options = ["--model-repository", models, "--backend-directory", backends, "--disable-auto-complete-config"]
        options += ["--http-address", "127.0.0.1", "--http-port", port, "--allow-grpc", "0", "--allow-metrics", "0"]
        command = map(str, [wheel / "tritonserver/bin/tritonserver", *options])
        process = subprocess.Popen(list(command), env=_environ(wheel), stdout=log, stderr=log)
        try:
            address = f"http://127.0.0.1:{port}/v2"
            _wait(f"{address}/health/ready", process, log)
            yield lambda x: _infer(f"{address}/models/{name}/versions/{version}/infer", x)
        finally:
            process.terminate()
            process.wait(SECONDS)


def _repository(models, folder):
    """A repository with this model and this version alone, which are the published files."""
    home = models / folder.parent.name
    home.mkdir(parents=True)
    for path in (folder, folder.parent / "config.pbtxt"):
        (home / path.name).symlink_to(path.absolute())
    return models


def _backends(backends, wheel):
    """The folder of backends: python, and onnxruntime, which is written in it.

    Triton refuses links here.
    """
    stub = wheel / "tritonserver/python_backend_stubs" / "{}.{}".format(*sys.version_info)
    shutil.copytree(wheel / "tritonserver/backends/python", backends / "python")
    shutil.copytree(stub, backends / "python", dirs_exist_ok=True)
    (backends / "onnxruntime").mkdir()
    shutil.copy(Path(__file__).with_name("triton_backend.py"), backends / "onnxruntime" / "model.py")
    return backends


def _environ(wheel):
    libraries = [wheel.parent / "nvidia_pytriton.libs", sysconfig.get_config_var("LIBDIR")]
    path = [Path(sys.executable).parent, os.environ.get("PATH", "")]
    return {
        **os.environ,
        "LD_LIBRARY_PATH": os.pathsep.join(map(str, libraries)),
        "PATH": os.pathsep.join(map(str, path)),
        "PYTHONPATH": os.pathsep.join(sys.path),
    }


def _wait(ready, process, log):
    deadline = time.monotonic() + SECONDS
    while True:
        with contextlib.suppress(OSError):
            return urllib.request.urlopen(ready, timeout=120).close()
        if process.poll() is not None or time.monotonic() > deadline:
            log.seek(0)
            said = [line for line in log if "failed to load" in line or line.startswith("error: ")] or [""]
            raise ExportError(f"triton doesn't start: {said[0].strip()}")
        time.sleep(0.05)


def _infer(address, x):
    body = np.ascontiguousarray(x, dtype="<f8").tobytes()  # JSON has no NaN
    tensor = {"name": "x", "shape": x.shape, "datatype": "FP64", "parameters": {"binary_data_size": len(body)}}
    head = json.dumps({"inputs": [tensor]}).encode()
    request = urllib.request.Request(address, head + body, {"Inference-Header-Content-Length": str(len(head))})
    try:
        with urllib.request.urlopen(request, timeout=120) as answer:
            outputs = {output["name"]: output["data"] for output in json.load(answer)["outputs"]}
    except urllib.error.HTTPError as error:
        with error:
            raise ExportError(f"triton refuses the examples: {error.read().decode(errors='replace')}") from error
    return np.array(outputs["logit"]), np.array(outputs["probability"])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
