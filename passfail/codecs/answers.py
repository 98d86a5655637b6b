"""What the answers to rows have in common, as JSON and as CSV."""

from collections.abc import Mapping, Sequence
from typing import cast

import numpy as np

from passfail.arrays import Bools
from passfail.manifest import Manifest

FIELDS = ("label", "probability", "logit", "stable", "model", "version")
OPTIONAL = ("outside", "interval", "explanation", "evidence", "unseen", "error")


def names(manifest: Manifest) -> list[str]:
    """The names of an answer's fields: the verdict is called as the target, unless another field is called so."""
    target = manifest.target.name
    return [f"predicted_{target}" if target in FIELDS + OPTIONAL else target, *FIELDS]


def added(header: Sequence[str], names: Sequence[str]) -> list[str]:
    """The names of the columns that an answer adds to a table; one that the table has is called predicted_..."""
    taken = list(header)
    for name in names:
        while name in taken:
            name = f"predicted_{name}"
        taken.append(name)
    return taken[len(header) :]


def chosen(texts: Mapping[bool | None, bytes], flags: Bools | None, n: int) -> list[bytes]:
    """For each of n flags its text; where the flags are None, that of None."""
    if flags is None:
        return [texts[None]] * n
    return cast(list[bytes], np.array([texts[False], texts[True]], dtype=object).take(flags).tolist())
