"""The API key and the port of the metrics, under both worker classes, before any body."""

import base64
import contextlib
import http.client
import json
import os
import re
import socket
import subprocess
import sys

import pytest

from passfail.errors import ConfigError
from serve.http.auth import METRICS, read_keys
from serve.server.flask_app import create_app
from serve.settings import Config
from tests.support import ROOT
from tests.support.service import free_port, service, start

OLD, NEW = "0123456789abcdef", "a-new-key-of-some-length"
ROW = {"gre": 700, "gpa": 3.5, "rank": "1"}
OPEN = ["/health/live", "/health/ready", "/v2/health/live", "/v2/health/ready", "/ping", "/healthy", METRICS,
        "/v2/models/admissions/ready", "/v2/models/admissions/versions/1/ready"]  # fmt: skip


def bearer(key):
    return {"Authorization": f"Bearer {key}"}


def basic(key, user="anyone"):
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{key}".encode()).decode()}


@pytest.fixture(scope="module")
def key_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("secret") / "keys"
    path.write_text(f"{OLD}\n{NEW}\n")
    return path


@pytest.fixture(scope="module")
def locked(models, key_file):
    config = Config(models=models, model_name="admissions", api_keys=read_keys(key_file), vertex_predict="/vertex",
                    vertex_health="/healthy")  # fmt: skip
    return create_app(config)


def test_everything_but_health_and_metrics_takes_a_key(locked):
    """Every route that there is, and one that there is not."""
    client = locked.test_client()
    rules = {(rule.rule, method) for rule in locked.url_map.iter_rules() for method in rule.methods}
    paths = {
        (re.sub("<version>", "1", re.sub("<name>", "admissions", rule)), method)
        for rule, method in rules | {("/nowhere", "GET")}
    }
    opened = {path for path, method in paths if client.open(path, method=method).status_code != 401}

    assert opened == set(OPEN)
    for path, method in paths:
        assert client.open(path, method=method, headers=bearer(NEW)).status_code != 401, path


@pytest.mark.parametrize("headers", [bearer(OLD), bearer(NEW), basic(OLD), basic(NEW, ""), basic(NEW, "ünique"),
                                     {"Authorization": f"bEaReR  {NEW}"}])  # fmt: skip
def test_each_key_of_the_file_opens(locked, headers):
    assert locked.test_client().post("/predict", json=ROW, headers=headers).status_code == 200


@pytest.mark.parametrize("headers", [
    {}, bearer(""), bearer("0123456789abcdeF"), bearer(OLD + "0"), bearer(OLD[:-1]), bearer(OLD + " x"),
    basic("wrong"), basic("", OLD), {"Authorization": "Basic \xe4"}, {"Authorization": "Basic x"},
    {"Authorization": OLD}, {"Authorization": f"Digest {OLD}"}, {"Authorization": f"Bearer {OLD},Bearer {OLD}"},
    {"X-API-Key": OLD}, {"Authorization": "Bearer \xff" + OLD},
])  # fmt: skip
def test_nothing_else_does(locked, headers):
    response = locked.test_client().post("/predict", json=ROW, headers=headers)

    assert response.status_code == 401
    assert response.headers.getlist("WWW-Authenticate") == ['Bearer realm="passfail"', 'Basic realm="passfail"']


@pytest.mark.parametrize(("path", "media_type", "names"), [
    ("/predict", "application/problem+json", ["type", "title", "status", "detail"]),
    ("/explain", "application/problem+json", ["type", "title", "status", "detail"]),
    ("/v2/models/admissions/infer", "application/json", ["error"]),
    ("/v2/repository/models/admissions/load", "application/json", ["error"]),
    ("/invocations", "application/json", ["error_code", "message"]),
    ("/vertex", "application/json", ["error"]),
])  # fmt: skip
def test_each_protocol_refuses_in_its_shape(locked, path, media_type, names):
    response = locked.test_client().post(path, json=ROW, headers=bearer("not-the-key-at-all"))

    assert (response.status_code, response.content_type, list(response.json)) == (401, media_type, names)
    assert "not-the-key-at-all" not in response.text


