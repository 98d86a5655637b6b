"""Workers and the whole service end, by request and by force, while clients ask."""

import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from tests.support import ROOT
from tests.support.processes import children
from tests.support.service import post, service, start
from tests.support.wait import until

ROW = b'{"hours": 7}'
KIND = {"Content-Type": "application/json"}
REQUEST = b"POST /predict HTTP/1.1\r\nHost: here\r\nContent-Type: application/json\r\nContent-Length: 12\r\n\r\n" + ROW


class Client(threading.Thread):
    """Asks again and again on a kept connection, as RFC 9112 (9.3.1) has it.

    Once a connection ends it asks whether the service is ready before it comes back, and asks again for what a kept
    connection left unanswered. right: how many answers were; lost: what went wrong on a new connection.
    """

    def __init__(self, address):
        super().__init__()
        self.host, self.right, self.lost, self.stop = address.removeprefix("http://"), 0, None, False
        self.start()

    def run(self):
        connection, kept = http.client.HTTPConnection(self.host, timeout=120), False
        while not self.stop and self.lost is None:
            try:
                connection.request("POST", "/predict", ROW, KIND)
                answer = connection.getresponse()
                assert (answer.status, b'"passed":true' in answer.read()) == (200, True)
                self.right += 1
                kept = not answer.will_close
            except ConnectionError as error:  # RemoteDisconnected is one
                self.lost = None if kept else error
                connection.close()
                kept = False
            if not kept and ready(f"http://{self.host}") != 200:
                break
        connection.close()


def ready(address):
    try:
        with urllib.request.urlopen(f"{address}/health/ready", timeout=120) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        with error:
            return error.code
    except OSError:
        return None


def all_agree(address):
    """Whether every worker serves the version that this one does."""
    with urllib.request.urlopen(f"{address}/health/ready", timeout=120) as answer:
        return "workers" not in json.load(answer)


def workers(process):
    """The workers' process numbers."""
    return set(children(process.pid))


def answered(clients):
    """(whether it still asks, how many answers were right, what it lost) of each client."""
    return [(client.is_alive(), client.right, client.lost) for client in clients]


def status_after_sigterm(process):
    """Send SIGTERM once the process prints `slowly`; return its exit status."""
    for line in process.stdout:
        if line.startswith("slowly"):
            break
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=120)
    return process.returncode


@pytest.mark.parametrize("worker_class", ["asgi", "gthread"])
def test_sigterm_under_load_loses_nothing(models, worker_class):
    settings = {"MODEL_NAME": "hours", "WEB_CONCURRENCY": "2", "WORKER_CLASS": worker_class, "DRAIN_SECONDS": "5"}
    with service(models, **settings) as (address, process):
        clients = [Client(address) for _ in range(3)]
        until(lambda: all(client.right > 10 for client in clients))
        process.send_signal(signal.SIGTERM)

        until(lambda: ready(address) == 503)
        for _ in range(3):  # new connections, and not ready any more
            assert post(address, ROW)[0] == 200
        for client in clients:
            client.join(timeout=120)
            assert not client.is_alive()
            assert client.lost is None
        output, _ = process.communicate(timeout=120)

    assert process.returncode == 0
    assert "Traceback" not in output


def test_a_killed_worker_takes_only_what_it_had_with_it(models):
    with service(models, MODEL_NAME="hours", WEB_CONCURRENCY="2") as (address, process):
        clients = [Client(address) for _ in range(4)]
        until(lambda: all(client.right > 10 for client in clients), why=lambda: answered(clients))
        until(lambda: len(workers(process)) == 2)
        killed = min(workers(process))
        os.kill(killed, signal.SIGKILL)
        until(lambda: killed not in workers(process) and len(workers(process)) == 2)
        seen = [client.right for client in clients]
        until(
            lambda: all(client.right > count + 10 for client, count in zip(clients, seen, strict=True)),
            why=lambda: answered(clients),
        )
        for client in clients:
            client.stop = True
            client.join(timeout=120)

    assert [client.lost for client in clients] == [None] * 4


def test_a_worker_that_hangs_while_it_starts_is_replaced(models):
    """gunicorn took the time of its heartbeat file for a future one, and waited for ever."""
    settings = {"WEB_CONCURRENCY": "2", "MODEL_NAME": "hours", "GUNICORN_CMD_ARGS": "--timeout 2"}
    with service(models, **settings) as (_, process):
        first, second = until(lambda: len(found := workers(process)) == 2 and found)
        os.kill(first, signal.SIGKILL)
        (hung,) = until(lambda: set(workers(process)) - {first, second})
        os.kill(hung, signal.SIGSTOP)

        until(lambda: hung not in workers(process))


