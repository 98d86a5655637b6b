"""GET /metrics: exact over all workers, and for Prometheus's own tools."""

import json
import os
import re
import shutil
import signal
import subprocess
import threading
import urllib.parse
import urllib.request
from unittest.mock import Mock

import numpy as np
import pytest

from serve.server import gunicorn_conf
from serve.server.flask_app import create_app
from serve.settings import Config
from serve.telemetry.metrics import PROBABILITY, ROWS, TENTHS, Metrics
from serve.telemetry.shared_counters import SharedCounters
from tests.support import ROOT
from tests.support.processes import children
from tests.support.service import free_port, post, service
from tests.support.wait import until

GOOD, BAD = b'{"hours": 7}', b'{"hours": "x"}'


def metrics(address):
    """{name with labels: value} and the text."""
    with urllib.request.urlopen(f"{address}/metrics", timeout=120) as answer:
        text = answer.read().decode()
    return {name: float(value) for name, value in re.findall(r"^(passfail_[^ ]+) (.*)$", text, re.M)}, text


def series(name, **labels):
    said = ",".join(f'{key}="{value}"' for key, value in labels.items())
    return f"passfail_{name}{{{said}}}"


@pytest.mark.parametrize("worker_class", ["asgi", "gthread"])
def test_counts_are_exact_over_the_workers_and_outlive_one(models, worker_class):
    environ = {"MODEL_NAME": "hours", "WEB_CONCURRENCY": "2", "WORKER_CLASS": worker_class}
    with service(models, **environ) as (address, process):
        for body in [GOOD] * 60 + [BAD] * 5:
            post(address, body)
        post(address, b'[{"hours": 1}, {"hours": 2}, {"hours": 7}]')
        # A worker records a request just after its response; another may answer /metrics in between.
        answered = series("requests_total", endpoint="/predict", status="200")
        timed = series("request_duration_seconds_count", endpoint="/predict")
        until(lambda: metrics(address)[0].get(timed) == 66)
        found, text = metrics(address)

        assert found[answered] == 61
        assert found[series("requests_total", endpoint="/predict", status="422")] == 5
        assert found["passfail_rows_total"] == 63
        assert found[series("verdicts_total", verdict="positive")] == 62
        assert found["passfail_probability_count"] == 63
        assert found[series("probability_bucket", le="0.4")] == 1
        assert found["passfail_requests_in_flight"] == 1  # this one
        if promtool := shutil.which("promtool"):
            subprocess.run([promtool, "check", "metrics"], input=text.encode(), check=True, capture_output=True)

        clients = [threading.Thread(target=lambda: [post(address, GOOD) for _ in range(250)]) for _ in range(4)]
        for client in clients:
            client.start()
        for client in clients:
            client.join()
        until(lambda: metrics(address)[0][answered] == 1061)

        before = children(process.pid)
        os.kill(before[0], signal.SIGKILL)
        until(lambda: len(set(children(process.pid)) - {before[0]}) == 2)
        for _ in range(40):
            assert post(address, GOOD)[0] == 200
        until(lambda: metrics(address)[0][answered] == 1101)


@pytest.mark.parametrize("worker_class", ["asgi", "gthread"])
def test_drift_and_metrics_have_the_rows_of_all_workers_at_once(models, worker_class):
    with service(models, MODEL_NAME="hours", WEB_CONCURRENCY="2", WORKER_CLASS=worker_class) as (address, _):
        for expected in (60, 120):
            for _ in range(60):  # each on a connection of its own: both workers answer some
                post(address, GOOD)
            rows = pytest.approx(expected, rel=1e-3)
            until(
                lambda rows=rows: metrics(address)[0]["passfail_drift_rows"] == rows
            )  # a row is noted after its response
            with urllib.request.urlopen(f"{address}/drift", timeout=120) as answer:
                assert json.load(answer)["rows"] == rows


def test_a_row_goes_to_the_next_worker_with_its_counts():
    counters = SharedCounters()
    for worker in "ab":
        counters.assign(worker)
        counters.use(worker)
        counters.mine[5] += 2
        counters.mine[0] += 1
    counters.release("a")
    counters.assign("c")
    counters.use("c")
    counters.mine[5] += 1

    assert [(row[5], row[0]) for row in counters.rows()] == [(3.0, 0.0), (2.0, 1.0)]


