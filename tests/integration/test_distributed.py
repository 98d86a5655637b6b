"""torchrun: two processes, each with its share of the parts, find the fit of one."""

import os
import re
import signal
import subprocess
import sys

import msgspec
import numpy as np
import pytest
from safetensors.numpy import load_file

from tests.support import ROOT
from tests.support.processes import children
from train.__main__ import main
from train.export import checkpoint

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--nnodes", "1", "--rdzv-backend", "c10d"]
TORCHRUN += ["--rdzv-endpoint", "localhost:0", "-m", "train"]


@pytest.fixture
def folder(tmp_path):
    """Three parts: the second alone has Ulm, a missing size and a note, the last a text code."""
    generator = np.random.default_rng(0)
    (tmp_path / "parts").mkdir()
    for index in range(3):
        rows = ["size,city,code,school,y"]
        for place in range(60):
            size, city, code = generator.normal(), generator.choice(["Rome", "Bonn"]), generator.choice(["1", "2"])
            rows.append(f"{size},{city},{code},{place % 7},{int(generator.random() < 1 / (1 + np.exp(-size)))}")
        rows += [[], [",Ulm,1,7,1", "0,Ulm,2,8,0"] * 5 + ["a remark"], ["1,Rome,x,9,1", "2,Rome,x,10,0"] * 100][index]
        (tmp_path / "parts" / f"{index}.csv").write_text("\n".join(rows) + "\n")
    return tmp_path / "parts"


def start(processes, *arguments, **settings):
    command = [*TORCHRUN[:3], "--nproc-per-node", str(processes), *TORCHRUN[3:], *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    return subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, **settings
    )


def test_two_processes_find_the_same_model_as_one(folder, tmp_path, capsys):
    """The same estimates, errors with the schools as clusters, and figures of held-out rows.

    One process exports it, which fits to the kept rows again.
    """
    table = "--data", str(folder), "--cluster", "school"
    run = start(2, "publish", *table, "--checkpoints", tmp_path / "two", "--models", tmp_path / "models")
    out, err = run.communicate(timeout=120)
    assert run.returncode == 0, err
    assert main(["fit", *table, "--checkpoints", str(tmp_path / "one")]) == 0

    one, two = (load_file(tmp_path / name / "parts.safetensors") for name in ("one", "two"))
    assert one.keys() == two.keys()
    for name, values in one.items():
        if name.startswith("kept."):  # of the table, the same in another order
            continue
        np.testing.assert_allclose(two[name], values, rtol=1e-10, atol=1e-10, err_msg=name)
    alone = capsys.readouterr().out.splitlines()
    table = next(index for index, line in enumerate(alone) if "std. error" in line)
    assert "\n".join(alone[table:-1]) in out
    assert any("the 11 groups of school as clusters" in line for line in alone[table:])
    assert any(line.startswith("held-out rows: ") for line in alone[table:])
    training, same = (checkpoint.load(tmp_path / name, "parts")[0].training for name in ("one", "two"))
    for figure, value in msgspec.structs.asdict(training.held_out).items():
        assert getattr(same.held_out, figure) == pytest.approx(value, rel=1e-10), figure
    assert re.findall("^wrote (.*)", out, re.MULTILINE) == [
        str(tmp_path / "two" / "parts.safetensors"), str(tmp_path / "models" / "parts" / "1")
    ]  # fmt: skip
    assert "390 rows" in out
    assert "1.csv: lines of notes left out: 1" in out  # of the part that the other process reads
    assert "categorical, 3 levels: Bonn, Rome, Ulm" in out
    assert "categorical, 3 levels: 1, 2, x" in out


@pytest.mark.heavy
def test_a_lost_process_is_said_and_nothing_is_written(folder, tmp_path):
    """One process is killed outright in the middle of a fit that never ends by itself."""
    slow = tmp_path / "slow.py"
    slow.write_text(
        "import sys, time, train.solvers.objective as newton\n"
        "from train.__main__ import main\n"
        "step = newton.total\n"
        "newton.total = lambda *a: (time.sleep(0.2), step(*a))[1]\n"
        "sys.exit(main())\n"
    )
    command = [*TORCHRUN[:3], "--nproc-per-node", "2", *TORCHRUN[3:-2], str(slow), "fit"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1", "PYTHONPATH": str(ROOT)}
    run = subprocess.Popen(
        [*command, "--data", str(folder), "--checkpoints", str(tmp_path / "c"), "--l2", "1e-9"],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
    )  # fmt: skip
    while not run.stdout.readline().startswith("step 1:"):
        assert run.poll() is None
    victim = next(pid for pid, rank in _ranks(run.pid).items() if rank == "1")
    os.kill(victim, signal.SIGKILL)
    _, err = run.communicate(timeout=120)

    assert run.returncode != 0
    assert (
        "error: process 0 of 2 lost contact with another process, so nothing was written" in err
        or "Signal 9 (SIGKILL)" in err
    )
    assert not (tmp_path / "c").exists()


def _ranks(parent):
    """{process: its RANK} of torchrun's own processes."""
    found = {}
    for pid in children(parent):
        with open(f"/proc/{pid}/environ") as environment:
            if rank := re.search(r"(?:^|\0)RANK=(\d+)", environment.read()):
                found[pid] = rank[1]
    return found
