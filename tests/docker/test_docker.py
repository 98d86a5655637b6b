"""The images and the compose file, built and run by a real Docker engine (make test-docker)."""

import json
import os
import subprocess
import tempfile
import threading
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from tests.support import ROOT
from tests.support.docker import PROJECT, compose, docker, wait, wait_until_healthy
from tests.support.service import free_port, post
from tests.support.wait import until

pytestmark = pytest.mark.docker


@pytest.fixture(scope="module", autouse=True)
def stopped():
    compose("down", "--volumes")
    yield
    compose("down", "--volumes")


@pytest.fixture(scope="module", params=["serve", "serve-torchscript"])
def up(request):
    """docker-compose up on a fresh machine, for each serving image: (address, container)."""
    port = free_port()
    compose("up", "--detach", "--build", PORT=str(port), SERVE_TARGET=request.param, MODEL_NAME="hours")
    address = f"http://127.0.0.1:{port}"
    wait(f"{address}/health/ready", lambda: compose("logs"))
    (container,) = compose("ps", "--quiet", "serve").split()
    yield address, container
    compose("rm", "--force", "--stop", "serve")


def test_up_trains_exports_and_serves(up):
    address, container = up

    status, body = post(address, b'[{"hours": 1}, {"hours": 7}]')

    assert status == 200
    assert [answer["label"] for answer in json.loads(body)] == ["fail", "pass"]
    assert post(address, b'{"hours": "7"}')[0] == 422
    assert "predict 7 hours: pass" in compose("logs", "--no-color", "train")
    wait_until_healthy(container)


def test_serve_is_locked_down(up):
    _, container = up
    (found,) = json.loads(docker("inspect", container))
    host = found["HostConfig"]

    assert found["Config"]["User"] == "passfail"
    assert host["ReadonlyRootfs"] is True
    assert host["CapDrop"] == ["ALL"]
    assert host["SecurityOpt"] == ["no-new-privileges:true"]
    assert (host["Memory"], host["PidsLimit"], host["NanoCpus"]) == (2**30, 128, 10**9)
    (mount,) = [mount for mount in found["Mounts"] if mount["Destination"] == "/app/models"]
    assert mount["RW"] is False
    with pytest.raises(subprocess.CalledProcessError):
        docker("exec", container, "sh", "-c", "touch /app/models/x 2>/dev/null || touch /app/x 2>/dev/null")


def test_workers_follow_the_quota(up):
    _, container = up

    logs = (
        docker("logs", container) + subprocess.run(["docker", "logs", container], capture_output=True, text=True).stderr
    )
    assert logs.count("Booting worker") == 1


def test_only_the_image_that_needs_torch_has_it(up):
    _, container = up
    image = docker("inspect", "--format", "{{.Config.Image}}", container).strip()
    found = docker("exec", container, "python", "-c", "from importlib import metadata as m; "
                   "print(*sorted(d.name.lower() for d in m.distributions()))").split()  # fmt: skip

    assert ("torch" in found) == (image == "passfail-serve-torchscript")
    assert not {"pip", "pytest", "onnx", "pyarrow", "ruff", "cryptography"} & set(found)
    assert "httptools" in found
    assert docker("exec", container, "sh", "-c", "command -v gcc cc || true") == ""


def test_retraining_beside_the_running_service_loses_nothing(up):
    """Train, serve the new version, and go back: the service answers each request."""
    address, _ = up
    answers, stop = [], threading.Event()

    def ask():
        while not stop.is_set():
            answers.append(post(address, b'{"hours": 7}'))

    client = threading.Thread(target=ask)
    client.start()
    try:
        before = version(address)
        compose("run", "--rm", "train")
        settled(address, before + 1)
        compose("run", "--rm", "train", f"python -m passfail pin {before} --model hours")
        settled(address, before)
        compose("run", "--rm", "train", "python -m passfail pin highest --model hours")
        settled(address, before + 1)
    finally:
        stop.set()
        client.join()

    assert {status for status, _ in answers} == {200}
    assert {json.loads(body)["version"] for _, body in answers} == {before, before + 1}


