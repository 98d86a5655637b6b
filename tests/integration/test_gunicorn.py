"""The service as it is run: gunicorn, workers, signals and all."""

import http.client
import json
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from random import Random

import pytest

from passfail.repository import read_manifest
from serve.__main__ import USAGE
from tests.support import ROOT
from tests.support.processes import children
from tests.support.service import connected, post, service, start
from tests.support.wait import until


@pytest.fixture(scope="module")
def running(models, runtime):
    """One service with two workers for each runtime: (address, process)."""
    with service(models, MODEL_NAME="hours", RUNTIME=runtime, WEB_CONCURRENCY="2") as found:
        yield found


def test_answers_on_every_worker(running):
    """Each request has a new connection, so both workers answer; all answers are equal."""
    address, _ = running

    answers = {post(address, b'{"hours": 7}') for _ in range(20)}

    ((status, body),) = answers
    assert status == 200
    assert json.loads(body)["label"] == "pass"


def test_what_workers_share_is_imported_before_the_fork_and_no_thread_is_started(running, runtime):
    """A thread, or torch, would not live on in a worker that is forked after it."""
    pid = running[1].pid
    with open(f"/proc/{pid}/maps") as file:
        mapped = file.read()
    with open(f"/proc/{pid}/status") as file:
        status = file.read()

    assert "/numpy/" in mapped
    assert "/uvloop/" in mapped
    assert ("/onnxruntime/" in mapped) == (runtime == "onnx")
    assert "/torch/" not in mapped
    assert "Threads:\t1\n" in status


def test_the_parent_opens_the_model_once_for_all_workers(models):
    """Each worker would otherwise have a copy in its own memory."""
    with service(models, MODEL_NAME="hours", WEB_CONCURRENCY="2") as (_, process):
        until(lambda: len(children(process.pid)) == 2)
        process.terminate()
        output, _ = process.communicate(timeout=120)

    events = [json.loads(line) for line in output.splitlines()]
    assert [event["process"] for event in events if event["logger"] == "passfail.loading"] == [process.pid]


def test_a_large_body_starts_one_thread(models):
    """OpenBLAS would start one more for each further processor, and they spin meanwhile."""
    with service(models, MODEL_NAME="hours", WEB_CONCURRENCY="1") as (address, process):
        (worker,) = children(process.pid)
        threads = Path(f"/proc/{worker}/task")
        post(address, b'{"hours": 2}')
        before = set(threads.iterdir())  # one of them may end meanwhile
        status, _ = post(address, b"hours\n" + b"2\n" * 90_000, "text/csv")

        assert (status, len(set(threads.iterdir()) - before)) == (200, 1)


@pytest.mark.parametrize(
    ("body", "status"), [(b'{"hours": "7"}', 422), (b"{", 400), (b'{"hours": 1, "hours": 2}', 422)]
)
def test_errors_are_problem_documents(running, body, status):
    found, text = post(running[0], body)

    assert (found, json.loads(text)["status"]) == (status, status)


def test_chunked_bodies_and_kept_connections(running):
    connection = http.client.HTTPConnection(running[0].removeprefix("http://"), timeout=120)
    headers = {"Content-Type": "application/json", "Transfer-Encoding": "chunked"}
    for _ in range(2):
        connection.request("POST", "/predict", iter([b'{"hou', b'rs": 7}']), headers, encode_chunked=True)
        with connection.getresponse() as response:
            assert response.status == 200
            assert json.loads(response.read())["passed"] is True
    connection.close()


def test_a_connection_that_has_gone_takes_no_memory(running):
    """The client hangs up.

    gunicorn's own connections take 14 KiB each, until the garbage collector runs. The first rounds include the
    memory that each worker takes with its first requests.
    """
    address, process = running
    grown = []
    for _ in range(5):
        before = _written(process)
        for _ in range(100):
            assert post(address, b'{"hours": 7}')[0] == 200  # asks the server to hang up
            connection = http.client.HTTPConnection(address.removeprefix("http://"), timeout=120)
            connection.request("POST", "/predict", b'{"hours": 7}')
            with connection.getresponse() as response:
                response.read()
            connection.close()
        grown.append(_written(process) - before)

    assert min(grown) < 512, grown


