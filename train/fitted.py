"""A model that was fitted in Python: the content of a checkpoint, to inspect and to publish."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from passfail.manifest import Manifest
from passfail.measurements import Coefficient, Metrics
from passfail.notebook import card
from train.export.checkpoint import Description, Kept
from train.model.logistic import LogisticModel


class Fitted(NamedTuple):
    """A fitted model, before its proof."""

    description: Description
    model: LogisticModel
    kept: Kept

    @property
    def coefficients(self) -> tuple[Coefficient, ...]:
        """The coefficient table; empty if the fit has none."""
        found = self.description.training.statistics
        return found.coefficients if found else ()

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

    def _repr_html_(self) -> str:
        model = self.description
        return card(model.name, model.target, model.threshold, model.training)
