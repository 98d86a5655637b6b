"""The memory limit of a container: the largest and worst bodies on every worker kill none."""

import contextlib
import http.client
import re
import subprocess
import threading

import pytest

from tests.support.bodies import worst
from tests.support.docker import compose, docker, wait
from tests.support.service import free_port

pytestmark = pytest.mark.docker
PROJECT = "passfailmemorytest"
MIB = 2**20


@pytest.fixture(scope="module")
def volume():
    """A volume with the lecture's model."""
    compose("down", "--volumes", project=PROJECT)
    compose("build", "train", "serve", project=PROJECT)
    compose("run", "--rm", "train", project=PROJECT)
    yield f"{PROJECT}_models:/app/models:ro"
    compose("down", "--volumes", project=PROJECT)


@pytest.mark.parametrize(
    ("memory", "cpus", "settings"),
    [(1024, 2, []), (512, 1, []), (1024, 2, ["-e", "WORKER_CLASS=gthread"])],
    ids=["1 GiB, 2 workers", "512 MiB, 1 worker", "1 GiB, 2 workers, gthread"],
)
def test_the_worst_bodies_on_every_worker_at_once_kill_none(volume, memory, cpus, settings):
    port, limit = free_port(), f"{memory}m"
    limits = ["--memory", limit, "--memory-swap", limit, "--cpus", str(cpus), "--pids-limit", "128"]
    locked = ["--read-only", "--tmpfs", "/tmp", "--publish", f"{port}:8000", "--volume", volume]
    name = docker("run", "--detach", *limits, *locked, *settings, "passfail-serve").strip()
    try:
        wait(f"http://127.0.0.1:{port}/health/ready", lambda: docker("logs", name))
        allowed = largest(port)
        before = workers(name)
        assert len(before) == cpus
        peaks = {}
        for body in worst(allowed, "hours", "hours", 100_000):
            statuses = at_once(port, body, 4 * cpus)
            peaks[body.name] = peak(name)
            assert set(statuses) <= {200, 400, 413, 415, 422, 503}, (body.name, statuses, peaks)
            assert workers(name) == before, f"{body.name}: a worker was killed; {peaks}"
        assert docker("inspect", "--format", "{{.State.OOMKilled}}", name).strip() == "false"
        print(f"{memory} MiB, bodies of {allowed / MIB:.1f} MiB: {peaks[body.name] / MIB:.0f} MiB at the most")
    finally:
        docker("rm", "--force", name)


def largest(port):
    """MAX_BODY_BYTES, as the refusal of a larger body has it."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.putrequest("POST", "/predict")
    connection.putheader("Content-Type", "application/json")
    connection.putheader("Content-Length", str(2**40))
    connection.endheaders()
    with contextlib.closing(connection), connection.getresponse() as answer:
        return int(re.search(rb"more than (\d+) bytes", answer.read())[1])


def at_once(port, body, clients):
    """The statuses of several requests at the same time, so many that each worker has one."""
    found = []

    def ask():
        headers = {"Content-Type": body.media_type} | ({"Content-Encoding": body.encoding} if body.encoding else {})
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        connection.request("POST", body.path, body.body, headers)
        with connection.getresponse() as answer:
            answer.read()
            found.append(answer.status)
        connection.close()

    threads = [threading.Thread(target=ask) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == clients, f"{body.name}: {clients - len(found)} requests were lost"
    return found


def workers(name):
    return docker("exec", name, "cat", "/proc/1/task/1/children").split()


def peak(name):
    """The most bytes that the container has used, by its cgroup (v2 or v1)."""
    files = "/sys/fs/cgroup/memory.peak /sys/fs/cgroup/memory/memory.max_usage_in_bytes"
    return int(docker("exec", name, "sh", "-c", f"cat {files} 2>/dev/null || true").split()[0])


def test_limits_that_do_not_fit_are_refused_with_what_they_need(volume):
    command = [
        "run",
        "--memory",
        "512m",
        "--volume",
        volume,
        "-e",
        "MAX_BODY_BYTES=16777216",
        "-e",
        "WEB_CONCURRENCY=2",
    ]
    name = docker(*command, "--detach", "passfail-serve").strip()
    try:
        assert docker("wait", name).strip() == "3"
        said = subprocess.run(["docker", "logs", name], capture_output=True, text=True).stderr
    finally:
        docker("rm", "--force", name)
    assert "2 worker(s) (WEB_CONCURRENCY) that read 16777216 bytes (MAX_BODY_BYTES) need" in said
    assert "and the limit is 512 MiB: raise the limit, or lower one setting" in said
