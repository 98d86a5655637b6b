"""A card for notebooks: what a model predicts, its metrics and its coefficients."""

from html import escape

from passfail.manifest import Target
from passfail.measurements import Training


def card(title: str, target: Target, threshold: float, training: Training) -> str:
    """The card as HTML, in which every text of the table is escaped."""
    found, where = training.held_out or training.metrics, "held-out rows" if training.held_out else "all rows"
    terms = training.statistics.coefficients if training.statistics else ()
    figures = [(c.term, [c.estimate, c.lower, c.upper, c.p]) for c in terms]
    rows = [(term, *("" if value is None else f"{value:.4g}" for value in values)) for term, values in figures]
    cells = "".join(f"<tr><td>{'</td><td>'.join(map(escape, row))}</td></tr>" for row in rows)
    head = "<tr><th>term</th><th>estimate</th><th>lower</th><th>upper</th><th>p</th></tr>"
    return (
        f"<h4>{escape(title)}: {escape(target.name)} = {escape(target.values[1])}</h4>"
        f"<p>{training.rows} rows, {training.positives} positive. On {where}: log loss {found.log_loss:.4f}, "
        f"AUC {found.auc:.4f}, accuracy {found.accuracy:.4f} at the threshold {threshold:.6g}.</p>"
        + (f"<table>{head}{cells}</table>" if rows else "")
        + "".join(f"<p>Warning: {escape(warning)}</p>" for warning in training.warnings)
    )