def test_keys_are_compared_whole_and_all_of_them(locked, monkeypatch):
    """hmac.compare_digest takes the same time for each key, and the service compares all."""
    compared = []
    real = __import__("hmac").compare_digest
    monkeypatch.setattr("serve.http.auth.hmac.compare_digest", lambda a, b: compared.append(len(a)) or real(a, b))
    locked.test_client().post("/predict", json=ROW, headers=bearer(OLD))

    assert compared == [32, 32]


def test_a_line_with_a_hash_is_a_comment_and_no_key(tmp_path):
    (tmp_path / "keys").write_text(f"# the key of the shop, until May\n{OLD}\n\n  # and a new one\n{NEW}\n")
    (tmp_path / "bare").write_text(f"{OLD}\n{NEW}\n")

    assert read_keys(tmp_path / "keys") == read_keys(tmp_path / "bare")


NO_KEYS = ["", "\n", "# only a comment\n", f"{OLD} {NEW}\n", "short\n", f"{OLD}\nshort\n", f"{OLD}\x07\n", "é" * 20]


@pytest.mark.parametrize("text", NO_KEYS)
def test_a_file_without_proper_keys_is_refused(tmp_path, text):
    (tmp_path / "keys").write_text(text)
    with pytest.raises(ConfigError, match="at least 16 printable ASCII characters, one on each line"):
        Config.from_env({"API_KEY_FILE": str(tmp_path / "keys")})


@pytest.mark.parametrize("setting", ["API_KEY_FILE", "SIGNED_BY"])
@pytest.mark.parametrize("name", ["absent", "folder", "FIFO", "link to itself", "GiB", "/dev/zero"])
def test_a_key_file_that_can_not_be_read_is_refused(tmp_path, setting, name):
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "FIFO")
    (tmp_path / "link to itself").symlink_to("link to itself")
    (tmp_path / "GiB").touch()
    os.truncate(tmp_path / "GiB", 2**30)

    with pytest.raises(ConfigError, match=f"{setting} names a file that can't be read: ."):
        Config.from_env({setting: str(tmp_path / name)})


def test_a_key_file_may_be_a_link_and_no_key_is_kept(tmp_path, key_file):
    (tmp_path / "link").symlink_to(key_file)

    assert Config.from_env({"API_KEY_FILE": str(tmp_path / "link")}).api_keys
    assert OLD not in repr(Config.from_env({"API_KEY_FILE": str(key_file)}))


@pytest.fixture(scope="module", params=["asgi", "gthread"])
def running(request, models, key_file):
    """(port, metrics' port, process) of a locked service."""
    metrics = free_port()
    settings = {"MODEL_NAME": "admissions", "WEB_CONCURRENCY": "1", "WORKER_CLASS": request.param}
    with service(models, API_KEY_FILE=str(key_file), METRICS_PORT=str(metrics), **settings) as (address, process):
        yield int(address.rsplit(":", 1)[1]), metrics, process


def ask(port, path, body=None, **headers):
    """(status, body) of an answer."""
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=120)) as connection:
        connection.request(
            "GET" if body is None else "POST", path, body, {"Content-Type": "application/json", **headers}
        )
        answer = connection.getresponse()
        return answer.status, answer.read()


def test_a_real_service_lets_in_who_has_a_key(running):
    port, _, _ = running
    body = json.dumps(ROW)

    assert ask(port, "/predict", body)[0] == 401
    assert ask(port, "/predict", body, **bearer(NEW))[0] == 200
    assert ask(port, "/v2/models/admissions/infer", "{}")[0] == 401
    assert ask(port, "/health/ready")[0] == 200
    assert ask(port, "/model")[0] == 401
    assert ask(port, "/%70redict", body)[0] == ask(port, "//predict", body)[0] == 401
    assert ask(port, "/predict?explain=true", body, **basic(OLD))[0] == 200


