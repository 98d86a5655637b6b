"""The trainer's command line: what it prints, writes and refuses."""

import errno
import functools
import os
import re
import resource
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import onnx
import pytest
import safetensors.numpy

from passfail.loading import open_model
from passfail.manifest import decode
from passfail.repository import find
from serve.server.flask_app import create_app
from serve.settings import Config
from tests.support import DATA, ROOT
from train.__main__ import main
from train.commands import export as export_command
from train.export import checkpoint
from train.export import publish as exporting


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """run(*arguments) -> (exit status, stdout, stderr), in an empty folder with data/ in it."""
    (tmp_path / "data").symlink_to(DATA)
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        try:
            status = main([str(argument) for argument in arguments])
        except SystemExit as error:  # argparse
            status = error.code
        return status, *capsys.readouterr()

    return run


def test_the_default_run_is_the_lectures(run):
    status, out, _ = run("fit")
    assert status == 0
    losses = [float(line.split()[1]) for line in out.splitlines() if line.split()[0].isdigit()]
    assert losses == sorted(losses, reverse=True)
    assert len(losses) == 11

    status, out, _ = run("export")
    assert status == 0
    assert out.splitlines()[-2:] == ["predict 1 hour: fail", "predict 7 hours: pass"]
    assert sorted(path.name for path in Path("models/hours").iterdir()) == ["1", "config.pbtxt"]
    training = decode(Path("models/hours/1/manifest.json").read_bytes()).training
    assert training.options["solver"] == "sgd"
    assert (training.options["lr"], training.options["epochs"]) == (0.01, 1000)


def test_a_unit_is_shown_with_the_columns_numbers(run):
    """The command line's unit reaches the form; without one, the manifest has no unit."""
    arguments = ["--data", "data/admissions.csv", "--categorical", "rank"]
    status, out, _ = run("fit", *arguments, "--unit", "gre=<points>", "--unit", "gpa=grade points")
    assert status == 0
    assert "  gre: numeric, 220 to 800 <points>" in out
    assert run("export", *arguments[:2])[0] == 0
    assert decode(Path("models/admissions/1/manifest.json").read_bytes()).units == {
        "gre": "<points>",
        "gpa": "grade points",
    }
    card = Path("models/admissions/1/MODEL_CARD.md").read_text()
    assert ("2.26 to 4 grade points" in card, "does not name" in card) == (True, False)
    assert "does not name" not in Path("models/admissions/1/report.html").read_text()
    client = create_app(Config(models=Path("models"))).test_client()
    row = client.get("/openapi.json").json["components"]["schemas"]["Row"]["properties"]
    assert (row["gpa"]["description"], row["gpa"]["x-unit"]) == (
        "from 2.26 to 4 grade points in training",
        "grade points",
    )
    assert client.get("/").text.count("&lt;points&gt;") == 3  # field, range, suggestion

    run("fit", *arguments)
    run("export", *arguments[:2])
    assert b"units" not in Path("models/admissions/2/manifest.json").read_bytes()


@pytest.mark.parametrize(
    ("unit", "said"),
    [
        ("gre", "takes COLUMN=UNIT: age=years"),
        ("=points", "takes COLUMN=UNIT: age=years"),
        ("rank=th", "--unit: 'rank' is not a numeric column; these are: gre, gpa"),
        ("gree=points", "--unit: 'gree' is not a numeric column; these are: gre, gpa"),
    ],
)
def test_a_unit_of_nothing_is_refused(run, unit, said):
    status, _, error = run("fit", "--data", "data/admissions.csv", "--categorical", "rank", "--unit", unit)

    assert status == 2
    assert said in error
    assert not Path("checkpoints").exists()


def test_the_same_run_gives_the_same_bits(run):
    for folder in ("a", "b"):
        for arguments in (["--data", "data/admissions.csv", "--categorical", "rank"], []):
            assert run("fit", *arguments, "--checkpoints", folder)[0] == 0
    for name in ("admissions", "hours"):
        a, b = (safetensors.numpy.load_file(f"{folder}/{name}.safetensors") for folder in ("a", "b"))
        assert a.keys() == b.keys()
        assert all(a[key].tobytes() == b[key].tobytes() for key in a)


