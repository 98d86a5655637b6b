"""No faulty export is served: each kind of fault ends in one line that names it."""

import builtins
import hashlib
import json
import random
import re
import shutil

import msgspec
import numpy as np
import pytest

from passfail.errors import CertificateError, ConfigError, IntegrityError, ManifestError, RuntimeUnavailable
from passfail.manifest import decode
from passfail.runtimes import load_runtime
from serve.server.flask_app import create_app
from serve.settings import Config
from tests.support.models import opened as models_opened
from tests.support.repository import flipped

FILES = {"onnx": "model.onnx", "torchscript": "model.pt"}


@pytest.fixture
def copied(models, tmp_path):
    """A repository of its own, to be damaged: the folder of study_hours' version 1."""
    shutil.copytree(models / "study_hours", tmp_path / "study_hours")
    return tmp_path / "study_hours" / "1"


def opened(folder, runtime="onnx", **chosen):
    return models_opened(folder.parent.parent, runtime=runtime, **chosen)


def rewrite(folder, **changes):
    """Change fields of the manifest, and give it a digest that fits."""
    path = folder / "manifest.json"
    path.write_bytes(msgspec.structs.replace(decode(path.read_bytes()), **changes).encode())


def test_the_undamaged_copy_opens_and_the_log_says_how_long_its_proof_took(copied, runtime, caplog):
    with caplog.at_level("INFO"):
        assert opened(copied, runtime).manifest.name == "study_hours"

    assert re.search(rf"study_hours/1 answers on {runtime} as it was certified; the check took \d+ ms", caplog.text)


def test_any_changed_byte_of_any_file_is_noticed_and_the_file_named(copied):
    """The bytes are a sample of all files, also of those that this runtime never opens."""
    generator = random.Random(0)
    files = sorted(path for path in copied.iterdir() if path.name != "manifest.json")
    assert {path.name for path in files} == {
        "model.onnx",
        "model.pt",
        "model.pt2",
        "model.js",
        "MLmodel",
        "input_example.json",
        "MODEL_CARD.md",
        "report.html",
    }
    for path in files:
        size = path.stat().st_size
        for at in [0, size - 1, *(generator.randrange(size) for _ in range(60))]:
            with (
                flipped(path, 8 * at + generator.randrange(8)),
                pytest.raises(IntegrityError, match=f"{path.name}: not the file that was exported"),
            ):
                opened(copied)
    assert opened(copied)


def test_a_machine_that_answers_otherwise_does_not_become_ready(copied, runtime, monkeypatch):
    """One logit in a thousand differs in its last bit: the proof finds it, the examples don't."""

    def nudged(name, model):
        run = load_runtime(name, model)

        def answer(x):
            logit, probability = run(x)
            off = np.abs(x[:, 0]) > 1e6
            return np.where(off, np.nextafter(logit, np.inf), logit), probability

        return answer

    monkeypatch.setattr("passfail.loading.load_runtime", nudged)
    with pytest.raises(
        CertificateError, match=rf"{runtime} doesn't answer on this machine .* logits whose bits differ from .*: \d+"
    ):
        opened(copied, runtime)


def test_any_changed_byte_of_the_manifest_is_noticed(copied):
    path = copied / "manifest.json"
    for at in range(0, path.stat().st_size, 7):
        with flipped(path, 8 * at), pytest.raises(ManifestError, match=r"manifest\.json: "):
            opened(copied)


@pytest.mark.parametrize(
    "text", [b"", b"[]", b"null", b'"x"', b"{}", b'{"format": 1}', b"\xff", b'{"format": 2}', b'{"format": 3}']
)
def test_what_is_no_manifest_is_refused(copied, text):
    (copied / "manifest.json").write_bytes(text)

    with pytest.raises(ManifestError, match="export again"):
        opened(copied)


def test_the_hash_is_checked_before_an_engine_sees_the_file(copied, runtime, monkeypatch):
    (copied / FILES[runtime]).write_bytes(b"not a model")
    monkeypatch.setattr("passfail.loading.load_runtime", lambda *_: pytest.fail("opened"))

    with pytest.raises(IntegrityError):
        opened(copied, runtime)


