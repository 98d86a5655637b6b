"""The last step of `make demo`: what a person reads on the terminal."""

import json
import os
import pty
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from tests.support import ROOT
from tests.support.service import free_port
from tests.support.wait import until

SECRET = 6.125


def test_the_demo_ends_with_the_addresses_and_its_log_is_plain_text_on_a_terminal(models: Path) -> None:
    port, (terminal, end) = free_port(), pty.openpty()
    environment = {**os.environ, "MODELS_DIR": str(models), "MODEL_NAME": "hours", "PORT": str(port)}
    environment |= {"WEB_CONCURRENCY": "1", "ACCESS_LOG": "on"}
    command = [sys.executable, "-m", "deploy.demo"]
    demo = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=end, stderr=end, start_new_session=True)
    os.close(end)
    output = ""
    try:
        while "until Ctrl-C" not in output:
            output += os.read(terminal, 65536).decode().replace("\r\n", "\n")
        body, answer = re.search(r"^\$ curl .* -d '(.*)' http://localhost:\d+/predict\n(.*)\n", output, re.M).groups()
        urllib.request.urlopen(f"http://localhost:{port}/?hours={SECRET}").close()
        while ' GET "/" ' not in output:
            output += os.read(terminal, 65536).decode().replace("\r\n", "\n")
    finally:
        os.killpg(demo.pid, signal.SIGINT)
        demo.wait(120)
        os.close(terminal)

    assert list(json.loads(body)) == ["hours"]
    assert json.loads(answer)["model"] == "hours"
    assert "outside" not in json.loads(answer)
    for path in ("", "docs"):
        assert re.search(rf"^\w+  http://localhost:{port}/{path}$", output, re.M)
    assert re.search(r"^20\d\d-\S+Z info    serving ", output, re.M)
    assert re.search(r'^20\d\d-\S+Z POST "/predict" 200, \d+\.\d+ ms, 1 rows by hours 1$', output, re.M)
    assert re.search(r'^20\d\d-\S+Z GET "/" 200, \d+\.\d+ ms$', output, re.M)
    assert str(SECRET) not in output


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
def test_a_signal_that_ends_the_demo_ends_its_service(models: Path, number: signal.Signals) -> None:
    port = free_port()
    environment = {**os.environ, "MODELS_DIR": str(models), "MODEL_NAME": "hours", "PORT": str(port)}
    environment |= {"WEB_CONCURRENCY": "1", "HOST": "127.0.0.1", "DRAIN_SECONDS": "0"}
    command = [sys.executable, "-m", "deploy.demo"]
    demo = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert demo.stdout is not None
    until(lambda: b"until Ctrl-C" in demo.stdout.readline())

    demo.send_signal(number)

    assert demo.wait(120) == 128 + number
    demo.stdout.close()
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0
