"""New versions in service: a verified one replaces the old one, a bad one is refused."""

import json
import os
import re
import shutil
import threading
import urllib.request

import numpy as np
import pytest

from passfail.__main__ import main as passfail
from passfail.errors import StartupError
from serve.http.errors import UnknownModel
from serve.registry import Service
from serve.server.flask_app import create_app
from serve.settings import Config
from tests.support import ROOT
from tests.support.repository import publish
from tests.support.service import post, service
from tests.support.shadow import Compared
from tests.support.wait import until


@pytest.fixture
def home(models, tmp_path):
    """A repository of its own: the folder of the model hours, with version 1."""
    shutil.copytree(models / "hours", tmp_path / "models" / "hours")
    return tmp_path / "models" / "hours"


def opened(home, **settings):
    return Service(Config(models=home.parent, **settings))


def version(one):
    return one.served.model.manifest.version


def test_a_new_version_is_taken_up_and_the_old_one_can_still_be_asked_for(home):
    one = opened(home)
    publish(home, 2)
    assert version(one) == 1

    one.look()

    assert version(one) == 2
    assert not one.refused
    assert [one.find("hours", text).model.manifest.version for text in (None, "1", "2")] == [2, 1, 2]
    for name, text in [
        ("hours", "3"),
        ("hours", "-1"),
        ("hours", "²"),
        ("hours", ""),
        ("other", None),
        ("../hours", "1"),
    ]:
        with pytest.raises(UnknownModel):
            one.find(name, text)


def test_what_did_not_change_is_not_opened_again(home, monkeypatch):
    publish(home, 2)
    publish(home, 3, damage=True)
    one = opened(home)
    one.look()
    monkeypatch.setattr("serve.registry.open_models", lambda *_: pytest.fail("opened again"))

    one.look()

    assert version(one) == 2
    assert list(one.refused) == ["3"]


def test_a_bad_version_is_refused_with_the_reason_and_the_old_one_goes_on(home, caplog):
    one = opened(home)
    publish(home, 2, damage=True)

    for _ in range(3):
        one.look()

    assert version(one) == 1
    assert one.refused == {
        "2": "hours/2/model.onnx: not the file that was exported (its SHA-256 differs): export again"
    }
    assert [record.levelname for record in caplog.records] == ["ERROR"]  # once, not at every look
    served = create_app(Config(models=home.parent)).test_client()
    assert served.get("/health/ready").json["refused"] == one.refused  # a restart is no other state
    assert "\npassfail_refused_versions 1.0\n" in served.get("/metrics").text


def test_a_version_copied_slowly_is_taken_up_once_it_is_whole(home):
    one = opened(home)
    publish(home, 2)
    data = (home / "2" / "model.onnx").read_bytes()
    (home / "2" / "model.onnx").write_bytes(data[:50])
    one.look()
    assert version(one) == 1
    assert "2" in one.refused

    (home / "2" / "model.onnx").write_bytes(data)
    one.look()

    assert version(one) == 2
    assert not one.refused


@pytest.mark.parametrize("fault", ["deleted", "truncated", "swapped", "unreadable", "gone"])
def test_a_model_whose_files_are_damaged_while_it_serves_goes_on(home, fault):
    publish(home, 2)
    one = opened(home)
    one.look()
    path = home / "2" / "model.onnx"
    if fault == "gone":
        shutil.rmtree(home)
    elif fault == "truncated":
        os.truncate(path, 10)
    elif fault == "swapped":
        shutil.copy(home / "2" / "model.pt", path)
    else:
        path.unlink()
    if fault == "unreadable":
        path.mkdir()

    one.look()

    assert version(one) == 2
    assert list(one.refused) == ["all" if fault == "gone" else "2"]
    assert one.served.model.score(np.array([[7.0]]))[0] > 0


def test_without_any_version_that_opens_the_service_does_not_start(home):
    (home / "1" / "model.pt").unlink()
    publish(home, 2, damage=True)

    with pytest.raises(StartupError, match="not the file that was exported"):
        opened(home)


