"""The service as it is run: gunicorn, workers, signals and all."""

import http.client
import json
import signal
import subprocess
import sys
import threading

import pytest

from tests.service import ROOT, connected, post, service, start


@pytest.fixture(scope="module")
def running(models, runtime):
    """One service with two workers for each runtime: (address, process)."""
    with service(models, MODEL_NAME="hours", RUNTIME=runtime, WEB_CONCURRENCY="2") as found:
        yield found


def test_answers_on_every_worker(running):
    """Each request on a new connection, so that both workers answer; all answers are the same bytes."""
    address, _ = running

    answers = {post(address, b'{"hours": 7}') for _ in range(20)}

    ((status, body),) = answers
    assert status == 200
    assert json.loads(body)["label"] == "pass"


def test_errors_are_problem_documents(running):
    address, _ = running

    for body, status in [(b'{"hours": "7"}', 422), (b"{", 400), (b'{"hours": 1, "hours": 2}', 422)]:
        found, text = post(address, body)
        assert (found, json.loads(text)["status"]) == (status, status)


def test_chunked_bodies_and_kept_connections(running):
    connection = http.client.HTTPConnection(running[0].removeprefix("http://"), timeout=30)
    headers = {"Content-Type": "application/json", "Transfer-Encoding": "chunked"}
    for _ in range(2):
        connection.request("POST", "/predict", iter([b'{"hou', b'rs": 7}']), headers, encode_chunked=True)
        with connection.getresponse() as response:
            assert response.status == 200
            assert json.loads(response.read())["passed"] is True
    connection.close()


def test_a_body_beyond_the_limit_is_refused(models):
    with service(models, MODEL_NAME="hours", MAX_BODY_BYTES="1000", WEB_CONCURRENCY="1") as (address, _):
        assert post(address, b" " * 1001)[0] == 413
        assert post(address, b'{"hours": 7}')[0] == 200


def test_sigterm_finishes_what_it_has_and_stops_cleanly(models):
    with service(models, MODEL_NAME="hours", WEB_CONCURRENCY="1") as (address, process):
        body = json.dumps([{"hours": h} for h in range(50_000)]).encode()
        results = []
        asking = threading.Thread(target=lambda: results.append(post(address, body)))
        asking.start()
        while not connected(address):
            pass
        process.send_signal(signal.SIGTERM)
        asking.join()
        output, _ = process.communicate(timeout=40)

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
    process = start(models, WEB_CONCURRENCY="1", **environ)
    output, _ = process.communicate(timeout=60)

    assert process.returncode == 3
    (said,) = [text for text in output.splitlines() if text.startswith("passfail can't start: ")]
    assert line in said
    assert "Traceback" not in output


def test_a_wrong_server_setting_is_one_line(models):
    most = {"PORT": 65535, "WEB_CONCURRENCY": 256}
    wrong = {"PORT": ("http", "70000"), "WEB_CONCURRENCY": ("0", "x", "257")}
    for name, value in [(name, value) for name, values in wrong.items() for value in values]:
        process = start(models, **{name: value}) if name != "PORT" else start(models, port=value)
        output, _ = process.communicate(timeout=60)
        assert process.returncode == 3
        assert output == f"passfail can't start: {name} must be a whole number from 1 to {most[name]}\n"


def test_no_control_socket(running):
    """gunicorn would open one by default: it needs a folder to write to, and a door less is better."""
    with open("/proc/net/unix") as table:
        assert "gunicorn.ctl" not in table.read()


GUARDED = """
import os, sys
class Guard:
    def find_spec(self, name, path=None, target=None):
        if name == "torch":
            raise AssertionError("torch was imported")
        if name == "onnxruntime":
            print("telemetry off:", os.environ.get("ORT_DISABLE_TELEMETRY"))
sys.meta_path.insert(0, Guard())
from serve.app import create_app
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
