"""Train on public tables that a person brings: python -m bench.public_tables FOLDER.

Each file of the folder is fitted by the command that a newcomer would give, in a process of its own. It prints a table
in Markdown: rows, columns, the command's options, processor seconds, and log loss and AUC on held-out rows. The tables
are not shipped: SOURCES says where they come from.
"""

import argparse
import re
import resource
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple


class Source(NamedTuple):
    """A public table: the package that has it, and the options of the command fit."""

    where: str
    options: str = ""


SOURCES = {
    "aids2": Source("R, MASS", "--target status --positive D --drop death"),
    "arrests": Source("R, carData", "--target released"),
    "biopsy": Source("R, MASS", "--positive malignant"),
    "birthwt": Source("R, MASS", "--target low --categorical race --drop bwt"),
    "breast-cancer": Source("scikit-learn", "--l2 auto"),
    "caravan": Source("R, ISLR", "--l2 auto"),
    "contraception": Source("R, mlmRev", "--target use --categorical livch"),
    "credit": Source("R, modeldata", "--target Status --positive bad"),
    "credit-card": Source("R, AER", "--target card"),
    "customer-churn": Source("R, modeldata"),
    "default": Source("R, ISLR", "--target default"),
    "hmda": Source("R, AER", "--target deny"),
    "mroz": Source("R, carData", "--target lfp"),
    "orange-juice": Source("R, ISLR", "--target Purchase --positive MM"),
    "pima": Source("R, MASS"),
    "resume": Source("R, AER", "--target call"),
    "smarket": Source("R, ISLR", "--positive Up --drop Today"),
    "spam7": Source("R, DAAG"),
    "spector": Source("statsmodels"),
    "swiss-labor": Source("R, AER", "--target participation"),
    "telco-churn": Source("R, modeldata", "--target churn"),
    "titanic-survival": Source("R, carData", "--target survived"),
    "wells": Source("R, carData", "--target switch"),
}
HELD_OUT = re.compile(r"^held-out rows: log loss ([\d.]+), .*?AUC ([\d.]+)", re.MULTILINE)
ROWS = re.compile(r": (\d+) rows, \d+ with ")


def main() -> None:
    """Fit each table of a folder and print one line about it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path, help="folder of CSV, Parquet or Excel files")
    files = sorted(path for path in parser.parse_args().folder.iterdir() if path.is_file())
    print(
        "| table | from | rows | columns | options | processor seconds | held-out log loss | AUC |\n|-|-|-|-|-|-|-|-|"
    )
    for path in files:
        print(line(path), flush=True)


def line(path: Path) -> str:
    """The line of Markdown about one table."""
    source = SOURCES.get(path.stem, Source("unknown"))
    with tempfile.TemporaryDirectory() as folder:
        words = [sys.executable, "-m", "train", "fit", "--data", str(path), "--checkpoints", folder]
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run([*words, *shlex.split(source.options)], capture_output=True, text=True, check=False)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    if done.returncode:
        return f"| {path.stem} | {source.where} | refused: {done.stderr.splitlines()[0]} |"
    rows, held_out = ROWS.search(done.stdout), HELD_OUT.search(done.stdout)
    assert rows is not None, done.stdout
    columns = len(re.findall(r"^  .*: (?:numeric|categorical), ", done.stdout, re.MULTILINE))
    loss, area = held_out.groups() if held_out else ("none", "none")
    options = f"`{source.options}`" if source.options else ""
    return f"| {path.stem} | {source.where} | {rows[1]} | {columns} | {options} | {seconds:.1f} | {loss} | {area} |"


if __name__ == "__main__":
    main()
