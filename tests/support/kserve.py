"""python -m tests.support.kserve: the parts of InferenceServices that KServe's types lack.

Reads them on standard input, and prints, as JSON, a list for each: fields that KServe doesn't know, that have another
type, or that are missing. The types are those of its SDK, made from its OpenAPI schema; what they take from Kubernetes
(V1Container) is held against Kubernetes' own schema elsewhere.
"""

import json
import re
import sys
from typing import Any

KINDS = {"str": str, "int": int, "bool": bool, "float": (int, float)}


def problems(value: Any, kind: str, place: str) -> list[str]:
    """The faults of a value that should be of a type of KServe's, by its name there."""
    from kserve import models

    if inner := re.fullmatch(r"list\[(.*)\]", kind):
        if not isinstance(value, list):
            return [f"{place}: no list"]
        return [one for i, item in enumerate(value) for one in problems(item, inner[1], f"{place}[{i}]")]
    if inner := re.fullmatch(r"dict\(str, (.*)\)", kind):
        return [one for name, item in value.items() for one in problems(item, inner[1], f"{place}.{name}")]
    if kind in KINDS:
        return [] if isinstance(value, KINDS[kind]) else [f"{place}: no {kind}"]
    if not hasattr(models, kind):  # Kubernetes' own
        return []
    found = getattr(models, kind)
    names = {json_name: name for name, json_name in found.attribute_map.items()}
    told = [f"{place}.{name}: unknown" for name in value if name not in names]
    for name in value.keys() & names.keys():
        told += problems(value[name], found.openapi_types[names[name]], f"{place}.{name}")
    try:
        found(**{names[name]: value[name] for name in value.keys() & names.keys()})
    except ValueError as error:  # "Invalid value for `name`, must not be `None`"
        told.append(f"{place}: {error}")
    return told


if __name__ == "__main__":
    print(
        json.dumps([problems(one, "V1beta1InferenceService", one["metadata"]["name"]) for one in json.load(sys.stdin)])
    )
