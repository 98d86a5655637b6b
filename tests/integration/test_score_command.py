"""`passfail score` as a process: killed, in a pipe, and on a file larger than its memory."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import DATA, ROOT
from tests.support.wait import until

TRAINING = (DATA / "admissions.csv").read_bytes()
HEADER, _, ROWS = TRAINING.partition(b"\n")


def command(models: Path, *arguments: object) -> list[str]:
    chosen = ["--models", models, "--model", "admissions"]
    return [sys.executable, "-m", "passfail", "score", *map(str, [*arguments, *chosen])]


def test_a_killed_folder_leaves_nothing_half_written_and_goes_on(models: Path, tmp_path: Path) -> None:
    parts, out = tmp_path / "parts", tmp_path / "out"
    parts.mkdir()
    names = [f"{number:02}.csv" for number in range(30)]
    for name in names:
        (parts / name).write_bytes(HEADER + b"\n" + ROWS * 100)
    process = subprocess.Popen(command(models, parts, "-o", out), cwd=ROOT, stderr=subprocess.DEVNULL)
    until(lambda: (out / "00.csv.receipt.json").exists())
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL

    whole = {path.name: path.stat().st_mtime_ns for path in out.glob("[0-9]*.csv")}
    assert "00.csv" in whole
    assert "29.csv" not in whole
    again = subprocess.run(command(models, parts, "-o", out), cwd=ROOT, capture_output=True, text=True)

    assert again.returncode == 0, again.stderr
    assert again.stderr.startswith(f"{30 * 40_000} rows, {30 * 40_000} answered")
    assert (out / "00.csv").stat().st_mtime_ns == whole["00.csv"]
    expected = (out / "00.csv").read_bytes()
    assert expected.count(b"\n") == 40_001
    assert all((out / name).read_bytes() == expected for name in names)


def test_a_terminal_shows_the_progress_and_then_the_summary_alone(models: Path, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_bytes(TRAINING)
    screen, terminal = os.openpty()
    arguments = command(models, tmp_path / "in.csv", "-o", tmp_path / "out.csv")
    with open(screen, "rb", buffering=0) as shown:
        subprocess.run(arguments, cwd=ROOT, check=True, stderr=terminal)
        text = shown.read(4096).decode()
        os.close(terminal)

    assert re.match(r"\r400 rows, [\d,]+ rows/s \r\x1b\[K400 rows, 400 answered, 0 refused\r\n", text)


def test_a_pipe_answers_with_the_bytes_of_a_file(models: Path, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_bytes(TRAINING)
    subprocess.run(command(models, tmp_path / "in.csv", "-o", tmp_path / "out.csv"), cwd=ROOT, check=True,
                   stderr=subprocess.DEVNULL)  # fmt: skip
    piped = subprocess.run(command(models, "-", "-o", "-"), cwd=ROOT, input=TRAINING, capture_output=True)

    assert piped.returncode == 0, piped.stderr
    assert piped.stdout == (tmp_path / "out.csv").read_bytes()


def test_a_pipe_whose_reader_has_enough_ends_in_silence(models: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    ended = subprocess.run(command(models, "-", "-o", "-"), cwd=ROOT, input=TRAINING, stdout=writer,
                           stderr=subprocess.PIPE)  # fmt: skip
    os.close(writer)

    assert (ended.returncode, ended.stderr) == (-signal.SIGPIPE, b"")


@pytest.mark.parametrize("out", ["out.csv", "out.parquet"])
def test_memory_stays_flat(models: Path, tmp_path: Path, out: str) -> None:
    """Four times as many rows take at most a fifth more memory, once every core has its blocks."""
    peaks = []
    for times in (1_000, 4_000):
        (tmp_path / "in.csv").write_bytes(HEADER + b"\n" + ROWS * times)
        process = subprocess.Popen(command(models, tmp_path / "in.csv", "-o", tmp_path / out), cwd=ROOT,
                                   stderr=subprocess.DEVNULL)  # fmt: skip
        _, status, used = os.wait4(process.pid, 0)
        assert status == 0
        process.returncode = 0
        peaks.append(used.ru_maxrss)

    assert peaks[1] < peaks[0] * 1.2


@pytest.mark.parametrize("out", ["out.csv", "out.parquet"])
def test_pandas_is_not_imported_where_it_is_installed(models: Path, tmp_path: Path, out: str) -> None:
    """The test set has pandas: statsmodels needs it."""
    (tmp_path / "in.csv").write_bytes(TRAINING)
    code = "import sys; from passfail.__main__ import main; main(sys.argv[1:]); print('pandas' in sys.modules)"
    program = [sys.executable, "-c", code, *command(models, tmp_path / "in.csv", "-o", tmp_path / out)[3:]]
    done = subprocess.run(program, capture_output=True, text=True, cwd=ROOT)

    assert done.stdout == "False\n", done.stderr
