"""Every combination asked for, measured once, kept, sorted and drawn."""

import contextlib
import json
import pickle
from types import SimpleNamespace

import matplotlib.image
import pytest

from tests.support import DATA
from train.__main__ import main
from train.commands import compare
from train.evaluation.cross_validation import cross_validated
from train.evaluation.metrics import metrics
from train.solvers.options import Options
from train.table.reading import Reading
from train.table.table import read_table

COLUMNS = ["log loss", "accuracy", "AUC", "Brier", "calib.", "steps", "seconds", "parity"]


@pytest.fixture
def run(tmp_path, capsys):
    """run(*arguments) -> (status, out, err, the kept rows) of `python -m train compare`."""
    kept, drawn = tmp_path / "kept.jsonl", tmp_path / "curves.png"

    def run(*arguments):
        files = ["--data", str(DATA / "study_hours.csv"), "--results", str(kept), "--picture", str(drawn)]
        status = main(["compare", *files, "--folds", "2", "--epochs", "20", *arguments])
        out, err = capsys.readouterr()
        rows = [json.loads(line) for line in kept.read_text().splitlines()] if status != 2 else []
        return SimpleNamespace(status=status, out=out.splitlines(), err=err, rows=rows, kept=kept, drawn=drawn)

    return run


class Here:
    """Runs in this process what another one would get."""

    def submit(self, *call):
        function, *arguments = pickle.loads(pickle.dumps(call))
        return SimpleNamespace(result=lambda: function(*arguments))


@pytest.fixture
def counted(monkeypatch):
    """The Options that were measured; the slow parity checks are left out."""
    seen = []

    equal = SimpleNamespace(submit=lambda *_: SimpleNamespace(result=lambda: "equal"))

    def measure(table, options, folds, pool, whole=compare.measure):
        seen.append(options)
        return whole(table, options, folds, equal)

    monkeypatch.setattr(compare, "measure", measure)
    return seen


def test_the_table_is_sorted_and_the_held_out_losses_are_drawn_with_their_intervals(run, monkeypatch):
    monkeypatch.setattr(compare, "prover", lambda: contextlib.nullcontext(Here()))
    done = run("--losses", "log,hinge", "--optimizers", "adam", "--links", "probit")
    table = done.out[1:4]
    losses = [float(line.split()[4]) for line in table]

    assert done.status == 0
    assert all(name in done.out[0] for name in COLUMNS)
    assert losses == sorted(losses)
    assert {(row["loss"], row["activation"], row["link"]) for row in done.rows} == {
        ("log", "-", "logit"),
        ("hinge", "-", "logit"),
        ("log", "-", "probit"),
    }
    assert all(line.endswith(" equal") for line in table)
    assert done.err == ""  # no progress bar where there is no terminal
    assert matplotlib.image.imread(done.drawn).std() > 0.02
    assert all(0 < row["reach"] < row["log_loss"] for row in done.rows)


@pytest.mark.heavy
def test_a_process_of_its_own_proves(run):
    assert [row["parity"] for row in run("--losses", "log", "--optimizers", "adam").rows] == ["equal"]


def test_one_that_diverges_is_a_row_that_says_so(run, counted):
    done = run("--optimizers", "sgd,lbfgs", "--lr", "1e308")

    assert done.status == 0
    assert len(counted) == 2
    assert any("sgd" in line and "diverged at epoch" in line for line in done.out)
    assert done.drawn.exists()


def test_a_huge_loss_stays_in_its_column():
    row = dict.fromkeys(["accuracy", "auc", "brier", "calibration_error", "seconds"], 0.5)
    row |= {"loss": "L2", "optimizer": "asgd", "activation": "Tanh", "link": "logit", "steps": 20, "parity": "equal"}
    _, small, huge = compare.lines([{**row, "log_loss": 0.4}, {**row, "log_loss": 1.1e26}])

    assert len(small) == len(huge)
    assert " 1.1e+26 " in huge


def test_activations_get_a_hidden_layer(run, counted):
    done = run("--optimizers", "adam", "--activations", "Tanh,ReLU")

    assert [(options.hidden, options.activation) for options in counted] == [(8, "Tanh"), (8, "ReLU")]
    assert {row["activation"] for row in done.rows} == {"Tanh", "ReLU"}


def test_a_rerun_measures_only_what_is_new(run, counted):
    first = run("--optimizers", "adam,sgd")
    second = run("--optimizers", "adam,sgd,adamax")

    assert [options.solver for options in counted] == ["adam", "sgd", "adamax"]
    assert second.rows[:2] == first.rows
    run("--optimizers", "adam", "--seed", "1")
    assert counted[-1].seed == 1  # another setting is another result


def test_an_interrupted_run_goes_on_where_it_was(run, counted, monkeypatch):
    whole = compare.measure

    def interrupted(table, options, folds, pool):
        if options.solver == "sgd":
            raise KeyboardInterrupt
        return whole(table, options, folds, pool)

    monkeypatch.setattr(compare, "measure", interrupted)
    first = run("--optimizers", "adam,sgd,adamax")
    assert first.status == 130
    assert "keeps the results; the same command continues" in first.err
    assert [row["optimizer"] for row in first.rows] == ["adam"]

    monkeypatch.setattr(compare, "measure", whole)
    first.kept.write_text(first.kept.read_text() + '{"key": "hal')  # killed while it wrote
    second = run("--optimizers", "adam,sgd,adamax")
    assert [row["optimizer"] for row in second.rows] == ["adam", "sgd", "adamax"]
    assert len(counted) == 3


def test_the_table_is_read_as_fit_reads_it(run, counted):
    """--positive, --weights and --missing have the same effect as in fit."""
    one = ["--optimizers", "lbfgs"]
    grouped = ["--data", str(DATA / "womensrole.csv"), "--positive", "agree", *one]
    weighted, plain = run(*grouped, "--weights", "people", "--links", "logit"), run(*grouped, "--drop", "people")
    ages = ["--data", str(DATA / "titanic.csv"), "--drop", "class", "--drop", "sex", *one]
    found = [run(*ages, "--missing", f"age={way}").rows[-1]["log_loss"] for way in ("mean", "indicator")]

    assert [weighted.status, plain.status, len(counted)] == [0, 0, 5]
    table = read_table(DATA / "womensrole.csv", Reading(positive="agree", weights="people"))
    logit = cross_validated(table.data, Options(), 2)
    newton = metrics(logit, table.y, "logit", 0.5, table.weight).log_loss
    assert weighted.rows[1]["log_loss"] == newton
    assert weighted.rows[0]["log_loss"] == pytest.approx(newton, rel=1e-3)
    assert abs(plain.rows[2]["log_loss"] - newton) > 0.05
    assert found[1] < found[0] - 0.001


@pytest.mark.parametrize("arguments", [["--folds", "11"], ["--picture", "x.txt"]])
def test_what_it_cant_do_is_one_line(run, arguments):
    done = run(*arguments)

    assert (done.status, done.out, done.err.count("\n")) == (2, [], 1)


def test_another_file_is_not_taken_for_results(run):
    path = run("--folds", "11").kept
    path.write_text("hours,passed\n")

    assert "move it away" in run("--optimizers", "adam").err
    assert path.read_text() == "hours,passed\n"
