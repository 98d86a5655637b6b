"""The names of the design matrix's columns, for the coefficient table and the report."""

from collections.abc import Sequence

from passfail.manifest import Feature

INTERCEPT = "(intercept)"


def term(feature: Feature, level: int | None, missing: bool) -> str:
    """The name of one design column: `age`, `city=Rome`, or `age missing` (the indicator).

    level : the level's index, or None.
    """
    if missing:
        return f"{feature.name} missing"
    return feature.name if level is None else f"{feature.name}={feature.levels[level]}"


def terms(features: Sequence[Feature], intercept: bool) -> list[str]:
    """The names of all design columns, in LogisticModel's order, after the intercept's, if any."""
    names = [INTERCEPT] if intercept else []
    for feature in features:
        levels = range(1, len(feature.levels)) if feature.kind == "categorical" else [None]
        names += [term(feature, level, False) for level in levels]
        names += [term(feature, None, True)] if feature.missing == "indicator" else []
    return names
