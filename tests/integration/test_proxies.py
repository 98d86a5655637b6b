"""The documented blocks for nginx and HAProxy, run by the real programs."""

import contextlib
import html
import json
import os
import re
import signal
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urljoin

import pytest

from tests.support import ROOT
from tests.support.processes import children, sockets
from tests.support.proxies import BEHIND_A_PATH, ROW, ask, block, program, running
from tests.support.service import free_port, service
from tests.support.wait import until


def connections(port):
    """The connections to a port that stand or have been closed of late, by the kernel's table."""
    return {one.port for one in sockets() if one.peer == port}


def test_nginx_keeps_its_connection(behind_nginx):
    port, behind = behind_nginx(block("nginx"))
    before = connections(behind)
    for _ in range(20):
        assert ask(port)[0] == 200

    assert len(connections(behind) - before) <= 1


def test_nginx_loses_no_post_to_a_connection_that_was_idle(behind_nginx):
    """nginx would not send such a request again."""
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


@contextlib.contextmanager
def haproxy(folder, *addresses):
    """HAProxy's port, of services at these addresses behind deploy/proxy/haproxy.cfg."""
    port, command = free_port(), program("haproxy")
    text = (ROOT / "deploy/proxy/haproxy.cfg").read_text().replace("bind :8080", f"bind 127.0.0.1:{port}")
    text = re.sub(r"resolvers docker\n(    .*\n)+", "", text).replace(" resolvers docker init-addr none", "")
    servers = "".join(f"    server s{i} {address[7:]}\n" for i, address in enumerate(addresses))
    (folder / "haproxy.cfg").write_text(re.sub(r"    server-template .*\n", servers, text))
    with running(port, "/health/ready", command, "-db", "-f", str(folder / "haproxy.cfg")):
        yield port


@pytest.fixture
def behind_haproxy(models, tmp_path):
    """(HAProxy's port, [a process]) of two services."""
    settings = {"MODEL_NAME": "hours", "WEB_CONCURRENCY": "1"}
    with (
        service(models, **settings) as one,
        service(models, **settings) as other,
        haproxy(tmp_path, one[0], other[0]) as port,
    ):
        yield port, [one[1], other[1]]


class Dying(BaseHTTPRequestHandler):
    """A service that is ready, and closes the connection instead of a response."""

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.server.lost += 1
        self.close_connection = True

    def log_message(self, *arguments):
        pass


@pytest.mark.parametrize(("size", "status"), [(1000, 200), (150 * 1024, 200), (170 * 1024, 502)], ids=str)
def test_haproxy_retries_a_body_that_its_buffer_holds_and_no_larger_one(models, tmp_path, size, status):
    """The buffer holds 160 KiB (tune.bufsize), as docs/how-to/proxy.md says."""
    with (
        service(models, MODEL_NAME="hours", WEB_CONCURRENCY="1") as (address, _),
        ThreadingHTTPServer(("127.0.0.1", 0), Dying) as dying,
        haproxy(tmp_path, address, f"http://127.0.0.1:{dying.server_port}") as port,
    ):
        dying.lost = 0
        threading.Thread(target=dying.serve_forever, daemon=True).start()
        statuses = []
        until(lambda: statuses.append(ask(port, body=ROW.ljust(size))[0]) or dying.lost)
        dying.shutdown()

    assert statuses[-1] == status


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
    for killed in (*children(master), master):
        os.kill(killed, signal.SIGKILL)
    count = len(statuses)
    until(lambda: len(statuses) > count + 30)
    stop.set()
    for one in clients:
        one.join()

    assert set(statuses) == {200}
