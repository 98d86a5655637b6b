"""A model that was fitted in Python: the content of a checkpoint, to inspect and to publish."""

from collections.abc import Callable
from html import escape
from pathlib import Path
from typing import NamedTuple

from passfail.manifest import Manifest
from passfail.measurements import Coefficient, Metrics
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
        """A card for notebooks."""
        described, training, found = self.description, self.description.training, self.metrics
        where = "held-out rows" if training.held_out else "all rows"
        rows = [(c.term, *map(_number, (c.estimate, c.lower, c.upper, c.p))) for c in self.coefficients]
        cells = "".join(f"<tr><td>{'</td><td>'.join(map(escape, row))}</td></tr>" for row in rows)
        head = "<tr><th>term</th><th>estimate</th><th>lower</th><th>upper</th><th>p</th></tr>"
        return (
            f"<h4>{escape(described.name)}: {escape(described.target.name)} = {escape(described.target.values[1])}</h4>"
            f"<p>{training.rows} rows, {training.positives} positive. On {where}: log loss {found.log_loss:.4f}, "
            f"AUC {found.auc:.4f}, accuracy {found.accuracy:.4f} at the threshold {described.threshold:.6g}.</p>"
            + (f"<table>{head}{cells}</table>" if rows else "")
            + "".join(f"<p>Warning: {escape(warning)}</p>" for warning in training.warnings)
        )


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"