SLOW_STORAGE = """
import time
import serve.registry
opened = serve.registry.open_models
serve.registry.open_models = lambda *given: time.sleep(4) or opened(*given)
serve.registry.open_before_fork = lambda config: None
"""


def test_a_worker_whose_models_come_slowly_is_not_taken_for_one_that_hangs(models, tmp_path):
    (tmp_path / "sitecustomize.py").write_text(SLOW_STORAGE)
    settings = {"GUNICORN_CMD_ARGS": "--timeout 2", "PYTHONPATH": f"{tmp_path}:{ROOT}"}
    with service(models, MODEL_NAME="hours", WEB_CONCURRENCY="1", **settings) as (address, _):
        assert ready(address) == 200


def test_a_replacement_that_finds_no_models_is_tried_again_and_the_service_goes_on(models, tmp_path):
    home = shutil.copytree(models / "hours", tmp_path / "models" / "hours")
    with service(tmp_path / "models", MODEL_NAME="hours", WEB_CONCURRENCY="2") as (address, process):
        until(lambda: len(workers(process)) == 2 and all_agree(address))  # both have opened the model
        first = min(workers(process))
        away = home.rename(tmp_path / "away")
        os.kill(first, signal.SIGKILL)
        for _ in range(2):  # one fails, and one more is tried
            before = set(workers(process))
            until(lambda before=before: set(workers(process)) - before)
        assert ready(address) == 200

        away.rename(home)

        for _ in range(2):  # and whatever ends a worker later is no reason to stop
            until(lambda: len(workers(process)) == 2 and all_agree(address))
            victim = min(workers(process))
            os.kill(victim, signal.SIGKILL)
            until(lambda victim=victim: victim not in workers(process))
        until(lambda: len(workers(process)) == 2 and all_agree(address))
        assert process.poll() is None


def test_a_connection_that_was_accepted_before_the_stop_is_served(models, tmp_path):
    """Its client can't know that the worker stops, and has no connection to ask anew on."""
    (tmp_path / "sitecustomize.py").write_text("from serve.server import connection; connection.LEAVE_SECONDS = 60")
    settings = {"WEB_CONCURRENCY": "1", "PYTHONPATH": f"{tmp_path}:{ROOT}"}
    with service(models, MODEL_NAME="hours", **settings) as (address, process):
        host, port = address.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=120) as connection:
            assert ready(address) == 200  # by now it is accepted
            process.send_signal(signal.SIGTERM)
            until(lambda: ready(address) is None)  # nothing listens any more
            connection.sendall(REQUEST)
            received = b""
            while data := connection.recv(65536):
                received += data
        process.communicate(timeout=120)

    assert received.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"\r\nConnection: close\r\n" in received
    assert process.returncode == 0


@pytest.mark.parametrize("more", [{}, {"GUNICORN_CMD_ARGS": "--max-requests 100"}], ids=["SIGTERM", "max-requests"])
def test_new_connections_lose_nothing_when_workers_are_replaced(models, more):
    with service(models, MODEL_NAME="hours", WEB_CONCURRENCY="2", **more) as (address, process):
        host, port = address.removeprefix("http://").split(":")
        answers, stop = [], threading.Event()
        until(lambda: len(workers(process)) == 2)  # the first answers before the second is there

        def client():
            while not stop.is_set():
                with socket.create_connection((host, int(port)), timeout=120) as connection:
                    connection.sendall(REQUEST)
                    answers.append(connection.recv(12))

        clients = [threading.Thread(target=client) for _ in range(8)]
        for one in clients:
            one.start()
        for _ in range(4):
            before, answered = workers(process), len(answers)
            until(lambda answered=answered: len(answers) > answered + 2 * len(clients))  # every client asks
            if not more:
                os.kill(min(before), signal.SIGTERM)
            until(lambda before=before: len(workers(process)) == 2 and workers(process) != before)
        stop.set()
        for one in clients:
            one.join()

    assert {*answers} == {b"HTTP/1.1 200"}


@pytest.mark.parametrize("worker_class", ["asgi", "gthread"])
def test_a_worker_without_its_parent_stops(models, worker_class):
    """It answers what it has, and ends each connection: our own worker says so before."""
    settings = {"MODEL_NAME": "hours", "WEB_CONCURRENCY": "2", "WORKER_CLASS": worker_class}
    with service(models, **settings) as (address, process):
        host, port = address.removeprefix("http://").split(":")
        orphans = until(lambda: len(found := workers(process)) == 2 and found)
        with socket.create_connection((host, int(port)), timeout=120) as kept:
            process.kill()
            process.wait()
            received = b""
            with contextlib.suppress(ConnectionError):
                while b"\r\nConnection: close\r\n" not in received:
                    kept.sendall(REQUEST)
                    data = kept.recv(65536)
                    if not data:
                        break
                    received += data
                    time.sleep(0.05)
            until(lambda: not any(Path(f"/proc/{orphan}").exists() for orphan in orphans))

    assert received.count(b"HTTP/1.1 200 OK\r\n") == received.count(b"HTTP/1.1 ")
    assert worker_class == "gthread" or b"\r\nConnection: close\r\n" in received