@pytest.mark.parametrize("name", ["manifest.json", "model.onnx"])
def test_a_missing_file_is_named(copied, name):
    (copied / name).unlink()

    with pytest.raises((IntegrityError, ManifestError), match=rf"{name}: can't be read: No such file"):
        opened(copied)


def test_a_version_copied_elsewhere_is_refused(copied):
    copied.rename(copied.with_name("2"))

    with pytest.raises(ManifestError, match="belongs to study_hours/1"):
        opened(copied.with_name("2"))


def test_examples_that_answer_otherwise_are_refused(copied, runtime):
    """A manifest that is sound in itself, but whose recorded answers this machine doesn't give."""
    examples = decode((copied / "manifest.json").read_bytes()).examples
    nudged = msgspec.structs.replace(examples[0], logit=examples[0].logit * (1 + 2**-52))
    rewrite(copied, examples=(nudged, *examples[1:]))

    with pytest.raises(CertificateError, match="a recorded example answers"):
        opened(copied, runtime)


WORDS = {
    "the threshold": lambda m: {"threshold": m.threshold * (1 + 1e-12)},
    "swapped labels": lambda m: {"target": msgspec.structs.replace(m.target, labels=m.target.labels[::-1])},
    "a feature's name": lambda m: {"features": (msgspec.structs.replace(m.features[0], name="minutes"),)},
    "no examples": lambda m: {"examples": ()},
    "the link": lambda m: {"link": "probit"},
}


@pytest.mark.parametrize("change", WORDS)
def test_a_manifest_of_other_words_is_refused(copied, change):
    """Whole in itself, with a digest that fits."""
    rewrite(copied, **WORDS[change](decode((copied / "manifest.json").read_bytes())))

    with pytest.raises(CertificateError, match=r"recorded example|error of a probability"):
        opened(copied)


def replaced(record, path, change):
    """The record with change(value) in place of the value at the path of fields and indices."""
    name, *rest = path
    if isinstance(record, tuple):
        value = change(record[name]) if not rest else replaced(record[name], rest, change)
        return (*record[:name], value, *record[name + 1 :])
    old = getattr(record, name)
    return msgspec.structs.replace(record, **{name: replaced(old, rest, change) if rest else change(old)})


FIGURES = {
    "fewer examples": (["examples"], lambda every: every[:4], "recorded examples are missing"),
    "no examples beside the threshold": (["examples"], lambda every: every[:-2], "recorded examples are missing"),
    "a training range": (["features", 0, "maximum"], lambda most: most * 1.01, "hours: the training range"),
    "a column's mean": (
        ["parameters", "columns", 0, "mean"],
        lambda mean: mean * 10,
        "the mean of a column is outside",
    ),
    "a share of the baseline": (
        ["training", "baseline", "score", "shares", 0],
        lambda s: s + 0.01,
        "do not add up to 1",
    ),
    "edges of the baseline": (
        ["training", "baseline", "features", 0, "edges"],
        lambda e: e[::-1],
        "do not add up to 1",
    ),
    "rows of a bin": (["training", "calibration", 0, "rows"], lambda rows: rows + 1, "the calibration bins have"),
    "positives of a bin": (
        ["training", "calibration", 0, "positives"],
        lambda rows: rows + 1,
        "the calibration error of",
    ),
    "the covariance": (["training", "statistics", "factor", 1], lambda part: part * 1.01, "the standard error of"),
    "a drift feature": (
        ["training", "baseline", "features"],
        lambda b: b[:-1],
        "the drift baseline and the model differ",
    ),
    "a number of coefficients": (
        ["training", "statistics", "coefficients"],
        lambda c: c[:1],
        "differ in their number of",
    ),
    "more coefficients": (["training", "statistics", "coefficients"], lambda c: (*c, *c), "differ in their number of"),
    "a part of the covariance": (
        ["training", "statistics", "factor"],
        lambda part: part[:-1],
        "differ in their number of",
    ),
    "a coefficient": (
        ["training", "statistics", "coefficients", 1, "estimate"],
        lambda b: b * 1.01,
        "the coefficient of",
    ),
}


