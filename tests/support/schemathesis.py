"""schemathesis, run against a live service."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import ROOT


def schemathesis(address, folder, *more, examples=20):
    """Against a live service, with all checks, from the description alone; schemathesis.toml has what it can't say."""
    command = Path(sys.executable).with_name("schemathesis")
    if not command.exists() and not shutil.which("schemathesis"):
        pytest.skip("schemathesis is not installed: the description is NOT tested against the service")
    settings = ["--config-file", ROOT / "tests" / "contract" / "schemathesis.toml"]
    chosen = ["--checks", "all", "--max-examples", str(examples), "--seed", "1", "--generation-database", "none"]
    command = [command, *settings, "run", f"{address}/openapi.json", *chosen, *more]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, cwd=folder)
    assert done.returncode == 0, done.stdout[-6000:]