def version(address):
    with urllib.request.urlopen(f"{address}/health/ready", timeout=5) as answer:
        return json.load(answer)["version"]


def settled(address, wanted):
    until(lambda: version(address) == wanted, every=0.1)


def test_sagemakers_way_of_starting_it(up):
    """SageMaker runs `docker run IMAGE serve`: port 8080, and the models in /opt/ml/model."""
    image = docker("inspect", "--format", "{{.Config.Image}}", up[1]).strip()
    port = free_port()
    volume = f"{PROJECT}_models:/opt/ml/model:ro"
    settings = ["--publish", f"{port}:8080", "--volume", volume, "-e", "MODEL_NAME=hours"]
    name = docker("run", "--detach", *settings, image, "serve")
    try:
        wait(f"http://127.0.0.1:{port}/ping", lambda: docker("logs", name.strip()))
        sent, kind = b'{"instances": [{"hours": 7}]}', {"Content-Type": "application/json"}
        body = urllib.request.Request(f"http://127.0.0.1:{port}/invocations", sent, kind)
        with urllib.request.urlopen(body, timeout=10) as answer:
            assert json.load(answer)["predictions"][0]["label"] == "pass"
    finally:
        docker("rm", "--force", name.strip())


def test_stop_is_clean(up):
    _, container = up
    docker("stop", "--time", "120", container)  # then it would be killed, and the status 137

    assert docker("inspect", "--format", "{{.State.ExitCode}}", container).strip() == "0"


def test_your_own_table(up):
    """A retraining with another table beside the first: a second model in the volume."""
    output = compose("run", "--rm", "train", DATA="admissions.csv", ARGS="--categorical rank")

    assert "wrote models/admissions/" in output
    port = free_port()
    name = compose("run", "--detach", "--publish", f"{port}:8000", "--no-deps", "-e", "MODEL_NAME=admissions", "serve")
    try:
        row = b'{"gre": 800, "gpa": 4.0, "rank": 1}'
        status, body = until(lambda: post(f"http://127.0.0.1:{port}", row), every=0.2)
    finally:
        docker("rm", "--force", name.split()[-1])
    assert (status, json.loads(body)["label"]) == (200, "yes")


@pytest.fixture
def keys():
    """SIGN_WITH and SIGNED_BY: keys in a folder beside docker-compose.yml, for Compose."""
    with tempfile.TemporaryDirectory(prefix=".keys-", dir=ROOT) as folder:
        Path(folder).chmod(0o755)
        private, public = f"{folder}/key.pem", f"{folder}/key.pub"
        subprocess.run(["openssl", "genpkey", "-algorithm", "ED25519", "-out", private], check=True)
        subprocess.run(["openssl", "pkey", "-in", private, "-pubout", "-out", public], check=True)
        Path(private).chmod(0o644)
        yield {name: os.path.relpath(path, ROOT) for name, path in (("SIGN_WITH", private), ("SIGNED_BY", public))}


def test_a_signed_export_is_served_and_an_unsigned_one_is_not(keys):
    """The keys are files in the containers; the serving image has cryptography."""
    signed_by = {"SIGNED_BY": keys["SIGNED_BY"], "MODEL_NAME": "signed", "WEB_CONCURRENCY": "2"}
    compose("build", **signed_by)
    compose("run", "--rm", "train", NAME="signed")
    said = compose("run", "--rm", "--no-deps", "serve", status=3, **signed_by)
    assert "signed/1/manifest.json.sig: can't be read (No such file or directory), and SIGNED_BY requires it" in said

    compose("run", "--rm", "train", NAME="signed", **keys)
    port = free_port()
    name = compose("run", "--detach", "--publish", f"{port}:8000", "--no-deps", "serve", **signed_by).split()[-1]
    try:
        wait(f"http://127.0.0.1:{port}/health/ready", lambda: docker("logs", name))
        assert version(f"http://127.0.0.1:{port}") == 2
        assert docker("exec", name, "printenv", "SIGNED_BY").strip() == keys["SIGNED_BY"]
        assert "key.pem" not in docker("inspect", name), "the private key stays with the trainer"
    finally:
        docker("rm", "--force", name)
