"""A table of forty features, one of sixty levels, with names of up to sixty characters."""

import random
from pathlib import Path

LONG = "share_of_the_invoices_of_the_last_twelve_months_paid_too_late"[:60]
NAMES = [f"measure_{number}" for number in range(1, 39)] + [LONG, "town"]
RIVER = "upon the long river that has the longest name of all rivers"
LEVELS = [f"Town {number} {RIVER}"[: 20 + number % 41].strip() for number in range(1, 61)]


def write_wide(path: Path, rows: int = 1500) -> Path:
    """Write the table; its target is `late`, yes or no."""
    draw = random.Random(1)
    lines = [",".join([*NAMES, "late"])]
    for _ in range(rows):
        x = [round(draw.gauss(number, 1 + number % 3), 2) for number in range(39)]
        town = draw.randrange(60)
        score = sum((value - number) * (number % 7 - 3) / 10 for number, value in enumerate(x)) + town / 30 - 1
        lines.append(",".join([*map(str, x), LEVELS[town], "yes" if score > draw.gauss(0, 1.5) else "no"]))
    path.write_text("\n".join(lines) + "\n")
    return path
