"""A model that was fitted in Python: the content of a checkpoint, to inspect and to publish."""

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import msgspec
import torch

from passfail.arrays import Floats
from passfail.columns import Columns
from passfail.frames import matrix
from passfail.intervals import Intervals
from passfail.manifest import Manifest
from passfail.measurements import Coefficient, Metrics
from passfail.notebook import card
from train.errors import FitError
from train.evaluation.profile import bounds
from train.export.checkpoint import Description, Kept
from train.model.links import LINKS
from train.model.logistic import LogisticModel
from train.solvers.fit import Blocks
from train.solvers.objective import Objective
from train.solvers.options import Options


class Fitted(NamedTuple):
    """A fitted model, before its proof."""

    description: Description
    model: LogisticModel
    kept: Kept

    @property
    def coefficients(self) -> tuple[Coefficient, ...]:
        """The coefficient table; empty if the fit has none."""
        return found.coefficients if (found := self.description.training.statistics) else ()

    @property
    def metrics(self) -> Metrics:
        """The metrics on held-out rows; on all rows if too few could be held out."""
        return self.description.training.held_out or self.description.training.metrics

    def export(self, models: str | Path = "models", sign: Callable[[bytes], bytes] | None = None) -> Manifest:
        """Prove the model and publish it as a new version in a folder of models.

        sign : the function that signs the manifest's bytes, or None. Raises ExportError.
        """
        from train.export.publish import export  # imports the exporters, which take seconds

        return export(self.description, self.model, self.kept, Path(models), sign)

    def intervals(self, rows: object) -> Floats:
        """The 95 % profile likelihood intervals (k, 2) of the probabilities of k rows.

        The interval of a row's logit is that of the contrast row @ beta (train/evaluation/profile.py).

        Parameters
        ----------
        rows : as for the `predict` of a loaded model.

        Raises
        ------
        NoInterval, FitError : the fit has no such intervals; the message gives the reason.
        InvalidInstance : it names the wrong rows and columns.
        """
        from train.export.publish import draft

        manifest = draft(self.description, self.model)
        options = msgspec.convert(self.description.training.options, Options)
        replace(options, intervals="profile").check()
        Intervals(manifest)  # or it raises NoInterval
        if len(self.kept.y) < self.description.training.rows:
            few = f"the checkpoint keeps {len(self.kept.y)} rows, and a profile interval needs all of them"
            raise FitError(f"{few}; with so many rows, predict(rows, interval=True) of an export gives nearly the same")
        columns = Columns(manifest, sys.maxsize)
        contrasts = self.model.matrix(torch.from_numpy(columns.pooled(matrix(columns, rows)))).dense()
        table = Blocks(self.model, self.kept.x, self.kept.y, self.kept.weight, (1.0, 1.0))
        objective = Objective(self.model, table.matrices, options)
        best = objective.at(self.model.beta)
        ends = [bounds(objective, best, contrast) for contrast in contrasts]
        return LINKS[manifest.link].probability(torch.tensor(ends, dtype=torch.float64)).numpy()

    def _repr_html_(self) -> str:
        model = self.description
        return card(model.name, model.target, model.threshold, model.training)
