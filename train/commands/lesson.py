"""The command lesson: the lecture on the terminal."""

from argparse import Namespace

from train.arguments import LECTURE, LECTURE_DATA
from train.lesson import lesson
from train.table.table import read_table


def run(args: Namespace) -> None:
    """Walk through the lecture, on its own data."""
    lesson(read_table(LECTURE_DATA), LECTURE, args.picture)
