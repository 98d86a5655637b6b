"""Signed exports: with SIGNED_BY, the service accepts the exports of that key alone."""

import os
import random
import shutil
import subprocess
import sys

import msgspec
import pytest

from passfail import signing
from passfail.errors import ConfigError, IntegrityError, ManifestError
from passfail.manifest import decode
from serve.registry import Service
from serve.replay import main as replay
from serve.settings import Config
from tests.support import ROOT
from tests.support.models import opened
from tests.support.service import start
from train.__main__ import main


def openssl(*arguments):
    return subprocess.run(["openssl", *map(str, arguments)], capture_output=True, text=True)


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    """A folder of keys as OpenSSL makes them: ours and another's, and some that can't be used."""
    folder = tmp_path_factory.mktemp("keys")
    for name in ("ours", "other"):
        assert openssl("genpkey", "-algorithm", "ED25519", "-out", folder / f"{name}.pem").returncode == 0
        assert openssl("pkey", "-in", folder / f"{name}.pem", "-pubout", "-out", folder / f"{name}.pub").returncode == 0
    ec = ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"]
    assert openssl("genpkey", *ec, "-out", folder / "ec.pem").returncode == 0
    assert openssl("pkey", "-in", folder / "ec.pem", "-pubout", "-out", folder / "ec.pub").returncode == 0
    locked = ["-aes256", "-passout", "pass:x", "-out", folder / "locked.pem"]
    assert openssl("pkey", "-in", folder / "ours.pem", *locked).returncode == 0
    (folder / "junk.pem").write_text("no key\n")
    return folder


@pytest.fixture(scope="module")
def exported(keys, tmp_path_factory):
    """A repository with version 1 of the lecture's model, exported with SIGN_WITH."""
    folder = tmp_path_factory.mktemp("signed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SIGN_WITH", str(keys / "ours.pem"))
        assert main(["fit", "--checkpoints", str(folder / "checkpoints")]) == 0
        assert main(["export", "--checkpoints", str(folder / "checkpoints"), "--models", str(folder / "models")]) == 0
    return folder / "models"


@pytest.fixture
def signed(exported, tmp_path):
    """The folder of the signed version 1, in a repository of its own, to be damaged."""
    shutil.copytree(exported, tmp_path / "models")
    return tmp_path / "models" / "hours" / "1"


def settings(folder, keys, key="ours.pub"):
    return Config.from_env({"MODELS_DIR": str(folder.parent.parent), "SIGNED_BY": str(keys / key)})


def opened_signed(folder, keys, key="ours.pub"):
    return opened(folder.parent.parent, signed_by=signing.public_key(keys / key, "SIGNED_BY"))


def sign(folder, key):
    """Sign a version's manifest with OpenSSL."""
    text, out = folder / "manifest.json", folder / "manifest.json.sig"
    assert openssl("pkeyutl", "-sign", "-inkey", key, "-rawin", "-in", text, "-out", out).returncode == 0


def verified(folder, key):
    """Whether OpenSSL takes the signature."""
    text, signature = folder / "manifest.json", folder / "manifest.json.sig"
    found = openssl("pkeyutl", "-verify", "-pubin", "-inkey", key, "-rawin", "-in", text, "-sigfile", signature)
    return found.returncode == 0 and "Verified Successfully" in found.stdout


def publish(folder, version):
    """A copy of version 1 under another number, not signed."""
    copy = folder.with_name(str(version))
    shutil.copytree(folder, copy)
    manifest = decode((copy / "manifest.json").read_bytes())
    (copy / "manifest.json").write_bytes(msgspec.structs.replace(manifest, version=version).encode())
    (copy / "manifest.json.sig").unlink()
    return copy


def test_openssl_verifies_what_the_trainer_signs_and_nothing_else(signed, keys):
    assert (signed / "manifest.json.sig").stat().st_size == 64
    assert verified(signed, keys / "ours.pub")
    assert not verified(signed, keys / "other.pub")
    with open(signed / "manifest.json", "ab") as file:
        file.write(b"\n")
    assert not verified(signed, keys / "ours.pub")


def test_the_service_takes_what_openssl_signs(signed, keys):
    (signed / "manifest.json.sig").unlink()
    sign(signed, keys / "ours.pem")

    assert opened_signed(signed, keys).manifest.version == 1


@pytest.mark.parametrize("damage", ["missing", "empty", "other", "short", "swapped"])
def test_what_the_key_did_not_sign_is_refused_by_name(signed, keys, damage):
    path = signed / "manifest.json.sig"
    if damage == "missing":
        path.unlink()
    elif damage == "other":
        sign(signed, keys / "other.pem")
    elif damage == "swapped":  # a whole, sound signature, of another manifest
        newer = publish(signed, 2)
        sign(newer, keys / "ours.pem")
        shutil.copy(newer / path.name, path)
        shutil.rmtree(newer)
    else:
        path.write_bytes(path.read_bytes()[: {"empty": 0, "short": 63}[damage]])
    remedy = "requires it: export again with SIGN_WITH" if damage == "missing" else "not a signature of this manifest"

    with pytest.raises(IntegrityError, match=rf"hours/1/manifest\.json\.sig: .*{remedy}"):
        opened_signed(signed, keys)
    assert opened(signed.parent.parent), "without SIGNED_BY nobody asks"


