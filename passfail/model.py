"""A model that answers: an export's manifest, and a runtime that has its model file open."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import compress
from math import inf, isfinite
from operator import gt, lt
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from passfail.arrays import Bools, Floats, Row
from passfail.codecs.answers import Answers, Outside
from passfail.columns import Columns
from passfail.errors import NonFiniteLogit
from passfail.explain import Explanation, explain
from passfail.frames import matrix
from passfail.intervals import Intervals
from passfail.manifest import Manifest
from passfail.notebook import card
from passfail.proof.rounding import Stability
from passfail.runtimes import Runtime

if TYPE_CHECKING:
    from passfail.sklearn import Classifier

RowAnswer = tuple[bool, float, float, bool | None, tuple[str, ...]]  # verdict, logit, probability, stable, outside

COMPARED = 2**12  # values compared with the training ranges at a time


class Predictions(NamedTuple):
    """The answers to n rows.

    Attributes
    ----------
    verdict : bool (n,).
    label : n texts.
    probability, logit : float64 (n,).
    stable : bool (n,); None if it is not known.
    outside : n tuples of the features outside the training range.
    interval : float64 (n, 2), the 95 % interval of each probability; None if it was not requested.
    unseen : n lists of the features with an unseen level; None if no feature pools levels.
    """

    verdict: Bools
    label: list[str]
    probability: Floats
    logit: Floats
    stable: Bools | None
    outside: Outside
    interval: Floats | None = None
    unseen: list[list[str]] | None = None


@dataclass(frozen=True)
class Model:
    """An exported model, open on one runtime.

    Attributes
    ----------
    source : the runtime's name and the bytes of its model file, which let another process open the model.
    """

    manifest: Manifest
    runtime: Runtime
    source: tuple[str, bytes] | None = field(default=None, compare=False)

    def __reduce__(self) -> Any:
        """Travel as bytes, which `passfail.loading.received` verifies and certifies."""
        from passfail.loading import received

        return (received, (self.manifest.encode(), *self.source)) if self.source else super().__reduce__()

    def __repr__(self) -> str:
        return f"<Model {self.manifest.name}/{self.manifest.version}>"

    def _repr_html_(self) -> str:
        model = self.manifest
        return card(f"{model.name}/{model.version}", model.target, model.threshold, model.training)

    def predict(self, rows: object, interval: bool = False) -> Predictions:
        """Answer rows with the service's rule for each column, and with the same bits.

        Parameters
        ----------
        rows : a pandas or polars DataFrame, an Arrow table, a dict of columns, a list of dicts, or x float64 (n, d).
        interval : whether to compute the interval of each probability.

        Raises
        ------
        NoInterval : the model has no intervals.
        InvalidInstance : it names the wrong rows and columns.
        NonFiniteLogit : the logit of a row overflows float64.
        """
        x = matrix(self._columns, rows)
        unseen, x = self._columns.unseen(x), self._columns.pooled(x)
        verdict, logit, probability, stable, outside = self.answer(x)
        label = [self.manifest.target.labels[positive] for positive in verdict.tolist()]
        intervals = self.intervals.at(x, logit) if interval else None
        return Predictions(verdict, label, probability, logit, stable, outside or [()] * len(x), intervals, unseen)

    def explain(self, rows: object) -> list[Explanation]:
        """Explain the answer to each row, as POST /explain does; rows and errors as in `predict`."""
        x = self._columns.pooled(matrix(self._columns, rows))
        return explain(self, x, self.score(x)[0])

    def classifier(self) -> "Classifier":
        """The model as a fitted classifier of scikit-learn, which must be installed."""
        from passfail.sklearn import Classifier

        return Classifier(self)

    @cached_property
    def _columns(self) -> Columns:
        return Columns(self.manifest, sys.maxsize)

    def answer(self, x: Floats) -> Answers:
        """Answer rows x (n, d), which are as `score` takes them. Raises NonFiniteLogit."""
        logit, probability = self.score(x)
        return Answers(self.verdict(logit), logit, probability, self.stable(x, logit), self.outside(x))

    def score(self, x: Floats) -> tuple[Floats, Floats]:
        """Compute the logit and the probability of each row.

        Parameters
        ----------
        x : float64 (n, d), C order, columns in the manifest's feature order; the level's index for a category, NaN for
            a missing value.

        Returns
        -------
        (logit, probability), float64 (n,) each; probability in [0, 1].

        Raises
        ------
        NonFiniteLogit : the logit of a row overflows float64.
        """
        logit, probability = self.runtime(x)
        if not np.isfinite(logit).all():
            raise NonFiniteLogit(np.flatnonzero(~np.isfinite(logit)).tolist())
        return logit, probability

    def answerable(self, x: Floats, faults: dict[int, str]) -> tuple[Floats, list[int]]:
        """Leave out the rows of x (m, d) whose logit overflows float64, and add them to `faults`.

        Parameters
        ----------
        faults : {row of the table: its fault}, of the rows that are not in x.

        Returns
        -------
        x without these rows, and the indices of the rows that are left.
        """
        finite = np.isfinite(self.runtime(x)[0])
        places = np.setdiff1d(np.arange(len(x) + len(faults)), list(faults))
        faults.update(dict.fromkeys(places[~finite].tolist(), str(NonFiniteLogit([]))))
        return x[finite], np.flatnonzero(finite).tolist()

    def predict_rows(self, rows: Sequence[Row]) -> tuple[Floats, list[RowAnswer]]:
        """Answer a few rows in plain Python, because NumPy's fixed costs dominate a single row.

        The values are the same bits as those of `answer`. Raises NonFiniteLogit.

        Returns
        -------
        x, float64 (n, d), the runtime's input; and the answer to each row.
        """
        x = np.array(rows, dtype=np.float64)
        logits, probabilities = (answers.tolist() for answers in self.runtime(x))
        if not all(map(isfinite, logits)):
            raise NonFiniteLogit([row for row, logit in enumerate(logits) if not isfinite(logit)])
        n, threshold, values = len(rows), self._threshold, x.ravel().tolist()
        least, most = self._range_lists
        beyond = any(map(lt, values, n * least)) or any(map(gt, values, n * most))
        outside = beyond and self.outside(x)
        verdicts = [logit > threshold for logit in logits]
        stable = self._stability.few(x, values, logits)
        return x, list(zip(verdicts, logits, probabilities, stable, outside or [()] * n, strict=True))

    def verdict(self, logit: Floats) -> Bools:
        """The verdicts (n,) of logits (n,): true if the logit exceeds the threshold's logit.

        The logit decides, because near the threshold the probabilities of different rows round to one float64.
        """
        return logit > self._threshold

    @cached_property
    def _threshold(self) -> float:
        return self.manifest.logit_threshold

    def stable(self, x: Floats, logit: Floats) -> Bools | None:
        """Whether each verdict (n,) on rows x (n, d) is free of rounding's effect; None: unknown."""
        return self._stability.stable(x, logit)

    @cached_property
    def intervals(self) -> Intervals:
        """The intervals of the model's probabilities. Raises NoInterval."""
        return Intervals(self.manifest)

    def outside(self, x: Floats) -> Outside | None:
        """The features of each row of x (n, d) outside the training range; None: no row has any.

        Missing values and levels are never outside.
        """
        least, most = self._repeated_ranges
        parts = [x[at : at + len(least)] for at in range(0, len(x), len(least))]
        beyond = b"".join(((part < least[: len(part)]) | (part > most[: len(part)])).tobytes() for part in parts)
        if 1 not in beyond:  # in a fraction of the time of any()
            return None
        names = [feature.name for feature in self.manifest.features]
        flags: list[bytes] = np.frombuffer(beyond, f"S{len(names)}").tolist()  # NumPy leaves the zeros at the end out
        known = {some: tuple(compress(names, some)) for some in set(flags)}
        return [known[some] for some in flags]

    @cached_property
    def _repeated_ranges(self) -> Floats:
        """The ranges, repeated for n rows, (2, n, d): NumPy broadcasts slowly."""
        return np.repeat(self._ranges[:, None], max(1, COMPARED // len(self.manifest.features)), axis=1)

    @cached_property
    def _range_lists(self) -> list[list[float]]:
        found: list[list[float]] = self._ranges.tolist()
        return found

    @cached_property
    def _ranges(self) -> Floats:
        """The smallest and the largest value of each feature in the training rows, (2, d)."""
        return np.array([f.range if f.kind == "numeric" else (-inf, inf) for f in self.manifest.features]).T

    @cached_property
    def _stability(self) -> Stability:
        return Stability(self.manifest)
