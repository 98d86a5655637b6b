"""python -m tests.support.grafana: the parts of a dashboard that Grafana's types lack.

Reads the dashboard on standard input, and prints a list in JSON. The types are those of Grafana's SDK, made from its
schemas: the dashboard is decoded, and encoded again. A field that is lost on the way is unknown; a value of another
type than the SDK declares is wrong.
"""

import enum
import json
import sys
import types
import typing
from typing import Any


def lost(given: Any, found: Any, place: str) -> list[str]:
    """The fields that the encoded form has lost."""
    if isinstance(given, dict):
        if not isinstance(found, dict):
            return [f"{place}: not the same"]
        told = [f"{place}.{name}: unknown" for name in given if name not in found]
        return told + [
            line for name in given if name in found for line in lost(given[name], found[name], f"{place}.{name}")
        ]
    if isinstance(given, list) and isinstance(found, list) and len(given) == len(found):
        return [line for i, pair in enumerate(zip(given, found, strict=True)) for line in lost(*pair, f"{place}[{i}]")]
    return [] if given == found else [f"{place}: not the same"]


def mistyped(value: Any, hint: Any, place: str) -> list[str]:
    """The parts of a decoded value that are not of their declared type."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any or hint is object:
        return mistyped(value, type(value), place) if hasattr(value, "to_json") else []
    if origin in (typing.Union, types.UnionType):
        found = [mistyped(value, one, place) for one in inner]
        return [] if [] in found else min(found, key=len)
    if origin is typing.Literal:
        return [] if value in inner else [f"{place}: none of {inner}"]
    if origin is list and isinstance(value, list):
        return [one for i, item in enumerate(value) for one in mistyped(item, inner[0], f"{place}[{i}]")]
    if origin is dict and isinstance(value, dict):
        return [one for name, item in value.items() for one in mistyped(item, inner[1], f"{place}.{name}")]
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return [] if value in [one.value for one in hint] else [f"{place}: no {hint.__name__}"]
    expected = (int, float) if hint is float else origin or hint
    if not isinstance(value, expected) or (isinstance(value, bool) and hint in (int, float)):
        return [f"{place}: no {getattr(hint, '__name__', hint)}"]
    if hasattr(value, "to_json"):
        own = sys.modules[type(value).__module__]
        hints = typing.get_type_hints(type(value), vars(own))
        return [line for name, one in hints.items() for line in mistyped(getattr(value, name), one, f"{place}.{name}")]
    return []


def problems(dashboard: Any) -> list[str]:
    from grafana_foundation_sdk.cog.encoder import JSONEncoder
    from grafana_foundation_sdk.cog.plugins import register_default_plugins
    from grafana_foundation_sdk.models.dashboard import Dashboard

    register_default_plugins()
    found = Dashboard.from_json(dashboard)
    return lost(dashboard, json.loads(json.dumps(found, cls=JSONEncoder)), "$") + mistyped(found, Dashboard, "$")


if __name__ == "__main__":
    print(json.dumps(problems(json.load(sys.stdin))))
