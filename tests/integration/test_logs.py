"""The log and the traces: they hold no value of a row, and delay no answer."""

import fcntl
import http.server
import json
import os
import re
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from contextlib import suppress

import pytest

from serve.http.messages import Answer
from serve.server.dispatch import GONE
from serve.server.flask_app import create_app
from serve.settings import Config
from serve.telemetry.logs import Writer, access, moment
from serve.telemetry.recorder import Asked, Recorder
from serve.telemetry.shared_counters import DROPPED_LINES, SharedCounters, shared
from tests.support import ROOT
from tests.support.service import free_port, service, start, wait

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
SECRET = 6.125


def ask(address, path="/predict", body=None, **headers):
    data = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json"} | {name.replace("_", "-"): value for name, value in headers.items()}
    try:
        with urllib.request.urlopen(urllib.request.Request(address + path, data, headers)) as answer:
            return answer.status, answer.headers
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers


@pytest.mark.parametrize("worker_class", ["asgi", "gthread"])
def test_a_line_for_each_request_and_each_event(models, worker_class):
    port = free_port()
    environ = {"MODEL_NAME": "hours", "WEB_CONCURRENCY": "1", "WORKER_CLASS": worker_class, "ACCESS_LOG": "on"}
    process = start(models, port=port, **environ)
    address = f"http://127.0.0.1:{port}"
    wait(address, process)
    forged = 'x" \\ {"level": "forged"}'
    ask(address, body=[{"hours": SECRET}] * 3, X_Request_Id="mine", traceparent=TRACE)
    ask(address, body={"hours": str(SECRET)}, X_Request_Id=forged, traceparent="00-nonsense")
    ask(address, f"/?hours={SECRET}")
    ask(address, "/nowhere%0a%7b%22level%22:%22forged%22%7d/" + "x" * 300)
    process.terminate()
    output, _ = process.communicate(timeout=120)

    lines = [json.loads(line) for line in output.splitlines()]  # each one is JSON
    assert str(SECRET) not in output
    requests = [line for line in lines if line["logger"] == "access" and not line["path"].startswith("/health")]
    bad, nowhere, page, good = sorted(requests, key=lambda line: (-line["status"], line["path"]))  # threads write them
    assert [line["status"] for line in (good, bad, page, nowhere)] == [200, 422, 200, 404]
    assert (good["rows"], good["model"], good["version"]) == (3, "hours", 1)
    assert (good["request_id"], good["traceparent"]) == ("mine", TRACE)
    assert (good["method"], good["path"]) == ("POST", "/predict")
    assert good["milliseconds"] > 0
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", good["time"])
    assert (bad["rows"], bad["request_id"], bad["traceparent"]) == (0, forged, None)
    assert page["path"] == "/"
    assert nowhere["path"].startswith("/nowhere\n{")
    assert len(nowhere["path"]) == 200
    assert any("Booting worker" in line["message"] for line in lines if line["logger"] == "gunicorn.error")


def test_times_are_to_the_millisecond_and_durations_to_the_microsecond():
    assert [moment(1764221234.0625 + seconds) for seconds in (0, 0.5, 0.9375)] == [
        f"2025-11-27T05:27:{seconds}Z" for seconds in ("14.062", "14.562", "15.000")
    ]
    line = json.loads(access([(0.0123456, Asked("POST", "/predict", "/predict", {}), Answer(200, "", b""))]))
    assert line["milliseconds"] == 12.346


def test_lines_are_written_together_as_far_as_a_pipe_keeps_them_so(monkeypatch):
    written = []
    monkeypatch.setattr("serve.telemetry.logs.os.write", lambda to, text: written.append(text) or len(text))
    lines = [b"%d%b\n" % (number % 10, b"x" * 398) for number in range(25)]
    writer = Writer(1, gather=3)
    writer.start()

    for line in lines:
        writer.write(line)
    writer.flush(60)

    assert written == [b"".join(lines[:10]), b"".join(lines[10:20]), b"".join(lines[20:])]


