"""The models of the benches: one with four numeric columns, and those of other tables."""

import random
import subprocess
from pathlib import Path

ROOT = Path(__file__).parent.parent
COLUMNS = ("a", "b", "c", "d")
# The training rows are standard normal: all values lie in their range, as nearly all traffic does.
ROW = {"a": 0.5, "b": -1.25, "c": 2.0, "d": 0.1234567890123}
ROWS = [ROW | {"a": (i - 500) / 300} for i in range(1000)]


def make_model(python, folder, root=ROOT):
    """Train and export the model `bench` from 400 rows; return the repository.

    python : the interpreter for which train/ is installed.
    root : the checkout with that train/.
    """
    Path(folder).mkdir(exist_ok=True)
    draw = random.Random(6)
    rows = [[draw.gauss(0, 1) for _ in COLUMNS] for _ in range(400)]
    lines = [",".join(map(repr, [*row, int(sum(row) + draw.gauss(0, 1) > 0)])) for row in rows]
    Path(folder, "bench.csv").write_text("\n".join([",".join([*COLUMNS, "passed"]), *lines]))
    return publish(python, folder, f"{folder}/bench.csv", root=root)


def publish(python, folder, data, *options, root=ROOT):
    """Train a table's model with the options of fit, and export it; return the repository."""
    checkpoints = ["--data", data, "--checkpoints", f"{folder}/checkpoints"]
    for command in (["fit", *options], ["export", "--models", f"{folder}/models"]):
        subprocess.run([python, "-m", "train", *command, *checkpoints], cwd=root, check=True, stdout=subprocess.DEVNULL)
    return f"{folder}/models"