def test_any_changed_byte_of_any_file_is_noticed_and_the_file_named(signed, keys):
    """The bytes are a sample of all files, with the first and the last of each."""
    generator = random.Random(0)
    files = sorted(signed.iterdir())
    assert {path.name for path in files} == {
        *("manifest.json", "manifest.json.sig", "model.onnx", "model.pt", "model.pt2", "model.js"),
        *("MODEL_CARD.md", "report.html", "MLmodel", "input_example.json"),
    }
    for path in files:
        data = path.read_bytes()
        for at in [0, len(data) - 1, *(generator.randrange(len(data)) for _ in range(20))]:
            path.write_bytes(data[:at] + bytes([data[at] ^ 1 << generator.randrange(8)]) + data[at + 1 :])
            with pytest.raises((IntegrityError, ManifestError), match=rf"hours/1/{path.name}: "):
                opened_signed(signed, keys)
        path.write_bytes(data)
    assert opened_signed(signed, keys)


def test_who_rewrites_the_manifest_to_fit_is_found_out(signed, keys):
    """Its digest fits again, and so would do without a signature."""
    path = signed / "manifest.json"
    path.write_bytes(msgspec.structs.replace(decode(path.read_bytes()), created="2001").encode())

    assert opened(signed.parent.parent).manifest.created == "2001"
    with pytest.raises(IntegrityError, match=r"manifest\.json\.sig: not a signature of this manifest\.json"):
        opened_signed(signed, keys)


def test_an_unsigned_version_is_not_swapped_in_until_it_is_signed(signed, keys):
    service = Service(settings(signed, keys))
    newer = publish(signed, 2)
    service.look()

    assert service.served.model.manifest.version == 1
    assert list(service.kept) == [1], "nor can it be asked for by number"
    assert "hours/2/manifest.json.sig: can't be read" in service.refused["2"]

    sign(newer, keys / "ours.pem")
    service.look()

    assert service.served.model.manifest.version == 2
    assert service.refused == {}


def test_the_service_does_not_start_and_says_so(signed, keys):
    """A real gunicorn."""
    (signed / "manifest.json.sig").unlink()
    process = start(signed.parent.parent, SIGNED_BY=str(keys / "ours.pub"), WEB_CONCURRENCY="1")

    said, _ = process.communicate(timeout=120)

    assert process.returncode == 3, said
    assert "passfail can't start: " in said
    assert "manifest.json.sig: can't be read (No such file or directory), and SIGNED_BY requires it" in said


def test_replay_asks_for_the_signature_too(signed, keys, tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("MODELS_DIR", str(signed.parent.parent))
    monkeypatch.setenv("SIGNED_BY", str(keys / "ours.pub"))
    (tmp_path / "request.json").write_text('{"hours": 7}')

    assert replay([str(tmp_path / "request.json")]) == 0
    monkeypatch.setenv("SIGNED_BY", str(keys / "other.pub"))
    assert replay([str(tmp_path / "request.json")]) == 2
    assert "manifest.json.sig: not a signature" in capfd.readouterr().err


@pytest.mark.parametrize("name", ["ec", "ours.pub", "locked", "junk", "nosuch"])
@pytest.mark.parametrize("command", ["fit", "export"])
def test_a_key_that_cannot_sign_costs_no_training(keys, tmp_path, monkeypatch, capsys, command, name):
    path = keys / (name if "." in name else f"{name}.pem")
    monkeypatch.setenv("SIGN_WITH", str(path))

    assert main([command, "--checkpoints", str(tmp_path)]) == 2

    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("error: SIGN_WITH ")
    assert len(said.err.splitlines()) == 1
    assert "key" in said.err or "can't be read: No such file" in said.err
    assert str(keys) not in said.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("ours.pem", "SIGNED_BY must name a PEM file with an Ed25519 public key"),
        ("ec.pub", "an Ed25519 public key; it has one of another kind"),
        ("junk.pem", "SIGNED_BY must name a PEM file with an Ed25519 public key"),
        ("nosuch", "SIGNED_BY names a file that can't be read: No such file"),
    ],
)
def test_a_key_that_cannot_verify_is_refused(keys, name, message):
    with pytest.raises(ConfigError, match=message):
        Config.from_env({"SIGNED_BY": str(keys / name)})


def test_without_cryptography_only_who_asks_for_signatures_is_told(signed, keys):
    """The images lack cryptography unless a build argument asks for it."""
    code = (
        "import os, sys; sys.modules['cryptography'] = None\n"
        "import passfail; from serve.settings import Config\n"
        "passfail.load(os.environ['MODELS_DIR'] + '/hours'); print('opened')\n"
        "Config.from_env({'SIGNED_BY': sys.argv[1]})"
    )
    environ = {**os.environ, "MODELS_DIR": str(signed.parent.parent)}
    found = subprocess.run(
        [sys.executable, "-c", code, str(keys / "ours.pub")], cwd=ROOT, env=environ, capture_output=True, text=True
    )

    assert found.stdout == "opened\n"
    assert "ConfigError: SIGNED_BY needs the package cryptography: pip install cryptography" in found.stderr