def test_a_stuck_reader_costs_lines_which_are_counted_and_reported_once_it_reads():
    reader, end = os.pipe()
    before = shared().mine[DROPPED_LINES]
    writer, line = Writer(end), b"x" * 999 + b"\n"
    os.set_blocking(end, False)
    with suppress(BlockingIOError):
        while True:
            os.write(end, b"x\n" * 500)  # stuck from the first line on
    os.set_blocking(end, True)
    writer.start()

    for _ in range(3000):
        writer.write(line)  # never waits
    dropped = shared().mine[DROPPED_LINES] - before
    found = b""
    while b"lines of the log" not in found or found.count(line) < 3000 - dropped:
        found += os.read(reader, 2**20)
    writer.flush(60)

    assert 1500 < dropped < 2100
    notice, = [json.loads(text) for text in found.splitlines() if not text.startswith(b"x")]  # fmt: skip
    assert notice["message"].startswith(f"{dropped:.0f} lines of the log were dropped")
    assert (notice["level"], notice["logger"]) == ("warning", "serve.telemetry.logs")
    os.close(reader)
    os.close(end)


@pytest.mark.parametrize("worker_class", ["asgi", "gthread"])
def test_a_stuck_reader_of_the_log_stops_neither_the_answers_nor_sigterm(models, worker_class):
    """Each request writes a line to stdout and each invalid row one to stderr; both are stuck."""
    port, (reader, end) = free_port(), os.pipe()
    fcntl.fcntl(end, fcntl.F_SETPIPE_SZ, 4096)
    environment = {**os.environ, "MODELS_DIR": str(models), "MODEL_NAME": "hours", "PORT": str(port)}
    environment |= {"ACCESS_LOG": "on", "WEB_CONCURRENCY": "1", "WORKER_CLASS": worker_class, "DRAIN_SECONDS": "0"}
    environment["GUNICORN_CMD_ARGS"] = "--graceful-timeout 1000"
    process = subprocess.Popen([sys.executable, "-m", "serve"], cwd=ROOT, env=environment, stdout=end, stderr=end)
    os.close(end)
    try:
        address = f"http://127.0.0.1:{port}"
        wait(address, process)
        assert {ask(address, body={"hours": 7})[0] for _ in range(100)} == {200}
        with urllib.request.urlopen(f"{address}/metrics") as answer:
            assert b"passfail_log_lines_dropped_total" in answer.read()
    finally:
        process.terminate()
        process.wait(timeout=120)
        os.close(reader)


