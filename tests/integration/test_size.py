"""Tables of any length: equal results in batches, flat memory, progress and Ctrl-C."""

import os
import signal
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.support import ROOT
from train.__main__ import main
from train.commands import compare
from train.evaluation.cross_validation import held_out, logits
from train.evaluation.metrics import metrics
from train.solvers import fit as fitting
from train.solvers.fit import fit
from train.solvers.options import Options
from train.table import csv_files, out_of_core, share
from train.table.table import read_table


def table_of(n, d=3, seed=0):
    generator = np.random.default_rng(seed)
    x = generator.normal(size=(n, d)) * 10.0 ** np.arange(d) + 1000
    y = (generator.random(n) < 1 / (1 + np.exp(x[:, 0] - 1000))).astype(int)
    names = ",".join(f"x{i}" for i in range(d))
    rows = zip(x.tolist(), y.tolist(), strict=True)
    return f"{names},y\n" + "".join(f"{','.join(map(repr, row))},{outcome}\n" for row, outcome in rows)


@pytest.fixture
def path(tmp_path):
    (tmp_path / "t.csv").write_text(table_of(3000))
    return tmp_path / "t.csv"


def everything(path):
    table = read_table(path)
    result = fit(table.data, Options(), log=lambda line: None)
    figures = metrics(logits(result.model, table.x), table.y, "logit", 0.5, table.weight)
    return table, result, figures, held_out(table.data, Options())