@pytest.mark.parametrize(
    "headers", ["Content-Length: 1000000000000", "Content-Length: 1000", "Transfer-Encoding: chunked"]
)
def test_the_answer_comes_before_the_body(running, headers):
    """The client sends nothing of the body: a service that waited for it would not answer."""
    with socket.create_connection(("127.0.0.1", running[0]), timeout=120) as connection:
        connection.sendall(f"POST /predict HTTP/1.1\r\nHost: x\r\n{headers}\r\n\r\n".encode())
        assert connection.recv(1000).startswith(b"HTTP/1.1 401 ")


def test_the_metrics_are_on_their_own_port_and_nothing_else_is(running):
    port, metrics, _ = running
    status, text = ask(metrics, METRICS)

    assert status == 200
    assert b'passfail_requests_total{endpoint="/predict",status="401"}' in text
    assert ask(port, METRICS, **bearer(NEW))[0] == 404
    assert ask(port, METRICS, Host=f"127.0.0.1:{metrics}", **bearer(NEW))[0] == 404
    for path in ("/", "/model", "/predict", "/v2/models/admissions", "/nowhere"):
        assert ask(metrics, path, **bearer(NEW))[0] == 404, path
    assert ask(metrics, "/predict", json.dumps(ROW), **bearer(NEW))[0] == 404
    assert ask(metrics, "/health/ready")[0] == ask(port, "/health/ready")[0] == 200


def test_the_same_port_for_both_is_refused(models):
    port = free_port()
    process = start(models, port=port, METRICS_PORT=str(port))
    output, _ = process.communicate(timeout=120)

    assert process.returncode == 3
    assert output.strip() == "passfail can't start: METRICS_PORT must differ from PORT"


def test_tritons_client_brings_a_key_either_way(running):
    """The official client, in a process of its own: it brings gevent."""
    pytest.importorskip("tritonclient.http")
    output = subprocess.check_output(
        [sys.executable, "-c", TRITON, f"127.0.0.1:{running[0]}", NEW], text=True, cwd=ROOT
    )

    assert output.split() == ["[401]", "1", "1"]


TRITON = """
import sys
import numpy as np
import tritonclient.http as http
from tritonclient.http.auth import BasicAuth

address, key = sys.argv[1:]
one = http.InferInput("x", [1, 3], "FP64")
one.set_data_from_numpy(np.array([[700, 3.5, 0.0]]))
client = http.InferenceServerClient(address)
assert client.is_server_ready() and client.is_model_ready("admissions")
try:
    client.infer("admissions", [one])
except http.InferenceServerException as error:
    print(str(error).split()[0])
bearer = {"Authorization": f"Bearer {key}"}
print(len(client.infer("admissions", [one], headers=bearer).as_numpy("probability")))
client.register_plugin(BasicAuth("anyone", key))
print(len(client.infer("admissions", [one]).as_numpy("probability")))
"""


def test_the_description_says_what_takes_a_key(locked):
    paths = locked.test_client().get("/openapi.json", headers=bearer(NEW)).json["paths"]
    free = {path for path, methods in paths.items() for operation in methods.values() if "security" not in operation}
    asked = {
        path for path, methods in paths.items() for operation in methods.values() if "401" in operation["responses"]
    }

    assert free == {re.sub("admissions", "{name}", path).replace("/1/", "/{version}/") for path in OPEN}
    assert asked == paths.keys() - free


@pytest.mark.heavy
@pytest.mark.parametrize("running", ["asgi"], indirect=True)
def test_schemathesis_finds_nothing_behind_a_key(running, tmp_path):
    """Its check ignored_auth also asks without the key, and with another."""
    from tests.support.schemathesis import run

    run(f"http://127.0.0.1:{running[0]}", tmp_path, "--header", f"Authorization: Bearer {NEW}", "--phases", "coverage")
