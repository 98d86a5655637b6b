"""Versions are never ignored: what is asked for is opened anew, or refused with its reason."""

import os
import shutil
import sys

import pytest

from passfail import repository
from passfail.errors import ConfigError, StartupError
from serve.registry import INHERITED, Service, open_before_fork
from serve.server.flask_app import create_app
from serve.settings import Config
from serve.telemetry.shared_counters import SERVED, SharedCounters
from tests.support.repository import publish


@pytest.fixture
def home(models, tmp_path):
    """A repository of its own: the folder of the model hours, with version 1."""
    shutil.copytree(models / "hours", tmp_path / "models" / "hours")
    return tmp_path / "models" / "hours"


def version(service):
    return service.served.model.manifest.version


def pin(home, number):
    (home / "pinned").write_text(f"{number}\n")


def test_a_dropped_version_is_opened_anew_when_it_is_pinned(home):
    """Four newer ones came meanwhile, so that it was no longer kept."""
    service = Service(Config(models=home.parent))
    for number in (2, 3, 4, 5):
        publish(home, number)
    service.look()
    assert 1 not in service.kept

    pin(home, 1)
    service.look()

    assert version(service) == 1
    assert not service.refused


def test_a_worker_that_starts_has_the_versions_that_can_be_asked_for_by_number(home):
    publish(home, 2)

    one = Service(Config(models=home.parent))

    assert [one.find("hours", text).model.manifest.version for text in (None, "1", "2")] == [2, 1, 2]


def test_a_worker_inherits_the_models_that_the_parent_opened(home):
    publish(home, 2)
    open_before_fork(Config(models=home.parent))
    opened = {served.model.manifest.version: served.model for _, served in INHERITED.values()}

    worker = Service(Config(models=home.parent))

    assert sorted(opened) == sorted(worker.kept) == [1, 2]
    assert all(served.model is opened[number] for number, served in worker.kept.items())
    assert not INHERITED


@pytest.mark.parametrize("change", ["files", "key"])
def test_a_worker_opens_what_has_changed_since_the_parent_did(home, change):
    open_before_fork(Config(models=home.parent))
    ((where, (key, inherited)),) = INHERITED.items()
    if change == "files":
        os.utime(home / "1" / "manifest.json")
    else:
        INHERITED[where] = object(), inherited

    worker = Service(Config(models=home.parent))

    assert key is None
    assert worker.served.model is not inherited.model
    INHERITED.clear()


@pytest.mark.parametrize("settings", [{"runtime": "torchscript"}, {"shadow": "torchscript"}, {"model_version": 3}])
def test_the_parent_opens_no_model_on_pytorch_and_reports_no_error(home, settings):
    open_before_fork(Config(models=home.parent, **settings))

    assert not INHERITED


def test_with_a_shadow_the_parent_imports_the_runtime_for_all_workers(home, monkeypatch):
    monkeypatch.delitem(sys.modules, "passfail.runtimes.onnx")

    open_before_fork(Config(models=home.parent, shadow="torchscript"))

    assert "passfail.runtimes.onnx" in sys.modules


def test_no_worker_inherits_a_model_for_files_that_are_wrong_by_now(home):
    """The worker would otherwise not report that it refuses them."""
    service = Service(Config(models=home.parent))
    (home / "1" / "model.onnx").write_bytes(b"")
    service.look()

    assert list(service.kept) == list(map(int, service.refused)) == [1]
    assert not service.opened()


def test_the_versions_are_there_again_when_the_folder_comes_back(home):
    publish(home, 2)
    service = Service(Config(models=home.parent))
    service.look()
    away = home.with_name(".away")

    home.rename(away)
    service.look()
    assert list(service.refused) == ["all"]
    away.rename(home)
    service.look()
    pin(home, 1)
    service.look()

    assert version(service) == 1
    assert sorted(service.kept) == [1, 2]
    assert not service.refused


def test_versions_that_do_not_open_do_not_count_among_the_kept(home):
    publish(home, 2)
    service = Service(Config(models=home.parent))
    for number in (3, 4, 5):
        publish(home, number, damage=True)

    service.look()

    assert sorted(service.kept) == [1, 2]
    assert sorted(service.refused) == ["3", "4", "5"]


def test_a_version_that_is_asked_for_and_does_not_open_is_refused_each_time(home, caplog):
    publish(home, 2)
    service = Service(Config(models=home.parent))
    (home / "1" / "model.pt").write_bytes(b"x")
    pin(home, 1)

    for _ in range(3):
        service.look()

    assert version(service) == 2
    assert "1/model.pt: not the file that was exported" in service.refused["1"]
    assert [record.levelname for record in caplog.records] == ["ERROR"]


def test_a_reason_that_changes_is_logged_again(home, caplog):
    service = Service(Config(models=home.parent))
    publish(home, 2, damage=True)
    service.look()
    (home / "2" / "manifest.json").write_bytes(b"{}")

    service.look()

    assert len(caplog.records) == 2
    assert "manifest.json" in service.refused["2"]