def test_a_failure_of_ours_is_one_line_with_its_traceback():
    code = (
        "import logging, logging.config; from serve.telemetry.logs import LOGGING; logging.config.dictConfig(LOGGING)\n"
        "try:\n    1 / 0\nexcept ZeroDivisionError:\n    logging.getLogger('x').exception('it\\nfailed')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    line = json.loads(done.stderr)
    assert line["message"] == "it\nfailed"
    assert "ZeroDivisionError" in line["traceback"]


@pytest.mark.parametrize("worker_class", ["asgi", "gthread"])
def test_a_request_that_is_none_is_not_repeated_in_the_log(models, worker_class):
    """gunicorn would repeat the line that it could not read, which may hold a form's values."""
    with service(models, MODEL_NAME="hours", WEB_CONCURRENCY="1", WORKER_CLASS=worker_class) as (address, process):
        host, port = address.removeprefix("http://").split(":")
        for sent in (f"GET /?hours={SECRET} x HTTP/1.1", f"GET / HTTP/1.1\r\n{SECRET} x: y", f"hours\r\n{SECRET}"):
            with socket.create_connection((host, int(port)), timeout=120) as connection:
                connection.sendall(f"{sent}\r\n\r\n".encode())
                assert connection.recv(100).startswith(b"HTTP/1.1 400")
        process.terminate()
        output, _ = process.communicate(timeout=120)
    assert str(SECRET) not in output
    assert re.search(r"Invalid request from ip=\S*127\.0\.0\.1: Invalid HTTP", output) or worker_class == "asgi"


def test_gunicorn_makes_up_no_line_of_its_own():
    """logconfig_dict would let gunicorn format a line for each request, a fifth of the rate."""
    code = (
        "from gunicorn.config import Config\nfrom serve.server import gunicorn_conf\nconfig = Config()\n"
        "for name, value in vars(gunicorn_conf).items():\n"
        "    if name in config.settings:\n        config.set(name, value)\n"
        "print(config.logger_class(config).access_log_enabled)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_a_full_disk_costs_the_line_and_not_the_answer(models):
    port = free_port()
    environment = {**os.environ, "MODELS_DIR": str(models), "MODEL_NAME": "hours", "PORT": str(port)}
    environment |= {"ACCESS_LOG": "on", "WEB_CONCURRENCY": "1"}
    with open("/dev/full", "w") as full:
        process = subprocess.Popen([sys.executable, "-m", "serve"], cwd=ROOT, env=environment, stdout=full, stderr=full)
    try:
        address = f"http://127.0.0.1:{port}"
        wait(address, process)
        assert [ask(address, body={"hours": 7})[0] for _ in range(3)] == [200] * 3
        assert ask(address, body={"hours": "x"})[0] == 422
    finally:
        process.terminate()
        process.wait(timeout=120)


def test_a_traceparent_comes_back_where_it_is_one(models):
    client = create_app(Config(models=models, model_name="hours")).test_client()

    def back(**headers):
        return client.post("/predict", json={"hours": 7}, headers=headers).headers.get("traceparent")

    assert back(traceparent=TRACE) == TRACE
    assert back(traceparent=TRACE.replace("00-", "ff-", 1)) is None
    assert back(traceparent=f"00-{'0' * 32}-00f067aa0ba902b7-01") is None
    assert back() is None


class Collector(http.server.BaseHTTPRequestHandler):
    """An OTLP collector: keeps the spans it is sent."""

    def do_POST(self):
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

        sent = ExportTraceServiceRequest()
        sent.ParseFromString(self.rfile.read(int(self.headers["Content-Length"])))
        for resource in sent.resource_spans:
            named = {one.key: one.value.string_value for one in resource.resource.attributes}
            for scope in resource.scope_spans:
                self.server.spans += [(named["service.name"], span) for span in scope.spans]
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.mark.parametrize("worker_class", ["asgi", "gthread"])
def test_spans_go_to_the_collector_below_the_callers(models, worker_class):
    pytest.importorskip("opentelemetry.sdk", reason="OpenTelemetry is not installed: the spans are NOT tested")
    collector = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Collector)
    collector.spans = []
    threading.Thread(target=collector.serve_forever, daemon=True).start()
    endpoint = f"http://127.0.0.1:{collector.server_port}"
    environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "OTEL_EXPORTER_OTLP_COMPRESSION": "none"}
    try:
        with service(models, MODEL_NAME="hours", WEB_CONCURRENCY="1", WORKER_CLASS=worker_class, **environ) as (
            address,
            _,
        ):
            ask(address, body=[{"hours": SECRET}] * 2, traceparent=TRACE)
            ask(address, f"/?hours={SECRET}")
    finally:
        collector.shutdown()
        collector.server_close()
    (name, span), = [(name, span) for name, span in collector.spans if span.name == "POST /predict"]  # fmt: skip
    values = {one.key: one.value for one in span.attributes}
    assert name == "passfail"
    assert (span.trace_id.hex(), span.parent_span_id.hex()) == tuple(TRACE.split("-")[1:3])
    assert (values["http.response.status_code"].int_value, values["passfail.rows"].int_value) == (200, 2)
    assert span.end_time_unix_nano > span.start_time_unix_nano
    assert "GET /" in {span.name for _, span in collector.spans}
    assert str(SECRET) not in str([span for _, span in collector.spans])


def test_a_stuck_collector_stops_neither_the_answers_nor_sigterm(models):
    pytest.importorskip("opentelemetry.sdk", reason="OpenTelemetry is not installed: the collector is NOT tested")
    with socket.create_server(("127.0.0.1", 0)) as collector:  # accepts, and never answers
        endpoint = f"http://127.0.0.1:{collector.getsockname()[1]}"
        port = free_port()
        process = start(
            models, port=port, MODEL_NAME="hours", WEB_CONCURRENCY="1", OTEL_EXPORTER_OTLP_ENDPOINT=endpoint,
            OTEL_EXPORTER_OTLP_TIMEOUT="1000",
        )  # fmt: skip
        address = f"http://127.0.0.1:{port}"
        wait(address, process)
        assert {ask(address, body={"hours": 7})[0] for _ in range(1000)} == {200}
        process.terminate()
        process.communicate(timeout=120)  # the SDK alone takes its timeout for each batch


