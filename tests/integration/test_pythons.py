"""The serving set, without torch, on every supported Python that is installed."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import ROOT
from tests.support.service import free_port, post, start, wait

LOCK = ROOT / "requirements" / "serve.txt"


def interpreter(version):
    """A working python of this version: on the PATH, or kept by pyenv."""
    kept = sorted(Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")).glob(f"versions/{version}.*/bin/python"))
    for candidate in [shutil.which(f"python{version}"), *kept, sys.executable]:
        if candidate:
            asked = subprocess.run([candidate, "-c", "import sys; print(*sys.version_info[:2], sep='.')"],
                                   capture_output=True, text=True)  # fmt: skip
            if asked.stdout.strip() == version:
                return candidate
    pytest.skip(f"Python {version} is not installed here")


@pytest.mark.heavy
@pytest.mark.parametrize("version", ["3.11", "3.12", "3.13"])
def test_serves_from_the_locked_set_alone(models, version):
    python = interpreter(version)
    digest = hashlib.sha256(LOCK.read_bytes()).hexdigest()[:12]
    venv = ROOT / ".venv" / f"serve-{version}-{digest}"  # kept: the lock names it, so it can't go stale
    if not (venv / "done").exists():
        subprocess.run([python, "-m", "venv", "--clear", venv], check=True)
        pip = [venv / "bin" / "python", "-m", "pip", "install", "--quiet", "--require-hashes", "-r", LOCK]
        subprocess.run(pip, check=True)
        (venv / "done").touch()
    assert subprocess.run([venv / "bin" / "python", "-c", "import torch"], capture_output=True).returncode == 1

    port = free_port()
    process = start(models, venv / "bin" / "python", port, MODEL_NAME="admissions", WEB_CONCURRENCY="1")
    try:
        wait(f"http://127.0.0.1:{port}", process)
        status, body = post(f"http://127.0.0.1:{port}", b'{"gre": 800, "gpa": 4.0, "rank": 1}')
        refused, problem = post(f"http://127.0.0.1:{port}", b'{"gre": 800, "gpa": "4", "rank": true}')
    finally:
        process.terminate()
        process.communicate(timeout=120)
    assert status == 200
    assert json.loads(body)["probability"] == pytest.approx(0.7384082459801913, rel=1e-15)
    assert (refused, len(json.loads(problem)["errors"])) == (422, 2)