@pytest.mark.skipif(os.getuid() == 0, reason="root may read everything: the permission is NOT tested")
@pytest.mark.parametrize("name", ["manifest.json", "model.onnx", "."])
def test_a_version_that_may_not_be_read_is_tried_again_after_chmod(home, name):
    service = Service(Config(models=home.parent))
    publish(home, 2)
    path = home / "2" / name
    mode = path.stat().st_mode
    path.chmod(0)
    service.look()
    assert version(service) == 1
    assert "2" in service.refused

    path.chmod(mode)
    service.look()

    assert version(service) == 2
    assert not service.refused


def test_a_failed_read_is_tried_again_although_no_file_changed(home, monkeypatch):
    """A network's file system may be away for a while."""
    service = Service(Config(models=home.parent))
    publish(home, 2)

    def fail(*_):
        raise StartupError("can't be read") from OSError("input/output error")

    with monkeypatch.context() as patched:
        patched.setattr("serve.registry.open_models", fail)
        service.look()
    assert version(service) == 1

    service.look()

    assert version(service) == 2


@pytest.mark.parametrize("name", ["manifest.json", "model.onnx", "manifest.json.sig"])
def test_a_fifo_is_refused_and_nothing_waits_for_its_writer(home, name):
    service = Service(Config(models=home.parent))
    publish(home, 2)
    (home / "2" / name).unlink(missing_ok=True)
    os.mkfifo(home / "2" / name)

    service.look()

    assert version(service) == (2 if name == "manifest.json.sig" else 1)  # nobody asks for a signature here
    if name != "manifest.json.sig":
        assert f"2/{name}: can't be read: it is not a regular file" in service.refused["2"]


@pytest.mark.parametrize(
    "make",
    [os.mkfifo, os.mkdir, lambda path: path.symlink_to(path.name), lambda path: path.symlink_to("/etc/hostname"),
     lambda path: (path.touch(), os.truncate(path, 2**30)), lambda path: path.write_text("1\n2\n"),
     lambda path: path.write_text("\u0661"), lambda path: path.write_bytes(b""), lambda path: path.write_text("9")],
    ids=["FIFO", "folder", "link to itself", "link out", "a GiB", "two numbers", "other digits", "nothing", "absent"],
)  # fmt: skip
def test_a_pin_that_names_no_version_is_refused(home, make):
    service = Service(Config(models=home.parent))
    make(home / "pinned")
    publish(home, 2)

    service.look()

    assert "pinned" in service.refused
    assert (version(service), sorted(service.kept)) == (1, [1, 2])


@pytest.mark.parametrize(
    "manifest",
    [b"[" * 10**5, b'{"format": 3, "arguments": {"a": ' + b"[" * 10**5, b'{"format": "%s"}' % (b"x" * 10**6),
     b'{"format": "\\ud800"}', b'{"format": 3, "link": "%s"}' % (b"x" * 10**6), b'{"format": 3, "threshold": NaN}',
     b"null", b"", b"\xff\xfe\x00"],
    ids=["deep", "deep within", "long format", "half a character", "long link", "NaN", "null", "empty", "no UTF-8"],
)  # fmt: skip
def test_a_manifest_that_is_none_is_refused_in_a_short_line(home, manifest):
    service = Service(Config(models=home.parent))
    publish(home, 2)
    (home / "2" / "manifest.json").write_bytes(manifest)
    publish(home, 3)

    service.look()

    assert version(service) == 3
    assert "2/manifest.json: not a manifest (" in service.refused["2"]
    assert len(service.refused["2"].encode()) < 400


def test_a_manifest_of_gigabytes_is_refused_unread(home):
    service = Service(Config(models=home.parent))
    publish(home, 2)
    os.truncate(home / "2" / "manifest.json", 3 * 2**30)

    service.look()

    assert "2/manifest.json: can't be read: it has more than 33554432 bytes" in service.refused["2"]


def test_a_model_file_larger_than_the_manifest_has_it_is_refused_unread(home):
    service = Service(Config(models=home.parent))
    publish(home, 2)
    size = (home / "2" / "model.onnx").stat().st_size
    os.truncate(home / "2" / "model.onnx", 3 * 2**30)

    service.look()

    assert f"2/model.onnx: can't be read: it has more than {size} bytes" in service.refused["2"]


def test_a_link_is_followed_within_the_folder_and_not_out_of_it(home):
    service = Service(Config(models=home.parent))
    for number in (2, 3, 4):
        publish(home, number)
    (home / "2" / "..data").mkdir()  # as Kubernetes' volumes have it
    (home / "2" / "model.onnx").rename(home / "2" / "..data" / "model.onnx")
    (home / "2" / "model.onnx").symlink_to("..data/model.onnx")
    (home / "3" / "model.onnx").unlink()
    (home / "3" / "model.onnx").symlink_to(home / "1" / "model.onnx")
    (home / "4" / "manifest.json").unlink()
    (home / "4" / "manifest.json").symlink_to("manifest.json")

    service.look()

    assert version(service) == 2
    assert "3/model.onnx: can't be read: it is a link to a file outside its folder" in service.refused["3"]
    assert "4/manifest.json: can't be read: Too many levels of symbolic links" in service.refused["4"]