def test_another_seed_is_another_start(run):
    for seed in (0, 1):
        run("fit", "--seed", seed, "--checkpoints", str(seed))
    a, b = (safetensors.numpy.load_file(f"{seed}/hours.safetensors")["weight"] for seed in (0, 1))

    assert a != b


def test_held_out_figures_come_from_a_fit_without_those_rows(run):
    """Noise, from which only the rows it was fitted on can seem to profit."""
    rng = np.random.default_rng(0)
    columns = ",".join(f"x{i}" for i in range(50))
    rows = "\n".join(",".join(f"{v:.3f}" for v in rng.normal(size=50)) + f",{i % 2}" for i in range(100))
    Path("noise.csv").write_text(f"{columns},y\n{rows}\n")

    run("fit", "--data", "noise.csv", "--l2", "0.01")
    training = checkpoint.load(Path("checkpoints"), "noise")[0].training

    assert (training.metrics.rows, training.held_out.rows) == (100, 100)
    assert training.metrics.accuracy > 0.9
    assert training.held_out.accuracy < 0.75


def test_every_export_is_a_new_version(run):
    run("fit")
    for version in (1, 2, 3):
        assert f"wrote models/hours/{version}" in run("export")[1]
    first, third = (Path(f"models/hours/{v}/model.onnx").read_bytes() for v in (1, 3))

    assert first == third
    assert b"/" not in first.replace(b"ai.onnx", b"")  # no paths of the machine that exported it
    onnx.checker.check_model(onnx.load_from_string(first), full_check=True)


def test_the_repository_reads_as_tritons(run):
    run("fit", "--data", "data/admissions.csv", "--categorical", "rank")
    run("export", "--data", "data/admissions.csv")
    config = Path("models/admissions/config.pbtxt").read_text()
    graph = onnx.load("models/admissions/1/model.onnx").graph

    assert 'name: "admissions"' in config
    assert 'name: "x" data_type: TYPE_FP64 dims: [ 3 ]' in config
    assert [i.name for i in graph.input] == ["x"]
    assert [o.name for o in graph.output] == ["logit", "probability"]
    shapes = [[d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim] for v in [*graph.input, *graph.output]]
    assert shapes == [["n", 3], ["n"], ["n"]]
    assert {v.type.tensor_type.elem_type for v in [*graph.input, *graph.output]} == {onnx.TensorProto.DOUBLE}


def test_weights_and_ways_for_missing_cells(run):
    """A row of weight 2 is that row twice; a way for one column goes before that for all."""
    rows = ["1,10,1,0", "2,,2,0", "3,30,1,1", "4,80,2,1", ",20,1,0", "2.5,60,1,1", "1.5,40,2,1", "2,50,1,0"]
    weighted = [f"{row[:-4]},1,{row[-1]}" for row in rows for _ in range(int(row[-3]))]
    Path("w.csv").write_text("\n".join(["a,b,n,y", *rows]))
    Path("twice.csv").write_text("\n".join(["a,b,n,y", *weighted]))
    ways = ["--missing", "mean", "--missing", "b=error", "--missing", "a=median"]
    assert run("fit", "--data", "w.csv", "--weights", "n", *ways)[2].startswith("error: w.csv: line 3: column 'b'")
    ways[3] = "b=median"
    status, out, _ = run("fit", "--data", "w.csv", "--weights", "n", *ways)
    assert (status, "missing becomes 40, the median" in out) == (0, True)
    assert run("fit", "--data", "twice.csv", "--drop", "n", "--no-standardize", *ways)[0] == 0
    run("fit", "--data", "w.csv", "--weights", "n", "--no-standardize", *ways)

    one, other = (safetensors.numpy.load_file(f"checkpoints/{name}.safetensors") for name in ("w", "twice"))
    assert np.allclose(one["weight"], other["weight"], rtol=1e-9)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fit", "--data", "none.csv"], "none.csv: there is no such file"),
        (["fit", "--target", "hors"], "did you mean 'hours'?"),
        (["fit", "--name", "a/b"], "'a/b' can't name a model"),
        (["fit", "--solver", "adam2"], "invalid choice"),
        (["fit", "--l2", "-1"], "argument --l2: must be at least 0, or auto"),
        (["fit", "--l1", "much"], "argument --l1: must be a number, or auto"),
        (["fit", "--epochs", "1.5"], "argument --epochs: must be a whole number"),
        (["fit", "--lr", "nan"], "must be above 0"),
        (["fit", "--epochs", "0"], "must be at least 1"),
        (["fit", "--missing", "hours=zero"], "takes mean, median, most-frequent, indicator, drop, error"),
        (["fit", "--labels", "one"], "takes two different words"),
        (["fit", "--lr", "1e300"], "sgd diverged at epoch"),
        (["export", "--name", "never"], "no such checkpoint; train it with"),
        ([], "required"),
    ],
)
def test_a_fault_is_one_line_status_2_and_nothing_written(run, arguments, message):
    status, _, err = run(*arguments)

    assert status == 2
    fault, _, _ = err.partition("this command gets past it:")
    assert message in "\n".join(fault.splitlines()[-2:])  # the last line of an error in the options names their help
    assert "Traceback" not in err
    assert [path.name for path in Path().iterdir()] == ["data"]


