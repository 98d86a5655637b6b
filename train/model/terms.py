"""The words for a feature: its columns in the design matrix, and its imputed value."""

from collections.abc import Sequence

from passfail.manifest import Feature
from passfail.spelling import shown

INTERCEPT = "(intercept)"


def term(feature: Feature, level: int | None, missing: bool) -> str:
    """The name of one design column: `age`, `city=Rome`, or `age missing` (the indicator).

    level : the level's index, or None.
    """
    if missing:
        return f"{feature.name} missing"
    return feature.name if level is None else f"{feature.name}={feature.levels[level]}"


def values(feature: Feature, unit: str | None = None) -> str:
    """The range of a numeric feature, with its unit: `220 to 800 kg`; else some levels."""
    if feature.kind == "categorical":
        return feature.some_levels
    return f"{' to '.join(map(shown, feature.range))}{f' {unit}' if unit else ''}"


def imputed(feature: Feature) -> str:
    """The value that replaces a missing one, in words: `29.9, the mean`; "" if none does."""
    if feature.fill is None:
        return ""
    numeric = feature.kind == "numeric"
    value = f"{feature.fill:g}" if numeric else feature.levels[int(feature.fill)]
    usual, indicator = "mean" if numeric else "most-frequent", feature.missing == "indicator"
    way = usual if indicator or feature.missing == "error" else feature.missing
    return f"{value}, the {way.replace('-', ' ')}{', with a missing-value indicator column' if indicator else ''}"


def terms(features: Sequence[Feature], intercept: bool) -> list[str]:
    """The names of all design columns, in LogisticModel's order, after the intercept's, if any."""
    names = [INTERCEPT] if intercept else []
    for feature in features:
        levels = range(1, len(feature.levels)) if feature.kind == "categorical" else [None]
        names += [term(feature, level, False) for level in levels]
        names += [term(feature, None, True)] if feature.missing == "indicator" else []
    return names
