"""The official clients of the protocols get the closed form's probabilities."""

import contextlib
import itertools
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from passfail import manifest as contract
from passfail.columns import row
from passfail.proof import reference
from tests.support import ROOT
from tests.support.clients import OTHERS
from tests.support.protocols import GOOD
from tests.support.service import free_port, start, stop, wait


@pytest.fixture(scope="module")
def addresses(models):
    """Four services, started at once: each runtime under each worker class."""
    with contextlib.ExitStack() as stack:
        started = []
        for runtime, worker_class in itertools.product(("onnx", "torchscript"), ("asgi", "gthread")):
            settings = {"MODEL_NAME": "admissions", "RUNTIME": runtime, "WORKER_CLASS": worker_class}
            port = free_port()
            process = start(models, port=port, WEB_CONCURRENCY="1", **settings)
            stack.callback(stop, process)
            started.append((f"http://127.0.0.1:{port}", process))
        for address, process in started:
            wait(address, process)
        yield [address for address, _ in started]


@pytest.mark.parametrize("client", ["triton", "kserve", "mlflow"])
def test_an_official_client_gets_the_closed_forms_probabilities(models, addresses, client):
    python = Path(sys.executable) if client == "triton" else OTHERS
    if not python.exists():
        pytest.skip(f"no {OTHERS.parent.parent.name} here (make test makes it): the client {client} is NOT tested")
    command = [python, "-m", "tests.support.clients", client, *addresses]
    done = subprocess.run(command, cwd=ROOT, input=json.dumps(GOOD), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    manifest = contract.decode((models / "admissions" / "1" / contract.FILENAME).read_bytes())
    logit = reference.logit(manifest, np.array([row(manifest.features, good) for good in GOOD]))
    with np.errstate(over="ignore"):
        wanted = 1 / (1 + np.exp(-logit))
    labels = [manifest.target.labels[yes] for yes in (logit > manifest.logit_threshold).tolist()]

    for found in json.loads(done.stdout.splitlines()[-1]):
        assert found.pop("labels") == labels
        assert "levels" in found.pop("refused")
        assert len(found) == 4
        for form, probabilities in found.items():
            assert probabilities == next(iter(found.values())), form
            np.testing.assert_array_max_ulp(np.array(probabilities), wanted, 4)