HANGS = """
import time
from serve.protocols.routes import Routes
Routes.hot = lambda self, path, method: time.sleep(1000) if path == "/predict" else None
"""


@pytest.mark.parametrize("fault", ["killed", "stopped", "hangs"])
def test_the_only_worker_is_replaced_and_who_waits_is_answered(models, tmp_path, fault):
    """The parent keeps the listening socket: a client that connects meanwhile waits."""
    (tmp_path / "sitecustomize.py").write_text(HANGS if fault == "hangs" else "")
    settings = {"GUNICORN_CMD_ARGS": "--timeout 2", "PYTHONPATH": f"{tmp_path}:{ROOT}"}
    with service(models, MODEL_NAME="hours", WEB_CONCURRENCY="1", **settings) as (address, process):
        (before,) = workers(process)
        if fault == "hangs":
            host, port = address.removeprefix("http://").split(":")
            with socket.create_connection((host, int(port))) as connection:
                connection.sendall(REQUEST)
                assert connection.recv(1) == b""
        else:
            os.kill(before, signal.SIGKILL if fault == "killed" else signal.SIGSTOP)

        assert ready(address) == 200
        assert before not in workers(process)


@pytest.mark.parametrize("worker_class", ["asgi", "gthread"])
@pytest.mark.parametrize("hook", ["post_fork(server, worker)", "post_worker_init(worker)"])
def test_sigterm_while_a_worker_is_still_loading(models, worker_class, hook, tmp_path):
    """gunicorn's handlers after the fork, or uvloop's later, would lose the signal."""
    slow = tmp_path / "slow.py"
    slow.write_text(
        f"""import time
from serve.server import gunicorn_conf
from serve.server.gunicorn_conf import *

def {hook}:
    print("slowly", flush=True)
    time.sleep(1)
    gunicorn_conf.{hook}
"""
    )
    module = f"gunicorn -c {slow}"
    settings = {"WEB_CONCURRENCY": "1", "WORKER_CLASS": worker_class, "GUNICORN_CMD_ARGS": "--graceful-timeout 1000"}
    process = start(models, module=module, MODEL_NAME="hours", **settings)

    assert status_after_sigterm(process) == 0


@pytest.mark.parametrize("worker_class", ["asgi", "gthread"])
def test_usr2_starts_the_service_anew_and_it_goes_on_when_the_old_one_stops(models, worker_class):
    """gunicorn upgrades on the same socket; a client that connects meanwhile waits."""
    settings = {"MODEL_NAME": "hours", "WEB_CONCURRENCY": "1", "WORKER_CLASS": worker_class}
    with service(models, **settings) as (address, process):
        before = workers(process)
        process.send_signal(signal.SIGUSR2)
        until(lambda: workers(process) - before)
        (anew,) = workers(process) - before
        try:
            process.terminate()
            process.wait(timeout=120)
            assert post(address, ROW)[0] == 200
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(anew, signal.SIGTERM)


def test_sigterm_while_the_parent_opens_the_models_stops_the_service(models, tmp_path):
    """The process 1 of a container ignores a signal without a handler."""
    (tmp_path / "sitecustomize.py").write_text("""
import time
import serve.registry
serve.registry.open_models = lambda *given: print("slowly", flush=True) or time.sleep(1000)
""")
    process = start(models, MODEL_NAME="hours", PYTHONPATH=f"{tmp_path}:{ROOT}")

    assert status_after_sigterm(process) == 0


INTERRUPTED = """
import os, signal, sys
class Interrupt:
    def find_spec(self, name, path=None, target=None):
        if name == os.environ["INTERRUPTED_AT"]:
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Interrupt())
"""


@pytest.mark.parametrize(("module", "imported"), [("serve", "serve.server.application"), ("train fit", "torch")])
def test_ctrl_c_while_modules_are_imported_is_no_traceback(models, tmp_path, module, imported):
    """The imports of the trainer take seconds."""
    (tmp_path / "sitecustomize.py").write_text(INTERRUPTED)
    environ = {"PYTHONPATH": str(tmp_path), "INTERRUPTED_AT": imported, "MODEL_NAME": "hours"}
    process = start(models, module=module, **environ)
    output, _ = process.communicate(timeout=120)

    assert process.returncode == 128 + signal.SIGINT
    assert "Traceback" not in output