def test_only_the_newest_and_the_one_in_service_are_kept(home):
    for number in (2, 3, 4, 5):
        publish(home, number)
    one = opened(home, model_version=1)

    one.look()

    assert version(one) == 1
    assert sorted(one.kept) == [1, 3, 4, 5]


def test_the_shadow_ends_with_its_model(home):
    """Else each new version would leave a thread and a model behind."""
    publish(home, 2)
    one = opened(home, shadow="torchscript", shadow_rate=1.0)
    first, others = one.served, set(threading.enumerate())
    compared = Compared(first.shadow)
    first.predict(np.array([[7.0]]))
    (thread,) = set(threading.enumerate()) - others
    for number in (3, 4, 5):
        publish(home, number)

    one.look()

    thread.join(timeout=120)
    assert not thread.is_alive()
    assert compared.rows == 1
    assert sorted(one.kept) == [3, 4, 5]


@pytest.mark.parametrize("served", [1, 2])
def test_the_shadow_ends_with_a_model_that_is_opened_anew(home, served):
    """A touched file reopens the version in service, or one that a client asked for by number."""
    publish(home, 2)
    one = opened(home, shadow="torchscript", shadow_rate=1.0, model_version=served)
    one.look()
    first, others = one.kept[1], set(threading.enumerate())
    first.predict(np.array([[7.0]]))
    (thread,) = set(threading.enumerate()) - others
    os.utime(home / "1" / "model.onnx", (0, 0))

    one.look()

    thread.join(timeout=120)
    assert not thread.is_alive()
    assert one.kept[1] is not first
    assert not one.refused


def test_pinning_takes_effect_and_can_be_taken_back(home, monkeypatch, capsys):
    monkeypatch.setenv("MODELS_DIR", str(home.parent))
    publish(home, 2)
    publish(home, 3, damage=True)
    one = opened(home)
    one.look()

    assert passfail(["pin", "1"]) == 0
    one.look()
    assert version(one) == 1
    assert version(opened(home)) == 1
    assert passfail(["pin", "highest"]) == 0
    one.look()
    assert version(one) == 2
    assert capsys.readouterr() == ("hours: version 1\nhours: the highest version\n", "")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["3"], "3/model.onnx: not the file that was exported"),
        (["9"], "holds no version 9; it holds 1, 3"),
        (["1", "--model", "nosuch"], "nosuch holds no exported version"),
        (["1", "--model", "../hours"], "MODEL_NAME must be letters"),
    ],
)
def test_what_cannot_be_served_is_not_pinned(home, monkeypatch, capsys, arguments, said):
    monkeypatch.setenv("MODELS_DIR", str(home.parent))
    publish(home, 3, damage=True)

    assert passfail(["pin", *arguments]) == 2

    printed = capsys.readouterr()
    assert said in printed.err
    assert printed.err.count("\n") == 1
    assert printed.out == ""
    assert not (home / "pinned").exists()


@pytest.mark.parametrize("text", [b"", b"two", b"\xff", b"-1"])
def test_a_pin_that_is_no_number_keeps_the_service_as_it_is(home, text):
    one = opened(home)
    (home / "pinned").write_bytes(text)

    one.look()

    assert version(one) == 1
    assert "make use VERSION=" in one.refused["pinned"]
    with pytest.raises(StartupError, match="make use VERSION="):
        opened(home)


