"""The names of the design matrix's columns, as the coefficient table and the report print them."""

from collections.abc import Sequence

from passfail.manifest import Feature

INTERCEPT = "(intercept)"


def term(feature: Feature, level: int | None, missing: bool) -> str:
    """The name of one design column: `age`, `city=Rome` (level: its index), or `age missing` (the indicator)."""
    if missing:
        return f"{feature.name} missing"
    return feature.name if level is None else f"{feature.name}={feature.levels[level]}"


def terms(features: Sequence[Feature], intercept: bool) -> list[str]:
    """The names of all design columns in train.model.logistic's order, after the intercept's if there is one."""
    names = [INTERCEPT] if intercept else []
    for feature in features:
        levels = range(1, len(feature.levels)) if feature.kind == "categorical" else [None]
        names += [term(feature, level, False) for level in levels]
        names += [term(feature, None, True)] if feature.missing == "indicator" else []
    return names
