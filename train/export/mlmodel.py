"""The files for MLflow and the Hugging Face hub: MLmodel, input example, front matter."""

import json
from datetime import datetime

from passfail.codecs.answers import TYPES, names
from passfail.columns import WHOLE
from passfail.manifest import Feature, Manifest

MLMODEL, EXAMPLE = "MLmodel", "input_example.json"


def files(manifest: Manifest) -> dict[str, bytes]:
    """The files {name: bytes}: MLmodel, in JSON, which is valid YAML, and the input example."""
    inputs = [{"type": _type(f), "name": f.name, "required": not f.nullable} for f in manifest.features]
    # `stable` may be missing, because it is not known with a hidden layer.
    kinds = zip(names(manifest), TYPES, strict=True)
    outputs = [{"type": kind, "name": name, "required": name != "stable"} for name, kind in kinds]
    python = manifest.training.versions["python"]
    model = {
        "flavors": {"python_function": {"loader_module": "passfail.mlflow", "python_version": python}},
        "saved_input_example_info": {"artifact_path": EXAMPLE, "type": "dataframe", "pandas_orient": "split"},
        "signature": {"inputs": json.dumps(inputs), "outputs": json.dumps(outputs), "params": None},
        "utc_time_created": f"{datetime.fromisoformat(manifest.created):%Y-%m-%d %H:%M:%S.%f}",
    }
    rows = [[_value(f, one.instance[f.name]) for f in manifest.features] for one in manifest.examples]
    return {MLMODEL: _json(model), EXAMPLE: _json({"columns": [f.name for f in manifest.features], "data": rows})}


def front_matter(manifest: Manifest) -> str:
    """The front matter of MODEL_CARD.md for the Hugging Face hub, in JSON, which is valid YAML."""
    held_out = manifest.training.held_out
    card: dict[str, object] = {
        "library_name": "passfail",
        "pipeline_tag": "tabular-classification",
        "tags": ["tabular-classification", "logistic-regression", "onnx"],
    }
    if held_out is not None:
        figures = {"roc_auc": held_out.auc, "accuracy": held_out.accuracy, "brier_score": held_out.brier}
        result = {
            "task": {"type": "tabular-classification", "name": "Tabular classification"},
            "dataset": {"type": "table", "name": f"{manifest.training.data}, held-out rows"},
            "metrics": [{"type": name, "value": value} for name, value in figures.items()],
        }
        card["model-index"] = [{"name": manifest.name, "results": [result]}]
    return f"---\n{_json(card).decode()}---\n"


def _type(feature: Feature) -> str:
    """MLflow's type of a column: "any" for numbers, because MLflow takes no int64 for a double."""
    number = feature.kind == "numeric" or all(WHOLE.fullmatch(level) for level in feature.levels)
    return "any" if number else "string"


def _value(feature: Feature, value: float | str | None) -> float | str | None:
    return float(value) if isinstance(value, str) and _type(feature) == "any" else value


def _json(value: object) -> bytes:
    return (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode()
