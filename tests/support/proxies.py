"""nginx and HAProxy, the real programs, as the documents configure them."""

import contextlib
import http.client
import os
import re
import shutil
import subprocess

import pytest

from tests.support import ROOT
from tests.support.service import free_port, service
from tests.support.wait import until

ROW = b'{"hours": 7}'
KIND = {"Content-Type": "application/json"}
DOCUMENTED = (ROOT / "docs/how-to/proxy.md").read_text()


def block(heading):
    """The nginx block below a heading of the documents."""
    return re.search(rf"## {heading}\n.*?```nginx\n(.*?)```", DOCUMENTED, re.S)[1]


BEHIND_A_PATH = re.sub(r"location .*", block("Behind a path") + "}", block("nginx"), flags=re.S)


def program(name):
    return shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin") or pytest.skip(
        f"{name} is not installed: what is documented for it is NOT tested"
    )


def ask(port, path="/predict", body=ROW):
    """(status, body) of an answer on a connection of its own; a GET without a body."""
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=120)) as connection:
        connection.request("GET" if body is None else "POST", path, body, KIND)
        response = connection.getresponse()
        return response.status, response.read()


@contextlib.contextmanager
def running(port, ready, *command):
    """A proxy that answers on a port, by GET at the path `ready`."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        until(lambda: process.poll() is not None or ask(port, ready, None)[0] == 200)
        assert process.poll() is None, process.stdout.read()
        yield process
    finally:
        process.terminate()
        process.communicate(timeout=120)


@pytest.fixture
def behind_nginx(models, tmp_path):
    """behind_nginx(block, **environ) -> (nginx's port, the service's), by a documented block."""
    nginx = program("nginx")
    with contextlib.ExitStack() as stack:

        def behind(block, prefix="", **environ):
            address, _ = stack.enter_context(service(models, MODEL_NAME="hours", WEB_CONCURRENCY="1", **environ))
            port, behind = free_port(), int(address.rpartition(":")[2])
            text = block.replace("listen 443 ssl;", f"listen 127.0.0.1:{port};").replace(":8000", f":{behind}")
            text = re.sub(r"ssl_certificate.*", "", text)
            folders = "".join(
                f"{kind}_temp_path {tmp_path}/{kind};\n" for kind in ("proxy", "fastcgi", "uwsgi", "scgi")
            )
            (tmp_path / "nginx.conf").write_text(
                f"daemon off; pid {tmp_path}/pid; error_log stderr; events {{}}\n"
                f"http {{ access_log off; client_body_temp_path {tmp_path}/body; {folders}{text} }}"
            )
            configured = (nginx, "-p", str(tmp_path), "-c", str(tmp_path / "nginx.conf"))
            stack.enter_context(running(port, f"{prefix}/health/ready", *configured))
            return port, behind

        yield behind