def _written(process):
    """KiB that its workers have written to and share with nobody."""
    sizes = [Path(f"/proc/{worker}/smaps_rollup").read_text() for worker in children(process.pid)]
    return sum(int(re.search(r"Private_Dirty: +(\d+)", size)[1]) for size in sizes)


def test_a_body_beyond_the_limit_is_refused(models):
    with service(models, MODEL_NAME="hours", MAX_BODY_BYTES="1000", WEB_CONCURRENCY="1") as (address, _):
        assert post(address, b" " * 1001)[0] == 413
        assert post(address, b'{"hours": 7}')[0] == 200


def test_sigterm_finishes_what_it_has_and_stops_cleanly(models):
    # A second in which a connection that the kernel has, and the worker not yet, is still taken.
    with service(models, MODEL_NAME="hours", WEB_CONCURRENCY="1", DRAIN_SECONDS="1") as (address, process):
        body = json.dumps([{"hours": h} for h in range(50_000)]).encode()
        results = []
        asking = threading.Thread(target=lambda: results.append(post(address, body)))
        asking.start()
        until(lambda: connected(address) or results)
        process.send_signal(signal.SIGTERM)
        asking.join()
        output, _ = process.communicate(timeout=120)

    assert process.returncode == 0
    assert "Traceback" not in output
    ((status, answer),) = results
    assert (status, len(json.loads(answer))) == (200, 50_000)


@pytest.mark.parametrize(
    ("environ", "line"),
    [
        ({"MODEL_NAME": "nosuch"}, "holds no exported version: run make train export, or set MODEL_NAME"),
        ({"MODEL_NAME": "hours", "RUNTIME": "magic", "MAX_ROWS": "x"}, "RUNTIME must be onnx or torchscript; MAX_ROWS"),
        ({}, "holds admissions, hours, study_hours: set MODEL_NAME to one of them"),
    ],
)
def test_what_is_wrong_ends_the_process_with_one_line(models, environ, line):
    process = start(models, **environ)
    output, _ = process.communicate(timeout=120)

    assert process.returncode == 3
    (said,) = output.splitlines()
    assert said.startswith("passfail can't start: ")
    assert line in said


@pytest.mark.parametrize("worker_class", ["asgi", "gthread"])
def test_a_model_that_cannot_be_trusted_ends_the_process_with_one_line(models, tmp_path, worker_class):
    """Each of several workers refuses to start; gunicorn adds lines of its own."""
    shutil.copytree(models / "hours", tmp_path / "hours")
    (tmp_path / "hours/1/model.onnx").write_bytes(b"")
    process = start(tmp_path, WEB_CONCURRENCY="3", WORKER_CLASS=worker_class)
    output, _ = process.communicate(timeout=120)

    assert process.returncode == 3
    (said,) = [text for text in output.splitlines() if text.startswith("passfail can't start: ")]
    assert "hours/1/model.onnx: " in said
    assert "Traceback" not in output


@pytest.mark.parametrize("name", ["PORT", "METRICS_PORT"])
def test_a_port_that_is_taken_is_one_line(models, name):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        process = start(models, MODEL_NAME="hours", **{name: str(port)})
        output, _ = process.communicate(timeout=120)

    assert process.returncode == 3
    assert output == f"passfail can't start: {name} {port}: Address already in use: choose another\n"


def test_an_argument_that_it_does_not_know_starts_nothing(models):
    """`python -m serve rplay` would otherwise be a service."""
    process = start(models, module="serve rplay", MODEL_NAME="hours")
    output, _ = process.communicate(timeout=120)

    assert (process.returncode, output) == (2, f"{USAGE}\n")