def test_batches_change_nothing(path, monkeypatch):
    table, whole, figures, outside = everything(path)
    for module, name, value in [
        (csv_files, "CHUNK", 1000), (fitting, "BLOCK", 700), (out_of_core, "BLOCK", 700), (out_of_core, "RESIDENT", 1),
    ]:  # fmt: skip
        monkeypatch.setattr(module, name, value)
    pieces, fitted, batched, beside = everything(path)

    assert (pieces.features, pieces.sha256, pieces.rows) == (table.features, table.sha256, 3000)
    np.testing.assert_array_equal(pieces.x, table.x)
    for a, b in zip(whole.model.state_dict().values(), fitted.model.state_dict().values(), strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(beside.logit, outside.logit, rtol=1e-12, atol=1e-12)
    np.testing.assert_array_equal(beside.y, outside.y)
    assert (batched.rows, batched.accuracy, batched.auc) == (figures.rows, figures.accuracy, figures.auc)
    assert batched.log_loss == pytest.approx(figures.log_loss, rel=1e-13)


def test_taken_rows_are_the_rows(monkeypatch):
    """The rows are in memory, or in a temporary file if they are too many."""
    x = np.random.default_rng(0).normal(size=(20_000, 3))
    keep = np.arange(20_000) % 3 > 0
    monkeypatch.setattr(out_of_core, "RESIDENT", 1)

    np.testing.assert_array_equal(out_of_core.selected(x, keep), x[keep])
    np.testing.assert_array_equal(out_of_core.selected(x[:, 0], keep), x[keep, 0])
    assert out_of_core.selected(x, ~(keep | ~keep)).shape == (0, 3)


@pytest.fixture(scope="module")
def long(tmp_path_factory):
    """The files of two tables, of 200,000 rows and, with 96 MB of numbers more, 800,000."""
    generator = np.random.default_rng(0)
    x = generator.normal(size=(20_000, 20))
    y = (generator.random(len(x)) < 1 / (1 + np.exp(-x[:, 0]))).astype(np.int8)
    table = pa.table([*x.T.copy(), y], [*(f"x{index}" for index in range(20)), "y"])
    paths = [tmp_path_factory.mktemp("long") / f"{rows}.parquet" for rows in (200_000, 800_000)]
    for rows, path in zip((200_000, 800_000), paths, strict=True):
        with pq.ParquetWriter(path, table.schema, compression="none") as file:
            for _ in range(0, rows, len(x)):
                file.write_table(table)
    return paths


FIT = """
from train.table.table import read_table
from train.solvers.fit import fit
from train.solvers.options import Options
def work(path):
    table = read_table(path)
    assert fit(table.data, Options(), lambda line: None).converged
"""
WHOLE = """
from contextlib import redirect_stdout
from train.__main__ import main
def work(path):
    with redirect_stdout(None):
        assert main(["fit", "--data", path, "--checkpoints", sys.argv[1]]) == 0
"""


@pytest.mark.parametrize(
    ("code", "most"),
    [
        pytest.param(FIT, 48 << 10, id="read and fit"),
        pytest.param(WHOLE, 120 << 10, id="judge too", marks=pytest.mark.heavy),
    ],
)
def test_memory_stays_flat(long, tmp_path, code, most):
    """Four times the rows take less than 200 bytes a row more memory at the peak.

    The fewer come three times before: all that grows at first (threads, buffers, the allocator's arenas) is there
    by then, and as many blocks have had the chance to wait for one another. How many do depends on what else the
    machine does, so it may try again: what is kept of each row would be there each time.
    """
    code = (
        f"import sys, resource\nfrom train.table import out_of_core\nout_of_core.RESIDENT = 16 << 20\n{code}\n"
        "for path in sys.argv[2:]:\n"
        "    work(path)\n"
        "    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)\n"
    )
    few, many = long
    command = [sys.executable, "-c", code, str(tmp_path), few, few, few, many]
    grown = []
    while len(grown) < 3 and (not grown or grown[-1] >= most):
        run = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
        *_, before, after = map(int, run.stdout.split())
        grown.append(after - before)

    assert grown[-1] < most, f"{grown} kilobytes"


def test_pages_of_a_temporary_array_are_handed_back():
    """Every page is read; what stays mapped in is a fraction of the file."""
    held = out_of_core.TemporaryArray()
    block = np.ones(1 << 20)
    for _ in range(32):
        held.append(block)
    x = held.array(32 << 20)
    before, most = _resident(), 0
    for part in out_of_core.pieces(len(x), 1 << 20, x):
        assert x[part].sum() == 1 << 20
        most = max(most, _resident() - before)
    after = _resident() - before

    assert most >= 200 << 20, "the limit was never reached, so this shows nothing"
    assert after < 32 << 20


def _resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_reading_says_how_far_it_is(path, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(share, "PROGRESS", 0.0)
    monkeypatch.setattr(csv_files, "CHUNK", 50_000)
    assert main(["fit", "--data", str(path), "--checkpoints", str(tmp_path / "c")]) == 0

    lines = capsys.readouterr().out.splitlines()
    counts = [int(line.split()[-3]) for line in lines if line.endswith("rows read")]
    assert counts == sorted(counts)
    assert counts[-1] == 3000
    assert len(counts) > 2
    assert any(line.startswith("step 1:") for line in lines)


def test_ctrl_c_ends_with_one_line_and_leaves_nothing(tmp_path):
    """A fit that would last minutes, interrupted at its first line."""
    command = [sys.executable, "-m", "train", "fit", "--epochs", "100000000", "--checkpoints", str(tmp_path / "c")]
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    run = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "TMPDIR": str(scratch), "PYTHONUNBUFFERED": "1"},
    )  # fmt: skip
    while not run.stdout.readline().startswith("0 "):  # the first epoch's loss
        assert run.poll() is None
    run.send_signal(signal.SIGINT)
    _, err = run.communicate(timeout=120)

    assert (run.returncode, err) == (130, "interrupted: nothing further was written\n")
    assert not (tmp_path / "c").exists()
    assert [path for path in scratch.rglob("*") if path.is_file()] == []


def test_the_processes_that_prove_are_renewed(monkeypatch):
    """The memory that torch's exporters keep is freed with the process."""
    monkeypatch.setattr(compare, "PROOFS", 2)
    with compare.prover() as pool:
        pids = [pool.submit(os.getpid).result() for _ in range(4)]

    assert os.getpid() not in pids
    assert pids[0] == pids[1] != pids[2] == pids[3]
