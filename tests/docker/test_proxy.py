"""Three containers behind the compose file's proxy, replaced and killed under load."""

import json
import os
import subprocess
import threading

import pytest

from tests.support import ROOT
from tests.support.docker import compose, docker, wait, wait_until_healthy
from tests.support.service import free_port, post

pytestmark = pytest.mark.docker
PROJECT = "passfailproxytest"


COMPOSE_V2 = ROOT / ".venv-compose"  # make test-docker


@pytest.fixture(scope="module", params=["installed", "v2"])
def proxy(request):
    """The address of the proxy with three containers behind it.

    By the Compose that is installed (Debian's is 1.29), and by v2. The fixture chooses the port of the proxy.
    """
    path = os.environ["PATH"] if request.param == "installed" else f"{COMPOSE_V2}:{os.environ['PATH']}"
    if request.param == "v2" and not (COMPOSE_V2 / "docker-compose").exists():
        pytest.skip("Compose v2 could not be had: it is NOT tested")
    port = free_port()
    settings = {"PORT": "0", "PROXY_PORT": str(port), "MODEL_NAME": "hours", "COMPOSE_PROFILES": "proxy"}
    settings |= {"COMPOSE_PROJECT_NAME": PROJECT, "PATH": path}

    def run(*arguments):
        return compose(*arguments, project=PROJECT, **settings)

    run("down", "--volumes")
    run("up", "--detach", "--build", "--scale", "serve=3")
    address = f"http://127.0.0.1:{port}"
    wait(f"{address}/health/ready", lambda: run("logs"))
    healthy(run)
    yield address, run, settings
    run("down", "--volumes")


def healthy(run):
    wait_until_healthy(*run("ps", "--quiet", "serve").split())


class Load:
    """Three clients, each request on a new connection; `answers`: the answers and errors."""

    def __init__(self, address):
        self.address, self.answers, self._stop = address, [], threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(3)]

    def _ask(self):
        while not self._stop.is_set():
            try:
                self.answers.append(post(self.address, b'{"hours": 7}'))
            except OSError as error:
                self.answers.append((repr(error), None))

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        for thread in self._threads:
            thread.join()


def test_a_rolling_replacement_under_load_loses_nothing(proxy):
    address, run, settings = proxy
    before = set(run("ps", "--quiet", "serve").split())

    with Load(address) as load:
        subprocess.run([ROOT / "deploy" / "proxy" / "roll"], cwd=ROOT, env={**os.environ, **settings}, check=True)

    after = set(run("ps", "--quiet", "serve").split())
    assert len(before) == len(after) == 3
    assert not before & after
    assert {status for status, _ in load.answers} == {200}
    assert {json.loads(body)["label"] for _, body in load.answers} == {"pass"}


def test_a_killed_container_is_not_noticed(proxy):
    """The proxy sends the unanswered requests to another container."""
    address, run, _ = proxy
    victim = run("ps", "--quiet", "serve").split()[0]

    with Load(address) as load:
        while len(load.answers) < 100:
            pass
        docker("kill", victim)
        seen = len(load.answers)
        while len(load.answers) < seen + 300:
            pass

    assert {status for status, _ in load.answers} == {200}


def test_it_needs_no_shared_memory_and_no_disk_but_tmp(proxy):
    """A read-only root, no /dev/shm."""
    port, volume = free_port(), f"{PROJECT}_models:/app/models:ro"
    settings = ["--read-only", "--ipc=none", "--tmpfs", "/tmp", "--volume", volume, "--publish", f"{port}:8000"]
    name = docker(
        "run", "--detach", *settings, "-e", "MODEL_NAME=hours", "-e", "SHADOW_RATE=1", "passfail-serve"
    ).strip()
    try:
        wait(f"http://127.0.0.1:{port}/health/ready", lambda: docker("logs", name))
        assert docker("exec", name, "sh", "-c", "test -e /dev/shm && echo there || echo none").strip() == "none"
        assert post(f"http://127.0.0.1:{port}", b'{"hours": 7}')[0] == 200
    finally:
        docker("rm", "--force", name)