@pytest.mark.parametrize("name", ["1²", "²", "01", "0", "1a", "9" * 16])
def test_a_folder_that_is_no_version_is_none(home, name):
    shutil.copytree(home / "1", home / name)
    service = Service(Config(models=home.parent))
    service.look()

    assert sorted(service.kept) == [1]
    assert not service.refused


def test_readiness_says_which_workers_serve_another_version(home, monkeypatch):
    counters = SharedCounters()
    monkeypatch.setattr("serve.server.application.shared", lambda: counters)
    counters.assign("one")
    counters.use("one")
    client = create_app(Config(models=home.parent)).test_client()
    assert "workers" not in client.get("/health/ready").json

    counters.assign("another")
    counters.use("another")
    assert client.get("/health/ready").json["workers"] == {"1": 1, "opening": 1}
    counters.mine[SERVED] = 7

    assert client.get("/health/ready").json["workers"] == {"1": 1, "7": 1}
    counters.release("another")
    assert "workers" not in client.get("/health/ready").json


def test_no_version_below_the_lowest_is_served_even_if_it_is_pinned(home):
    """A person who may write to the repository can pin an old version or remove newer ones."""
    publish(home, 2)
    service = Service(Config(models=home.parent, lowest_version=2))
    service.look()
    assert (version(service), sorted(service.kept)) == (2, [2])

    pin(home, 1)
    service.look()
    assert version(service) == 2
    assert service.refused["pinned"].endswith("version 1 is below LOWEST_VERSION, 2: choose a higher one")

    (home / "pinned").unlink()
    (home / "2").rename(home / ".2")
    service.look()
    assert version(service) == 2


def test_a_service_does_not_start_below_the_lowest_version(models):
    with pytest.raises(ConfigError, match="holds no version from 2 \\(LOWEST_VERSION\\)"):
        Service(Config(models=models, model_name="hours", lowest_version=2))


def test_the_version_asked_for_may_not_be_below_the_lowest(home):
    publish(home, 2)
    with pytest.raises(ConfigError, match="version 1 is below LOWEST_VERSION, 2"):
        Service(Config(models=home.parent, model_version=1, lowest_version=2))


def test_a_worker_that_is_about_to_stop_takes_up_nothing(home):
    """The parent of this worker was killed."""
    service = Service(Config(models=home.parent))
    publish(home, 2)
    service.leaving = True

    service.follow()

    assert version(service) == 1


def test_the_bytes_of_one_export_are_gone_before_another_is_read(home, monkeypatch):
    """All but model.onnx: ONNX Runtime keeps the bytes of a model that it runs."""
    for number in (2, 3):
        publish(home, number)
    alive, kept, read = set(), set(), repository.read_bounded

    class Tracked(bytes):
        def __del__(self):
            alive.discard(self.about)

    def tracked(path, most):
        data = Tracked(read(path, most))
        data.about = (path.parent.name, path.name)
        kept.update(name for folder, name in alive if folder != path.parent.name)
        alive.add(data.about)
        return data

    monkeypatch.setattr(repository, "read_bounded", tracked)

    service = Service(Config(models=home.parent))

    assert sorted(service.kept) == [1, 2, 3]
    assert kept == {"model.onnx"}


def test_a_mended_version_is_tried_again_although_a_link_beside_its_files_leads_nowhere(home):
    """The link hid the times of all files."""
    service = Service(Config(models=home.parent))
    publish(home, 2, damage=True)
    (home / "2" / "notes").symlink_to("nowhere")
    service.look()
    assert "2" in service.refused

    (home / "2" / "model.onnx").write_bytes((home / "1" / "model.onnx").read_bytes())
    service.look()

    assert version(service) == 2


def test_a_version_that_fails_in_an_unforeseen_way_is_refused_and_the_others_are_served(home, monkeypatch):
    service = Service(Config(models=home.parent))
    publish(home, 2)
    publish(home, 3)
    load = service._load

    def broken(folder):
        if folder.name == "3":
            raise RuntimeError("nobody foresaw this")
        return load(folder)

    monkeypatch.setattr(service, "_load", broken)
    service.look()

    assert version(service) == 2
    assert "3" in service.refused


def test_a_repository_that_can_not_be_listed_is_said_and_the_model_goes_on(home, monkeypatch):
    """A network's file system answers so when its server has gone (ENOTCONN; also EIO, ESTALE)."""
    service = Service(Config(models=home.parent))

    def gone(*_):
        raise OSError(107, "Transport endpoint is not connected")

    with monkeypatch.context() as patched:
        patched.setattr(os, "listdir", gone)
        service.look()
        assert version(service) == 1
        assert "all" in service.refused
    service.look()

    assert not service.refused
