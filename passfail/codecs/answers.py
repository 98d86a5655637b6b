"""The names and texts that answers in JSON and in CSV share."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, cast

import numpy as np

from passfail.arrays import Bools, Floats
from passfail.manifest import Manifest

FIELDS = ("label", "probability", "logit", "stable", "model", "version")
TYPES = ("boolean", "string", "double", "double", "boolean", "string", "long")  # of `names`, for Spark and MLflow
Outside = list[tuple[str, ...]]  # for each row, the features outside the training range
OPTIONAL = ("outside", "interval", "explanation", "evidence", "unseen", "extra", "error")


class Answers(NamedTuple):
    """The answers to n rows.

    Attributes
    ----------
    verdict, logit, probability : (n,) each.
    stable : bool (n,); None if it is not known.
    outside : for each row, the features outside the training range; None: no row has any.
    """

    verdict: Bools
    logit: Floats
    probability: Floats
    stable: Bools | None
    outside: Outside | None = None


def names(manifest: Manifest) -> list[str]:
    """The names of an answer's fields.

    The verdict has the target's name; if another field has that name, it gets the prefix `predicted_`.
    """
    target = manifest.target.name
    return [f"predicted_{target}" if target in FIELDS + OPTIONAL else target, *FIELDS]


def added(header: Sequence[str], names: Sequence[str]) -> list[str]:
    """The names of the columns that an answer adds to a table.

    A name that the table already has gets the prefix `predicted_`.
    """
    taken = list(header)
    for name in names:
        while name in taken:
            name = f"predicted_{name}"
        taken.append(name)
    return taken[len(header) :]


def chosen(texts: Mapping[bool | None, bytes], flags: Bools | None, n: int) -> list[bytes]:
    """The text of each of n flags; if `flags` is None, n times the text of None."""
    if flags is None:
        return [texts[None]] * n
    return cast(list[bytes], np.array([texts[False], texts[True]], dtype=object).take(flags).tolist())