@pytest.mark.parametrize("content", [b"", b"junk" * 100], ids=["empty", "junk"])
def test_a_damaged_checkpoint_is_named(run, content):
    Path("checkpoints").mkdir()
    Path("checkpoints/hours.safetensors").write_bytes(content)

    status, _, err = run("export")

    assert status == 2
    assert "the file is damaged, or another version of the trainer wrote it" in err


def test_separation_is_said_in_plain_words(run):
    _, out, _ = run("fit", "--data", "data/hours.csv")

    (said,) = [line for line in out.splitlines() if "separat" in line]
    assert said.startswith("warning: separation: the outcomes of all rows are separated by hours")
    assert said.endswith("use --firth or --l2 1")


def test_a_fit_that_does_not_converge_is_said_once_with_its_remedy(run):
    _, out, _ = run("fit")

    (said,) = [line for line in out.splitlines() if "converge" in line]
    assert said.startswith("warning: sgd stopped after 1000 epochs")
    assert said.endswith("Raise --epochs, or use --solver newton.")


def test_a_failed_proof_publishes_nothing(run, monkeypatch):
    run("fit")
    honest = exporting.formats.to_onnx

    def nudged(model):
        fitted = model.weight.data.clone()
        model.weight.data *= 1 + 2**-52
        proto = honest(model)
        model.weight.data.copy_(fitted)
        return proto

    monkeypatch.setattr(exporting.formats, "to_onnx", nudged)
    status, _, err = run("export")

    assert status == 2
    assert "logits whose bits differ from the closed form's" in err
    assert not Path("models").exists()


def test_a_full_disk_leaves_no_half_version(run, monkeypatch):
    run("fit")
    real = os.fsync
    calls = []

    def full(descriptor):
        calls.append(descriptor)
        if len(calls) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    status, _, err = run("export")

    assert status == 2
    assert "models/hours: can't be written: No space left on device" in err
    assert [path.name for path in Path("models/hours").iterdir()] == ["config.pbtxt"]


def test_two_exports_at_once_take_two_versions(run, monkeypatch):
    run("fit")
    loaded = checkpoint.load(Path("checkpoints"), "hours")
    faults = []

    def export():
        try:
            exporting.export(*loaded, Path("models"))
        except Exception as error:
            faults.append(error)

    ready = threading.Barrier(2, timeout=120)
    real = exporting._publish

    def together(*arguments):
        ready.wait()
        return real(*arguments)

    monkeypatch.setattr(exporting, "_publish", together)
    # torch's exporters and loaders are not made for threads; only the publishing is under test.
    alone = threading.Lock()

    def one_by_one(proven, *arguments, **keywords):
        with alone:
            return proven(*arguments, **keywords)

    for module, name in ((exporting.parity, "certificate"), (exporting.engines, "prove")):
        monkeypatch.setattr(module, name, functools.partial(one_by_one, getattr(module, name)))
    for form in ("to_onnx", "to_torchscript", "to_exported_program"):
        data = getattr(exporting.formats, form)(loaded[1])
        monkeypatch.setattr(exporting.formats, form, lambda _, data=data: data)
    threads = [threading.Thread(target=export) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert not faults
    assert sorted(path.name for path in Path("models/hours").iterdir()) == ["1", "2", "config.pbtxt"]
    for version in (1, 2):
        assert open_model(find(Path("models"), version=version)).manifest.version == version


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (["--help"], "prove the checkpoint"),
        (["fit", "--help"], "cauchy-schwarz"),
        (["fit", "--slover", "adam"], "did you mean '--solver'?"),
        (["fit", "--data", "none.csv"], "none.csv: there is no such file"),
    ],
)
def test_help_and_errors_of_the_command_line_do_not_wait_for_pytorch(words, answer):
    code = f"import sys; sys.modules['torch'] = None; from train.__main__ import main; sys.exit(main({words}))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)

    assert answer in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_publish_prints_and_publishes_what_fit_and_export_do(run):
    table = "--data", "data/admissions.csv"
    apart = run("fit", *table, "--l2", "1")[1] + run("export", *table)[1]
    status, together, _ = run("publish", *table, "--l2", "1", "--checkpoints", "own")

    one, two = (decode(Path(f"models/admissions/{n}/manifest.json").read_bytes()) for n in (1, 2))
    assert status == 0
    assert together == apart.replace("checkpoints/", "own/").replace("admissions/1", "admissions/2")
    assert one.parameters == two.parameters
    assert one.arguments == two.arguments == {"lecture": False, "l2": 1.0}
    assert one.files["model.onnx"] == two.files["model.onnx"]


