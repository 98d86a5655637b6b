"""The documented blocks for nginx and HAProxy, run by the real programs."""

import html
import json
import os
import re
import signal
import threading
import time
from pathlib import Path
from urllib.parse import urljoin

import pytest

from tests.support import ROOT
from tests.support.proxies import BEHIND_A_PATH, ROW, ask, block, program, running
from tests.support.service import free_port, service
from tests.support.wait import until


def connections(port):
    """The connections to a port that stand or have been closed of late, by the kernel's table."""
    lines = "".join(Path(f"/proc/net/{table}").read_text() for table in ("tcp", "tcp6")).splitlines()
    return {line.split()[1] for line in lines if line.split()[2].endswith(f":{port:04X}")}


def test_nginx_keeps_its_connection(behind_nginx):
    port, behind = behind_nginx(block("nginx"))
    before = connections(behind)
    for _ in range(20):
        assert ask(port)[0] == 200

    assert len(connections(behind) - before) <= 1


def test_nginx_loses_no_post_to_a_connection_that_was_idle(behind_nginx):
    """Which nginx would not ask again."""
    port, _ = behind_nginx(block("nginx"))
    for pause in (0, 1.9, 2.0, 2.1):
        time.sleep(pause)
        assert ask(port)[0] == 200


def test_the_service_behind_a_path(behind_nginx):
    """Whatever the page and the description link to is there."""
    port, _ = behind_nginx(BEHIND_A_PATH, "/model-a", ROOT_PATH="/model-a")
    for page in ("", "docs"):
        status, text = ask(port, f"/model-a/{page}", None)
        links = re.findall(r'(?:href|src|action)="(?!data:|#)([^"]+)"', text.decode())
        assert status == 200
        assert links
        for link in links:
            assert ask(port, urljoin("/model-a/", html.unescape(link)), None)[0] == 200, link
    description = json.loads(ask(port, "/model-a/openapi.json", None)[1])
    (server,) = description["servers"]
    assert ask(port, f"{server['url']}/predict")[0] == 200


@pytest.fixture
def behind_haproxy(models, tmp_path):
    """(HAProxy's port, [a process]) of two services behind deploy/proxy/haproxy.cfg."""
    haproxy = program("haproxy")
    settings = {"MODEL_NAME": "hours", "WEB_CONCURRENCY": "1"}
    with service(models, **settings) as one, service(models, **settings) as other:
        port = free_port()
        text = (ROOT / "deploy/proxy/haproxy.cfg").read_text().replace("bind :8080", f"bind 127.0.0.1:{port}")
        text = re.sub(r"resolvers docker\n(    .*\n)+", "", text).replace(" resolvers docker init-addr none", "")
        servers = "".join(f"    server s{i} {address[7:]}\n" for i, (address, _) in enumerate((one, other)))
        (tmp_path / "haproxy.cfg").write_text(re.sub(r"    server-template .*\n", servers, text))
        with running(port, "/health/ready", haproxy, "-db", "-f", str(tmp_path / "haproxy.cfg")):
            yield port, [one[1], other[1]]


@pytest.mark.parametrize("rows", [1, 7_000], ids=["small", "100 KB"])
def test_haproxy_asks_another_what_a_killed_service_left_unanswered(behind_haproxy, rows):
    port, services = behind_haproxy
    body, statuses, stop = b"[" + b",".join([ROW] * rows) + b"]", [], threading.Event()

    def client():
        while not stop.is_set():
            statuses.append(ask(port, body=body)[0])

    clients = [threading.Thread(target=client) for _ in range(8)]
    for one in clients:
        one.start()
    until(lambda: len(statuses) > 20)
    (master, _) = (one.pid for one in services)
    for killed in (*Path(f"/proc/{master}/task/{master}/children").read_text().split(), master):
        os.kill(int(killed), signal.SIGKILL)
    count = len(statuses)
    until(lambda: len(statuses) > count + 30)
    stop.set()
    for one in clients:
        one.join()

    assert set(statuses) == {200}
