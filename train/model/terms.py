"""The words for a feature: its columns in the design matrix, and its imputed value."""

from collections.abc import Sequence

from passfail.manifest import Feature
from passfail.spelling import shown

INTERCEPT = "(intercept)"


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
    """The names of the design columns, in LogisticModel's order, after the intercept's, if any.

    They are `age`, `city=Rome` and, for a missing-value indicator, `age missing`.
    """
    names = [INTERCEPT] if intercept else []
    for feature in features:
        levels = [f"{feature.name}={level}" for level in feature.levels[1:]]
        names += levels if feature.kind == "categorical" else [feature.name]
        names += [f"{feature.name} missing"] if feature.missing == "indicator" else []
    return names
