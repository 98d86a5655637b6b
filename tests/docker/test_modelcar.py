"""An image with the models alone, beside the service, as KServe's ModelCar has it.

KServe lets both containers share their processes and a volume at /mnt. It starts the models' container last. That
links /mnt/models to /proc/PID/root/models, and sleeps (pkg/utils/storage.go, CreateModelcarContainer).
"""

import json
from pathlib import Path

import pytest
import yaml

from tests.support import ROOT
from tests.support.docker import docker, wait
from tests.support.service import free_port, post

pytestmark = pytest.mark.docker

LINK = "ln -sf /proc/$$/root/models /mnt/models && sleep infinity"


@pytest.fixture(scope="module")
def images(models: Path) -> None:
    base = ("--build-arg", "MODEL_IMAGE=python:3.11-slim")
    dockerfile = ("--file", str(ROOT / "deploy" / "kserve" / "Dockerfile"))
    docker("build", "--quiet", "--target", "serve", "--tag", "passfail-serve", str(ROOT))
    docker("build", "--quiet", "--target", "model", *base, "--tag", "passfailtest-models", *dockerfile, str(models))


@pytest.mark.parametrize("user", [10001, 1010], ids=["the pod's user", "KServe's uidModelcar"])
def test_a_service_answers_from_the_image_of_its_models(images: None, tmp_path: Path, user: int) -> None:
    pod = yaml.safe_load((ROOT / "deploy" / "kserve" / "modelcar.yaml").read_text())["spec"]["predictor"]
    (container,) = pod["containers"]
    environ = {one["name"]: one["value"] for one in container["env"]} | {"MODEL_NAME": "admissions"}
    settings = [part for name, value in environ.items() for part in ("--env", f"{name}={value}")]
    volume = tmp_path / "mnt"
    volume.mkdir()
    volume.chmod(0o777)  # as an emptyDir is
    port, started = free_port(), [docker("run", "--detach", "passfailtest-models", "sleep", "infinity").strip()]
    mine = ("--user", f"{user}:{pod['securityContext']['runAsGroup']}", "--volume", f"{volume}:/mnt")
    run = ("run", "--detach", f"--pid=container:{started[0]}", *mine)
    rights = ("--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--read-only", "--tmpfs", "/tmp")
    try:
        publish = ("--publish", f"{port}:8000", *settings)
        started.append(docker(*run, *rights, *publish, "passfail-serve", *container["command"]).strip())
        started.append(docker(*run, "passfailtest-models", "sh", "-c", LINK).strip())
        wait(f"http://127.0.0.1:{port}/health/ready", lambda: docker("logs", started[1]))

        status, body = post(f"http://127.0.0.1:{port}", b'{"gre": 700, "gpa": 3.5, "rank": "1"}')

        assert status == 200
        assert json.loads(body)["model"] == "admissions"
    finally:
        docker("rm", "--force", *started)
