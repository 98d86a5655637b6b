"""An image with the models alone, as KServe's ModelCar takes them.

It has a repository at /models, a shell, ln and sleep. KServe links /mnt/models to the /proc/PID/root/models of its
container. That needs the rights of a pod; here the files are copied out of the image instead.
"""

import json
from pathlib import Path

import pytest

from tests.support import ROOT
from tests.support.docker import docker, wait
from tests.support.service import free_port, post

pytestmark = pytest.mark.docker

LINK = "ln -s /proc/$$/root/models /tmp/models && ls /tmp/models && sleep 0"  # as KServe's container does it


def test_a_service_answers_from_the_image_of_its_models(models: Path, tmp_path: Path) -> None:
    base = ("--build-arg", "MODEL_IMAGE=python:3.11-slim")
    docker("build", "--quiet", "--target", "serve", "--tag", "passfail-serve", str(ROOT))
    dockerfile = ("--file", str(ROOT / "deploy" / "kserve" / "Dockerfile"))
    docker("build", "--quiet", *base, "--tag", "passfailtest-models", *dockerfile, str(models))
    assert docker("run", "--rm", "--user", "10001", "passfailtest-models", "sh", "-c", LINK).split() == sorted(
        path.name for path in models.iterdir()
    )
    car = docker("create", "passfailtest-models").strip()
    port, started = free_port(), [car]
    try:
        docker("cp", f"{car}:/models", str(tmp_path))
        settings = ("--env", "MODELS_DIR=/mnt/models", "--env", "MODEL_NAME=admissions")
        place = ("--volume", f"{tmp_path}/models:/mnt/models:ro", "--publish", f"{port}:8000")
        started.append(docker("run", "--detach", *place, *settings, "passfail-serve").strip())
        wait(f"http://127.0.0.1:{port}/health/ready", lambda: docker("logs", started[1]))

        status, body = post(f"http://127.0.0.1:{port}", b'{"gre": 700, "gpa": 3.5, "rank": "1"}')

        assert status == 200
        assert json.loads(body)["model"] == "admissions"
    finally:
        docker("rm", "--force", *started)