def test_each_worker_counts_into_a_row_of_its_own(monkeypatch):
    """Two that shared one would lose counts, but so seldom that no test of the service sees it."""
    counters = SharedCounters()
    monkeypatch.setattr(gunicorn_conf, "shared", lambda: counters)
    monkeypatch.setattr(gunicorn_conf.signal, "pthread_sigmask", lambda *_: None)
    for worker in (Mock(age=1), Mock(age=2)):
        gunicorn_conf.pre_fork(Mock(num_workers=2), worker)
        gunicorn_conf.post_fork(None, worker)
        counters.mine[5] += 1

    assert [row[5] for row in counters.rows()] == [1.0, 1.0]


def test_few_rows_and_many_are_counted_alike():
    """A bucket holds its upper bound, as Prometheus has it."""
    probability = np.array([0.0, *TENTHS, *np.nextafter(TENTHS, 1.0), 1.0, 0.25, 0.75])
    verdict = probability > 0.5
    cells = []
    for figures in ((verdict, probability), (verdict.tolist(), probability.tolist())):
        counters = SharedCounters()
        Metrics([], counters).predicted(*figures)
        cells.append(counters.mine[ROWS : PROBABILITY + len(TENTHS) + 2].tolist())

    assert cells[0][:-1] == cells[1][:-1]
    assert cells[0][-1] == pytest.approx(cells[1][-1])
    assert cells[0][PROBABILITY - ROWS : -1] == [2, 2, 3, 2, 2, 2, 2, 3, 2, 2]


def test_the_shadows_figures_are_there(models):
    app = create_app(Config(models=models, model_name="hours", shadow="torchscript", shadow_rate=1.0))
    client = app.test_client()

    def checked():
        return float(re.search(r"^passfail_parity_checked_rows_total (.*)", client.get("/metrics").text, re.M)[1])

    before = checked()
    client.post("/predict", json=[{"hours": 1}, {"hours": 7}])
    app.service.served.shadow._threads.submit(int).result()  # it is after the comparison

    assert checked() == before + 2


def test_each_status_that_is_answered_on_purpose_is_counted_as_itself(models):
    """The alert PassfailErrors counts other statuses as errors; a 304 was one."""
    client = create_app(Config(models=models, model_name="hours")).test_client()
    style = "/page/style.css"
    asked = [
        client.get(style, headers={"If-Modified-Since": "Fri, 01 Jan 2100 00:00:00 GMT"}),
        client.get(style, headers={"If-Match": '"another"'}),
        client.get(style, headers={"Range": "bytes=2-5"}),
        client.get(style, headers={"Range": "bytes=9999999-"}),
        client.get("/health//live"),
        client.post("/v2/repository/models/hours/load"),
    ]
    for answer in asked:
        answer.close()

    counted = set(re.findall(r'status="(.*)"', client.get("/metrics").text))
    assert {str(answer.status_code) for answer in asked} == {"304", "412", "206", "416", "308", "409"} <= counted


def test_the_alerts_fire_when_they_should():
    """Prometheus's own checker and its unit tests of the rules."""
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed: the alerts are NOT tested")
    folder = ROOT / "deploy" / "prometheus"
    for command in (["check", "config", "prometheus.yml"], ["test", "rules", "rules.test.yml"]):
        done = subprocess.run([promtool, *command], cwd=folder, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


def test_a_real_prometheus_scrapes_it(models, tmp_path):
    prometheus = shutil.which("prometheus")
    if prometheus is None:
        pytest.skip("prometheus is not installed: the scrape is NOT tested")
    with service(models, MODEL_NAME="hours", WEB_CONCURRENCY="2") as (address, _):
        for _ in range(7):
            post(address, GOOD)
        text = (ROOT / "deploy" / "prometheus" / "prometheus.yml").read_text()
        text = text.replace("localhost:8000", address.removeprefix("http://")).replace("15s", "1s")
        (tmp_path / "prometheus.yml").write_text(text)
        shutil.copy(ROOT / "deploy" / "prometheus" / "rules.yml", tmp_path)
        port = free_port()
        command = [prometheus, "--config.file=prometheus.yml", f"--web.listen-address=127.0.0.1:{port}"]
        watching = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            query = urllib.parse.quote('passfail_requests_total{endpoint="/predict",status="200"}')

            def scraped():
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/v1/query?query={query}") as answer:
                    return [one["value"][1] for one in json.load(answer)["data"]["result"]] == ["7"]

            until(scraped, every=0.1)
        finally:
            watching.terminate()
            watching.wait()
