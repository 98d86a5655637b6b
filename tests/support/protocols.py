"""The rows that every protocol must answer alike, and their form in each protocol."""

GOOD = [
    {"gre": 380, "gpa": 3.61, "rank": "3"},
    {"gre": 660.5, "gpa": 3.67, "rank": "3"},
    {"gre": 800, "gpa": 4, "rank": "1"},
    {"gre": -1e300, "gpa": 1e-320, "rank": "4"},
    {"gre": 5, "gpa": -0.0, "rank": "2"},
]
LEVELS = ["1", "2", "3", "4"]


def tensors(rows):
    """One tensor a feature, as JSON."""
    return [
        {"name": name, "shape": [len(rows)], "datatype": "BYTES" if name == "rank" else "FP64",
         "data": [row[name] for row in rows]}
        for name in ("gre", "gpa", "rank")
    ]  # fmt: skip


def table(rows):
    cell = {None: "", True: "true"}
    lines = [",".join(str(cell.get(v, v)) if not isinstance(v, float) else repr(v) for v in r.values()) for r in rows]
    return "\n".join(["gre,gpa,rank", *lines]).encode()


def of(outputs, name):
    return next(output["data"] for output in outputs if output["name"] == name)


def v2(response):
    outputs = response.json["outputs"]
    return list(zip(of(outputs, "logit"), of(outputs, "probability"), of(outputs, "label"), strict=True))


def predictions(response):
    rows = response.json["predictions"] if isinstance(response.json, dict) else response.json
    return [(row["logit"], row["probability"], row["label"]) for row in rows]