def test_one_changed_byte_in_any_file_ends_the_service_with_the_files_name(models, tmp_path):
    """Any byte of any, by chance; each file in a repository of its own, all at once."""
    processes, random = {}, Random(1)
    for path in sorted((models / "hours" / "1").iterdir()):
        copied = shutil.copytree(models / "hours", tmp_path / path.name / "hours") / "1" / path.name
        data = bytearray(copied.read_bytes())
        data[random.randrange(len(data))] ^= 1 << random.randrange(8)
        copied.write_bytes(data)
        processes[path.name] = start(tmp_path / path.name, WEB_CONCURRENCY="1")

    assert set(processes) == {"manifest.json", *read_manifest(models / "hours" / "1").files}
    for name, process in processes.items():
        output, _ = process.communicate(timeout=120)
        assert (process.returncode, f"/hours/1/{name}: " in output) == (3, True), output


def test_a_machine_that_answers_otherwise_does_not_serve_and_says_by_how_much(models, tmp_path):
    """One unit in the last place of the logit, far out, where no recorded example is."""
    (tmp_path / "sitecustomize.py").write_text(NUDGED)
    process = start(models, MODEL_NAME="hours", WEB_CONCURRENCY="2", PYTHONPATH=f"{tmp_path}:{ROOT}")
    output, _ = process.communicate(timeout=120)

    assert process.returncode == 3
    words = r"hours/1: onnx doesn't answer on this machine as it was certified: logits whose bits .*: \d+ \(at most 0\)"
    assert re.search(f"passfail can't start: .*{words}", output)


NUDGED = """
import numpy as np
from passfail import loading
load = loading.load_runtime
def nudged(name, model):
    run = load(name, model)
    def answer(x):
        logit, probability = run(x)
        return np.where(np.abs(x[:, 0]) > 1e6, np.nextafter(logit, np.inf), logit), probability
    return answer
loading.load_runtime = nudged
"""


WRONG = {"PORT": ("http", "70000"), "WEB_CONCURRENCY": ("0", "x", "257", "9" * 5000)}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in WRONG.items() for value in values])
def test_a_wrong_server_setting_is_one_line(models, name, value):
    most = {"PORT": 65535, "WEB_CONCURRENCY": 256}

    process = start(models, **{name: value}) if name != "PORT" else start(models, port=value)
    output, _ = process.communicate(timeout=120)

    assert process.returncode == 3
    assert output == f"passfail can't start: {name} must be a whole number from 1 to {most[name]}\n"


def test_no_control_socket(running):
    """gunicorn opens one by default, which needs a writable folder and would be another way in."""
    with open("/proc/net/unix") as table:
        assert "gunicorn.ctl" not in table.read()


GUARDED = """
import os, sys
class Guard:
    def find_spec(self, name, path=None, target=None):
        if name in ("torch", "numpy.random"):  # large, and nothing needs them
            raise AssertionError(f"{name} was imported")
        if name == "onnxruntime":
            print("telemetry off:", os.environ.get("ORT_DISABLE_TELEMETRY"))
sys.meta_path.insert(0, Guard())
from serve.server.flask_app import create_app
served = create_app().test_client()
print(served.post("/predict", json={"hours": 7}).json["label"])
"""


def test_onnx_serves_without_torch_and_without_telemetry(models):
    environ = {"MODELS_DIR": str(models), "MODEL_NAME": "hours", "PATH": "/usr/bin:/bin"}
    output = subprocess.check_output([sys.executable, "-c", GUARDED], cwd=ROOT, env=environ, text=True)

    assert output == "telemetry off: 1\npass\n"


def test_serve_never_imports_train():
    for path in (ROOT / "serve").rglob("*.py"):
        text = path.read_text()
        assert "import train" not in text
        assert "from train" not in text
        assert ("import torch" in text) == (path.name == "torchscript.py")
