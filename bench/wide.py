"""The command fit on wide and large tables: seconds, MiB, and the longest silence.

python -m bench.wide                     the three tables
python -m bench.wide --only levels       one of them: levels, wide or wider
python -m bench.wide --scale 0.1         with a tenth of the rows

Each table is a CSV file, and the command reads, fits, judges on held-out rows and writes the checkpoint, as for a user.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv

# {name: (rows, columns, levels of one of them)}.
TABLES = {"levels": (500_000, 40, 1_000), "wide": (20_000, 1_000, 0), "wider": (20_000, 2_000, 0)}


def main():
    """Fit to each table, and print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=TABLES, default=list(TABLES))
    parser.add_argument("--scale", type=float, default=1.0, help="multiplies the numbers of rows")
    parser.add_argument("--options", nargs="+", default=[], help="further options of the command fit, without --")
    args = parser.parse_args()
    print("| rows | columns | levels | wall s | cpu s | MiB | longest silence, s |\n|-|-|-|-|-|-|-|")
    for name in args.only:
        rows, columns, levels = TABLES[name]
        rows = int(rows * args.scale)
        with tempfile.TemporaryDirectory() as folder:
            path = generate(Path(folder) / "t.csv", rows, columns, levels)
            options = ["--categorical", "level"] if levels else []
            command = [sys.executable, "-u", "-m", "train", "fit", "--data", str(path), "--checkpoints", folder]
            wall, cpu, mib, silence = measured([*command, *options, *(f"--{option}" for option in args.options)])
        print(
            f"| {rows:,} | {columns:,} | {levels:,} | {wall:.0f} | {cpu:.0f} | {mib:.0f} | {silence:.0f} |", flush=True
        )


def generate(path, rows, columns, levels):
    """Write a table whose outcome follows a logistic model, with a column of levels."""
    generator = np.random.default_rng(0)
    numbers = columns - bool(levels)
    x = generator.normal(size=(rows, numbers))
    score = x @ generator.normal(size=numbers) / numbers**0.5
    table = {f"x{index}": column for index, column in enumerate(x.T)}
    if levels:
        level = generator.integers(levels, size=rows)
        score += generator.normal(size=levels)[level]
        table["level"] = np.char.add("town ", level.astype(str))
    table["y"] = (score + generator.logistic(size=rows) > 0).astype(np.int8)
    pa.csv.write_csv(pa.table(table), path)
    return path


def measured(command):
    """Wall and processor seconds, peak MiB, and the longest time between two lines of output."""
    began = heard = time.perf_counter()
    silence = 0.0
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        for line in process.stdout:
            silence, heard = max(silence, time.perf_counter() - heard), time.perf_counter()
            last = line
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, last
    return time.perf_counter() - began, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024, silence


if __name__ == "__main__":
    main()