@pytest.mark.parametrize("runtime", ["onnx", pytest.param("torchscript", marks=pytest.mark.heavy)], indirect=True)
def test_a_swap_under_load_drops_nothing_and_every_answer_is_one_versions(home, runtime, monkeypatch):
    """A real gunicorn of two workers: forth, back and forth again, while three clients ask."""
    monkeypatch.setenv("MODELS_DIR", str(home.parent))
    body = json.dumps({"hours": 7}).encode()
    answers, stop = [], threading.Event()

    def ask(address):
        while not stop.is_set():
            answers.append(post(address, body))

    with service(home.parent, RUNTIME=runtime, WEB_CONCURRENCY="2") as (address, _):
        clients = [threading.Thread(target=ask, args=[address]) for _ in range(3)]
        for client in clients:
            client.start()
        try:
            publish(home, 2)
            settled(address, 2)
            assert passfail(["pin", "1", "--model", "hours"]) == 0
            settled(address, 1)
            publish(home, 3, damage=True)
            assert passfail(["pin", "highest", "--model", "hours"]) == 0
            settled(address, 2)
            until(lambda: "3/model.onnx: not the file" in ready(address).get("refused", {}).get("3", ""))
        finally:
            stop.set()
            for client in clients:
                client.join()

    statuses = {status for status, _ in answers}
    served = {json.loads(body)["version"] for _, body in answers}
    alike = {body.rpartition(b',"version"')[0] for _, body in answers}
    assert statuses == {200}
    assert served == {1, 2}
    assert len(alike) == 1


def settled(address, version):
    """Wait until ten answers in a row come from that version."""
    until(lambda: all(ready(address)["version"] == version for _ in range(10)))


def ready(address):
    with urllib.request.urlopen(f"{address}/health/ready") as answer:
        return json.load(answer)


STEPS = """
import random, time
real, days = time.time, random.Random(1)
time.time = lambda: real() + days.uniform(-9, 9) * 86_400
"""


def test_a_clock_that_steps_changes_nothing(home, tmp_path):
    """The clock steps by days at every look; some files have dates far in the past or future."""
    (tmp_path / "sitecustomize.py").write_text(STEPS)
    settings = {"PYTHONPATH": f"{tmp_path}:{ROOT}", "WEB_CONCURRENCY": "1", "ACCESS_LOG": "on"}
    with service(home.parent, **settings) as (address, process):
        for number, date in ((2, 0), (3, 4_000_000_000)):
            publish(home, number)
            os.utime(home / str(number) / "model.onnx", (date, date))
            settled(address, number)
            status, body = post(address, b'{"hours": 7}')
            assert (status, json.loads(body)["version"]) == (200, number)
        with urllib.request.urlopen(f"{address}/metrics") as answer:
            spent = re.findall(r"^passfail_request_duration_seconds_sum.* (.*)$", answer.read().decode(), re.M)
        process.terminate()
        output, _ = process.communicate(timeout=120)

    assert all(0 <= float(seconds) < 60 for seconds in spent)
    assert spent
    assert process.returncode == 0
    assert "Traceback" not in output


def test_a_pin_ends_once_every_worker_serves_the_version(home, monkeypatch, capsys):
    monkeypatch.setattr("passfail.__main__.FOLLOW_SECONDS", 60)  # on a busy machine
    monkeypatch.setenv("MODELS_DIR", str(home.parent))
    publish(home, 2)
    with service(home.parent, WEB_CONCURRENCY="2") as (address, _):
        monkeypatch.setenv("PORT", address.rpartition(":")[2])
        assert passfail(["pin", "1"]) == 0
        assert {ready(address)["version"] for _ in range(20)} == {1}
        assert passfail(["pin", "highest"]) == 0
        assert {ready(address)["version"] for _ in range(20)} == {2}

        (home / "pinned").mkdir()  # nothing can be pinned there, and the service says so
        until(lambda: "pinned" in ready(address).get("refused", {}))
        (home / "pinned").rmdir()

    assert capsys.readouterr().err == ""


def test_a_pin_that_the_service_does_not_follow_fails(home, monkeypatch, capsys):
    """MODEL_VERSION goes before a pin."""
    publish(home, 2)
    with service(home.parent, MODEL_VERSION="2", WEB_CONCURRENCY="1") as (address, _):
        monkeypatch.setenv("MODELS_DIR", str(home.parent))
        monkeypatch.setenv("PORT", address.rpartition(":")[2])

        assert passfail(["pin", "1"]) == 2

    said = capsys.readouterr().err
    assert said.startswith("passfail pin: error: hours: version 1 is pinned, but the service at http://127.0.0.1:")
    assert "still serves version 2 after 5 seconds" in said
