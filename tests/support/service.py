"""A real gunicorn, started as a user starts it, for the tests that need one."""

import contextlib
import itertools
import os
import random
import socket
import subprocess
import sys
import urllib.error
import urllib.request

from tests.support import ROOT
from tests.support.processes import sockets
from tests.support.wait import until

# Below those that the system gives to clients: one of them could have a port before the service does. Each worker of
# pytest-xdist has ports of its own, up to eight workers, and takes each once.
PORTS = list(range(10_000 + int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:]) % 8, 32_768, 8))
NEXT = itertools.cycle(random.sample(PORTS, len(PORTS)))


def free_port():
    """A port on which nothing listens."""
    for port in NEXT:
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind(("0.0.0.0", port))
            return port


def start(models, python=sys.executable, port=None, module="serve", **environ):
    """Start python -m serve, its output captured; environ adds to this environment."""
    # Tests that read what a user reads must not have the variables that CI sets.
    kept = {name: value for name, value in os.environ.items() if name not in ("CI", "ORT_DISABLE_TELEMETRY")}
    environment = {**kept, "MODELS_DIR": str(models), "PORT": str(port or free_port()), "DRAIN_SECONDS": "0", **environ}
    command = [str(python), "-m", *module.split()]
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


@contextlib.contextmanager
def service(models, **environ):
    """The base address of a ready service, and its process; stopped at the end."""
    port = free_port()
    process = start(models, port=port, **environ)
    try:
        address = f"http://127.0.0.1:{port}"
        wait(address, process)
        yield address, process
    finally:
        stop(process)


def stop(process):
    process.terminate()
    process.communicate(timeout=120)


def wait(address, process, seconds=120):
    """Wait until the service is ready; fail with its output if it stops first."""

    def ready():
        if process.poll() is not None:
            raise AssertionError(f"the service stopped: {process.stdout.read()}")
        urllib.request.urlopen(f"{address}/health/ready", timeout=120).close()
        return True

    until(ready, seconds)


def post(address, body, content_type="application/json"):
    """(status, body) of POST /predict."""
    request = urllib.request.Request(f"{address}/predict", body, {"Content-Type": content_type})
    try:
        with urllib.request.urlopen(request, timeout=120) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def connected(address):
    """Whether some client's connection to the service stands."""
    port = int(address.rsplit(":", 1)[1])
    return any(one.established and one.port == port for one in sockets())