@pytest.mark.parametrize(("path", "change", "words"), FIGURES.values(), ids=FIGURES)
def test_a_manifest_of_figures_that_contradict_each_other_is_refused(copied, path, change, words):
    """Its digest fits, and the answers are right."""
    changed = replaced(decode((copied / "manifest.json").read_bytes()), path, change)
    rewrite(copied, **{path[0]: getattr(changed, path[0])})

    with pytest.raises(CertificateError, match=words):
        opened(copied)


@pytest.mark.parametrize("change", [{"feature": 7}, {"feature": -1}, {"level": 9}], ids=str)
def test_a_column_without_its_feature_or_level_is_refused(copied, change):
    parameters = decode((copied / "manifest.json").read_bytes()).parameters
    column = msgspec.structs.replace(parameters.columns[0], **change)
    rewrite(copied, parameters=msgspec.structs.replace(parameters, columns=(column, *parameters.columns[1:])))

    with pytest.raises(ManifestError, match="a column of the parameters has no feature or no level: export again"):
        opened(copied)


def test_a_file_no_engine_reads_is_refused(copied):
    """Its digest fits, so somebody meant it; the engine's refusal is one line."""
    (copied / "model.onnx").write_bytes(b"junk")
    files = decode((copied / "manifest.json").read_bytes()).files
    junk = msgspec.structs.replace(files["model.onnx"], sha256=hashlib.sha256(b"junk").hexdigest(), bytes=4)
    rewrite(copied, files={**files, "model.onnx": junk})

    with pytest.raises(IntegrityError, match="onnx can't load it") as caught:
        opened(copied)
    assert "\n" not in str(caught.value)


def test_an_engine_that_is_not_installed_is_named(copied, monkeypatch):
    real = builtins.__import__

    def without_torch(name, *args, **kwargs):
        if name == "torch":
            raise ModuleNotFoundError("No module named 'torch'", name="torch")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without_torch)
    monkeypatch.delitem(__import__("sys").modules, "passfail.runtimes.torchscript", raising=False)

    with pytest.raises(RuntimeUnavailable, match="the runtime torchscript needs torch, which is not installed"):
        opened(copied, "torchscript")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"name": "nosuch"}, "run make train export, or set MODEL_NAME to one of .*study_hours"),
        ({"name": "../study_hours"}, "MODEL_NAME must be letters"),
        ({"name": "study_hours", "version": 9}, "holds no version 9; it holds 1"),
    ],
)
def test_a_model_that_is_not_there(copied, settings, message):
    with pytest.raises(ConfigError, match=message):
        opened(copied, **settings)


def test_one_model_needs_no_name_and_two_do(models, copied):
    assert opened(copied).manifest.name == "study_hours"
    with pytest.raises(ConfigError, match="holds admissions, hours, study_hours: set MODEL_NAME"):
        models_opened(models)
    with pytest.raises(ConfigError, match="holds no model: run make train export"):
        models_opened(copied)


def test_the_highest_version_is_served_as_a_number(copied):
    """10 comes after 9, and what is no version is passed over."""
    for version in (9, 10):
        shutil.copytree(copied, copied.with_name(str(version)))
        rewrite(copied.with_name(str(version)), version=version)
    copied.with_name(".export-abc").mkdir()
    copied.with_name("11.old").mkdir()

    served = create_app(Config(models=copied.parent.parent)).test_client()
    assert served.get("/health/ready").json["version"] == 10
    assert opened(copied, version=9).manifest.version == 9


def test_the_manifest_is_plain_json_and_reads_back(copied):
    text = (copied / "manifest.json").read_bytes()

    assert json.loads(text)["target"]["name"] == "passed"
    assert decode(text).encode() == text
