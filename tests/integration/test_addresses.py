"""The addresses that the service listens on: HOST and PORT."""

import contextlib
import http.client
import socket

import pytest

from serve.server.gunicorn_conf import addresses
from tests.support.service import free_port, start, stop
from tests.support.wait import until

ROW = b'{"hours": 7}'


def asked(connection):
    """The status of a prediction asked for on a connection."""
    with contextlib.closing(connection):
        connection.request("POST", "/predict", ROW, {"Content-Type": "application/json", "Host": "here"})
        with connection.getresponse() as response:
            response.read()
            return response.status


class Unix(http.client.HTTPConnection):
    """HTTP on a Unix socket."""

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self.host)


@pytest.fixture
def running(models):
    """running(**environ) -> a service's process, which is stopped at the end of the test."""
    started = []

    def running(**environ):
        started.append(start(models, MODEL_NAME="hours", WEB_CONCURRENCY="1", **environ))
        return started[-1]

    yield running
    for process in started:
        stop(process)


def has_ipv6():
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
        return True
    except OSError:
        return False


ipv6 = pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6: it is NOT tested")


@pytest.mark.parametrize("worker_class", ["asgi", "gthread"])
@ipv6
def test_by_default_it_listens_on_ipv4_and_ipv6(running, worker_class):
    port = free_port()
    running(port=port, WORKER_CLASS=worker_class)

    for host in ("127.0.0.1", "::1"):
        assert until(lambda host=host: asked(http.client.HTTPConnection(host, port, timeout=120))) == 200


@pytest.mark.parametrize(("host", "other"), [("127.0.0.1", "127.0.0.2"), pytest.param("::1", "127.0.0.1", marks=ipv6)])
def test_a_host_is_the_only_address(running, host, other):
    port = free_port()
    running(port=port, HOST=host)

    assert until(lambda: asked(http.client.HTTPConnection(host, port, timeout=120))) == 200
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((other, port), timeout=120)


@pytest.mark.parametrize("worker_class", ["asgi", "gthread"])
def test_a_unix_socket(running, worker_class, tmp_path):
    path = str(tmp_path / "http")
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(path)  # a socket that a killed service has left: nobody listens there
    running(HOST=f"unix:{path}", WORKER_CLASS=worker_class)

    assert until(lambda: asked(Unix(path, timeout=120))) == 200


@pytest.mark.parametrize(("host", "line"), [
    ("192.0.2.1", "HOST 192.0.2.1: Cannot assign requested address: choose another"),
    ("unix:/nowhere/http", "HOST unix:/nowhere/http: the folder can't be written to: choose another"),
    ("no.such.host.invalid", "HOST no.such.host.invalid: "),
    ("unix:{}/file", "HOST unix:{}/file: another file is there: choose another"),
    ("unix:{}/a:b", "HOST unix:{}/a:b: another process listens there: choose another"),
    (f"unix:{{}}/{'x' * 200}", f"HOST unix:{{}}/{'x' * 200}: AF_UNIX path too long: choose another"),
])  # fmt: skip
def test_an_address_that_can_not_be_listened_on_is_one_line(models, tmp_path, host, line):
    (tmp_path / "file").touch()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "a:b"))
        listener.listen()
        process = start(models, MODEL_NAME="hours", HOST=host.format(tmp_path))
        output, _ = process.communicate(timeout=120)

    assert process.returncode == 3
    assert output.startswith(f"passfail can't start: {line.format(tmp_path)}")
    assert output.count("\n") == 1


@pytest.mark.parametrize(("settings", "found"), [
    (("127.0.0.1", 80, None), ["127.0.0.1:80"]),
    (("::1", 80, 81), ["[::1]:80", "[::1]:81"]),
    (("unix:/a:b", 80, None), ["unix:/a:b"]),
])  # fmt: skip
def test_addresses_as_gunicorn_takes_them(settings, found):
    assert addresses(*settings) == found
