"""Docker and Compose, as a user runs them."""

import os
import shutil
import subprocess
import urllib.request

from tests.support import ROOT
from tests.support.wait import until

PROJECT = "passfailtest"


def compose_command():
    """Return the command of Compose, or None: Docker's client may be there without its plugin."""
    commands = (["docker-compose"], ["docker", "compose"])
    there = (command for command in commands if shutil.which(command[0]))
    return next((it for it in there if not subprocess.run([*it, "version"], capture_output=True).returncode), None)


def compose(*arguments, status=0, project=PROJECT, **environ):
    result = subprocess.run([*compose_command(), "-p", project, *arguments], cwd=ROOT, env={**os.environ, **environ},
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)  # fmt: skip
    assert result.returncode == status, result.stdout[-3000:]
    return result.stdout


def docker(*arguments):
    return subprocess.check_output(["docker", *arguments], text=True)


def wait(url, logs):
    """Wait until the address answers 200; fail with what `logs` returns."""
    until(lambda: urllib.request.urlopen(url, timeout=2).close() is None, every=0.2, why=logs)


def wait_until_healthy(*containers):
    """Wait until the health check of each container has passed."""
    state = ("inspect", "--format", "{{.State.Health.Status}}", *containers)
    until(lambda: set(docker(*state).split()) == {"healthy"}, every=0.2)
