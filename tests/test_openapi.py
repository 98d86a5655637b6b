"""The documentation is the model's: its columns, its examples run, and nothing is served that it doesn't name."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from serve.app import create_app
from serve.config import Config
from tests.conftest import DATA
from tests.service import service

PEOPLE = {"/", "/docs", "/report", "/page/{name}"}  # pages, not an API


@pytest.fixture
def served(models):
    return create_app(Config(models=models, model_name="admissions"))


def test_it_names_every_route_and_the_readme_every_path(served):
    document = served.test_client().get("/openapi.json").json
    routes = {
        (method.lower(), re.sub(r"<(\w+)>", r"{\1}", rule.rule))
        for rule in served.url_map.iter_rules()
        for method in rule.methods - {"HEAD", "OPTIONS"}
    }
    documented = {(method, path) for path, methods in document["paths"].items() for method in methods}
    readme = (DATA.parent / "README.md").read_text()

    assert {(method, path) for method, path in routes if path not in PEOPLE} == documented
    for _, path in routes - {("get", "/page/{name}")}:
        first = "/" + path.split("/")[1] if not path.startswith("/v2") else "/v2"
        assert first in readme, path


def test_its_columns_are_the_models(served):
    row = served.test_client().get("/openapi.json").json["components"]["schemas"]["Row"]

    assert row["required"] == ["gpa", "gre", "rank"] or sorted(row["required"]) == [
        "gpa",
        "gre",
        "rank",
    ]
    assert row["properties"]["rank"] == {"enum": ["1", "2", "3", "4"]}
    assert row["properties"]["gre"]["examples"] == [220.0, 800.0]


def test_its_examples_run(served):
    client = served.test_client()
    ran = 0
    for path, methods in client.get("/openapi.json").json["paths"].items():
        for kind, body in methods.get("post", {}).get("requestBody", {}).get("content", {}).items():
            examples = [one["value"] for one in body["examples"].values()] if "examples" in body else [body["example"]]
            for example in examples:
                data = example if isinstance(example, str) else json.dumps(example)
                response = client.post(path.format(name="admissions", version="1"), data=data, content_type=kind)
                assert response.status_code == 200, (path, response.text)
                ran += 1
    assert ran == 9


def test_docs_show_every_path_and_load_nothing_from_elsewhere(served):
    client = served.test_client()
    page = client.get("/docs")

    assert all(path in page.text for path in client.get("/openapi.json").json["paths"])
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    assert not re.findall(r"(?:src|href)=\"(?:https?:)?//", page.text)


def test_schemathesis_finds_nothing(models):
    """Against a live service, with all checks, from the description alone; schemathesis.toml has what it can't say."""
    command = Path(sys.executable).with_name("schemathesis")
    if not command.exists() and not shutil.which("schemathesis"):
        pytest.skip("schemathesis is not installed: the description is NOT tested against the service")
    with service(models, MODEL_NAME="admissions", WEB_CONCURRENCY="1") as (address, _):
        settings = ["--config-file", Path(__file__).with_name("schemathesis.toml")]
        chosen = ["--checks", "all", "--max-examples", "20", "--seed", "1", "--generation-database", "none"]
        command = [command, *settings, "run", f"{address}/openapi.json", *chosen]
        done = subprocess.run(command, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stdout[-6000:]