@pytest.mark.parametrize(("answer", "code", "failed"), [
    (GONE, None, False), (Answer(422, "", b""), 422, False), (Answer(500, "", b""), 500, True),
])  # fmt: skip
def test_a_span_says_how_the_request_ended(answer, code, failed):
    """The span of a client that has gone raised an error after the log and the count."""
    exporting = pytest.importorskip("opentelemetry.sdk.trace.export.in_memory_span_exporter")
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor

    provider, exporter = TracerProvider(), exporting.InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    recorder = Recorder(["/predict"], SharedCounters(), tracer=provider.get_tracer("passfail"))
    recorder.end([(recorder.begin(), Asked("POST", "/predict", "/predict", {}), answer)])

    (span,) = exporter.get_finished_spans()
    assert (span.attributes.get("http.response.status_code"), not span.status.is_ok) == (code, failed)


def test_an_endpoint_without_the_package_is_said(models):
    code = "import sys; sys.modules['opentelemetry.sdk.trace'] = None; from serve.server import application"
    code += "; application.from_gunicorn()"
    environ = os.environ | {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x", "MODELS_DIR": str(models), "MODEL_NAME": "hours"}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environ, capture_output=True, text=True)
    assert done.returncode == 3
    assert "pip install '.[otel]'" in done.stderr
    assert "Traceback" not in done.stderr


def test_rows_and_version_are_those_of_the_answer_in_every_protocol(models, monkeypatch):
    lines = []
    monkeypatch.setattr("serve.telemetry.logs.access", lambda requests: [answer for *_, answer in requests])
    monkeypatch.setattr("serve.telemetry.logs.ACCESS.write", lines.extend)
    config = Config(models=models, model_name="hours", access_log=True, vertex_predict="/vertex")
    client = create_app(config).test_client()
    tensor = {"name": "x", "shape": [2, 1], "datatype": "FP64", "data": [1, 7]}
    infer = "/v2/models/hours/infer"

    client.post("/predict", json=[{"hours": 1}, {"hours": 7}])
    client.post("/predict", data="hours\n1\n7\n", content_type="text/csv")
    client.post("/explain", json=[{"hours": 1}, {"hours": 7}])
    client.post("/invocations", json={"instances": [[1], [7]]})
    client.post("/vertex", json={"instances": [[1], [7]]})
    client.post(infer, json={"inputs": [tensor]})
    client.post(infer, json={"inputs": [tensor], "parameters": {"binary_data_output": True}})

    assert [answer.status for answer in lines] == [200] * 7
    assert [(answer.rows, answer.model, answer.version) for answer in lines] == [(2, "hours", 1)] * 7


def test_without_a_thread_a_line_is_written_at_once_or_dropped():
    """gunicorn's parent has no thread: a stuck reader costs lines, and no waiting."""
    reader, end = os.pipe()
    room = fcntl.fcntl(end, fcntl.F_GETPIPE_SZ)
    writer, before, threads = Writer(end), shared().mine[DROPPED_LINES], threading.active_count()

    writer.write(b"begin\n")
    assert os.read(reader, 100) == b"begin\n"
    for line in (b"x" * (room - 4096) + b"\n", b"y" * 3 * room + b"\n", b"z\n"):
        writer.write(line)
    assert shared().mine[DROPPED_LINES] - before == 2
    assert os.read(reader, 2 * room).startswith(b"x")
    writer.write(b"end\n")
    assert b"2 lines of the log were dropped" in os.read(reader, 2 * room)
    assert threading.active_count() == threads
    os.close(reader)
    os.close(end)


def test_a_fork_of_a_process_that_has_written_writes_in_a_thread():
    """gunicorn's parent writes before it forks its workers."""
    code = (
        "import os, signal, threading\nfrom serve.telemetry.logs import Writer\nwriter = Writer(1)\n"
        "writer.write(b'parent\\n')\nassert threading.active_count() == 1\nif os.fork() == 0:\n    signal.alarm(99)\n"
        "    writer.start()\n    writer.write(b'child\\n')\n    writer.flush()\n    os._exit(0)\n"
        "raise SystemExit(os.wait()[1])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)

    assert (done.returncode, done.stdout) == (0, "parent\nchild\n")
