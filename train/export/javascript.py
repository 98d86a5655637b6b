"""model.js: the model as a module for browsers and Node, without dependencies."""

import json
from pathlib import Path

import msgspec

from passfail.manifest import MISSING, Feature, Manifest
from passfail.spelling import BOOLEANS
from train.model.links import LINKS

FILENAME = "model.js"
_TEMPLATE = Path(__file__).with_name(FILENAME)
_PLACE = '"the export writes it here"'


def to_javascript(manifest: Manifest) -> bytes | None:
    """The bytes of model.js, which an HTML page may include; None with a hidden layer."""
    fitted = manifest.parameters
    if fitted.hidden is not None:
        return None
    model = {
        "name": manifest.name,
        "features": [_feature(feature, manifest.pooled.get(feature.name)) for feature in manifest.features],
        "columns": msgspec.to_builtins(fitted.columns),
        "intercept": fitted.intercept,
        "threshold": manifest.logit_threshold,
        "target": manifest.target.name,
        "labels": manifest.target.labels,
        "link": manifest.link,
        "polynomial": [coefficient.item() for coefficient in LINKS[manifest.link].polynomial],
        "missing": sorted(MISSING.union(manifest.dialect.missing)),
    }
    # json writes a float in its shortest exact form. "<" is escaped, so that no text can end the script of a page.
    text = json.dumps(model, ensure_ascii=False, allow_nan=False).replace("<", "\\u003c")
    return _TEMPLATE.read_text(encoding="utf-8").replace(_PLACE, text).encode()


def _feature(feature: Feature, pooled: str | None) -> dict[str, object]:
    """A feature's record, with three facts that model.js needs.

    pooled : the level for unseen levels.
    """
    return msgspec.structs.asdict(feature) | {
        "boolean": feature.kind == "categorical" and BOOLEANS.issuperset(feature.levels),
        "nullable": feature.nullable,
        "pooled": None if pooled is None else feature.levels.index(pooled),
    }
