"""A client that openapi-python-client generates compiles, and predicts in every protocol."""

import json
import re
import subprocess
from pathlib import Path

import pytest

from tests.support.clients import OTHERS
from tests.support.service import service

GENERATOR = OTHERS.with_name("openapi-python-client")
ASKING = """
import sys
from client import Client, models
from client.api.m_lflow_and_sage_maker import post_invocations
from client.api.open_inference_protocol import post_v2_models_name_infer
from client.api.passfail import get_health_ready, post_explain, post_predict
from client.api.vertex_ai import post_vertex

client, values = Client(base_url=sys.argv[1], raise_on_unexpected_status=True), {"gre": 700.0, "gpa": 3.5, "rank": "1"}
row, instances = models.Row.from_dict(values), {"instances": [values]}
x = {"inputs": [{"name": "x", "shape": [1, 3], "datatype": "FP64", "data": [700, 3.5, 0]}]}
one, (again, _) = post_predict.sync(client=client, body=row), post_predict.sync(client=client, body=[row, row])
why = post_explain.sync(client=client, body=row)
(invoked,) = post_invocations.sync(client=client, body=models.Invocation.from_dict(instances)).predictions
(vertex,) = post_vertex.sync(client=client, body=models.Prediction.from_dict(instances)).predictions
outputs = post_v2_models_name_infer.sync("admissions", client=client, body=models.Inference.from_dict(x)).outputs
assert one == again == invoked == vertex
assert (why.logit, why.label) == (one.logit, one.label)
assert {output.name: output.data for output in outputs}["logit"] == [one.logit]
assert get_health_ready.sync(client=client).ready
beyond = models.Row.from_dict({"gre": 1e308, "gpa": 1e308, "rank": "1"})
assert post_predict.sync(client=client, body=beyond).errors[0].pointer == "$"
print(one.label.value)
"""


def run(*command: object, cwd: Path) -> str:
    done = subprocess.run(command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_a_generated_client_predicts_in_every_protocol(models: Path, tmp_path: Path) -> None:
    if not GENERATOR.exists():
        pytest.skip(f"no {GENERATOR} (make test makes it): generated clients are NOT tested")
    (tmp_path / "config.json").write_text(json.dumps({"post_hooks": []}))  # they only format
    with service(models, MODEL_NAME="admissions", WEB_CONCURRENCY="1", AIP_PREDICT_ROUTE="/vertex") as (address, _):
        about = ["--url", f"{address}/openapi.json", "--config", "config.json", "--meta", "none"]
        said = run(GENERATOR, "generate", *about, "--output-path", "client", cwd=tmp_path)
        assert "Unable to process schema" not in said
        unsupported = {f"Unsupported content type {kind}" for kind in ("text/csv", "application/jsonlines")}
        assert set(re.findall(r"WARNING parsing .*\n\n(.*)\n", said)) == unsupported
        assert run(OTHERS, "-c", ASKING, address, cwd=tmp_path) == "yes\n"