def test_publish_leaves_its_checkpoint_for_export_if_the_version_cannot_be_written(run):
    Path("models").touch()

    status, out, err = run("publish")

    assert (status, out.splitlines()[-1]) == (2, "wrote checkpoints/hours.safetensors")
    assert err == "error: models/hours: can't be written: Not a directory\n"


def test_an_interrupted_export_leaves_nothing_behind(run, monkeypatch):
    """Ctrl-C while it publishes: one line, no half version, no folder left over."""
    write = exporting._write

    def interrupted(path, content):
        write(path, content)
        if path.name == "model.pt":
            raise KeyboardInterrupt  # a signal would be lost where whoever runs the tests ignores it

    assert run("fit")[0] == 0
    monkeypatch.setattr(exporting, "_write", interrupted)

    assert run("export") == (128 + signal.SIGINT, "", "interrupted: nothing further was written\n")
    assert [path.name for path in Path("models", "hours").iterdir()] == ["config.pbtxt"]


def test_ctrl_c_is_told_as_such_where_a_library_made_another_error_of_it(run, monkeypatch):
    """torch's exporter takes Ctrl-C for a fault of the model."""

    def export(*args):
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt:
            raise AttributeError("partially initialized module")  # noqa: B904

    monkeypatch.setattr(export_command, "run", export)

    assert run("export") == (130, "", "interrupted: nothing further was written\n")


@pytest.mark.parametrize(
    ("folder", "most", "reason"), [("checkpoints", 1000, "File too large"), ("file/c", -1, "Not a directory")]
)
def test_a_checkpoint_that_cannot_be_written_is_one_line(run, folder, most, reason):
    """A limit of the system stands in for a full disk; another folder can't be created."""
    Path("file").touch()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, before[1]))
    try:
        status, _, err = run("fit", "--checkpoints", folder)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)

    assert status == 2
    assert re.fullmatch(f"error: {folder}/hours.safetensors: can't be written: .*{reason}.*\n", err)
    assert list(Path(".").glob("checkpoints/*")) == []


def test_a_table_that_has_no_room_is_one_line(run):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        status, _, err = run("fit", "--data", DATA / "admissions.csv")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)

    assert status == 2
    assert err.endswith(": can't be written: File too large; a table takes 8 bytes a cell there; name a folder with "
                        "more room in TMPDIR\n")  # fmt: skip


def test_a_reader_that_leaves_is_no_traceback(tmp_path):
    """The command `head` closes the pipe early."""
    command = [sys.executable, "-m", "train", "fit", "--checkpoints", tmp_path]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    process.stdout.close()
    said = process.stderr.read()
    process.wait()
    process.stderr.close()

    assert (process.returncode, said) == (141, "")


def test_another_link_is_served_by_its_own_threshold(run):
    """The cloglog of one half is -0.37: the sign of the score is not the verdict."""
    run("fit", "--data", "data/study_hours.csv", "--link", "cloglog")
    run("export", "--data", "data/study_hours.csv")
    served = create_app(Config(models=Path("models"))).test_client()
    answers = served.post("/predict", json=[{"hours": h / 50} for h in range(300)]).json

    assert all(answer["passed"] == (answer["probability"] > 0.5) for answer in answers)
    assert any(answer["passed"] and answer["logit"] < 0 for answer in answers)
