"""The documentation page: every operation, with requests that run."""

import json
import re
import shlex
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from serve.server.flask_app import create_app
from serve.settings import Config
from serve.web.docs import LINES, Operation, asking, operations

ADDRESS = "http://localhost"


@pytest.fixture(scope="module")
def client(models: Path) -> FlaskClient:
    return create_app(Config(models=models, model_name="admissions", vertex_predict="/vertex")).test_client()


@pytest.fixture(scope="module")
def found(client: FlaskClient) -> list[Operation]:
    app = client.application
    groups = operations(client.get("/openapi.json").json, ADDRESS, asking(app.service, app.routes))
    assert list(groups)[:2] == ["passfail", "Open Inference Protocol"]
    return [operation for group in groups.values() for operation in group]


def test_the_page_folds_each_operation_with_a_form_to_try_it(client: FlaskClient, found: list[Operation]) -> None:
    shown = client.get("/docs").text
    api = client.get("/openapi.json").json

    assert len(found) == sum(len(methods) for methods in api["paths"].values())
    for operation in found:
        assert f"<h3><code>{operation.method} {operation.path}</code></h3>" in shown
        assert f'<div id="{operation.id}">' in shown
    assert len({operation.id for operation in found}) == len(found) == shown.count('<form class="try')


def test_each_curl_line_asks_what_it_says(client: FlaskClient, found: list[Operation]) -> None:
    for operation in found:
        for body in operation.bodies:
            _, *line = shlex.split(body.code["curl"])
            url = next(part for part in line if part.startswith(ADDRESS))
            headers = {"Content-Type": body.kind} if body.kind else {}
            assert (f"Content-Type: {body.kind}" in line, body.text in line) == (
                (True, True) if body.kind else (False, False)
            )
            response = client.open(url.removeprefix(ADDRESS), method=operation.method, headers=headers, data=body.text)
            assert str(response.status_code) == next(iter(operation.about["responses"])), operation.path
            shown, changes = body.response.splitlines(), ("metrics", "stats", "drift")  # what a request itself changes
            if response.content_type.endswith("json"):
                whole = json.dumps(response.json, indent=2, ensure_ascii=False).splitlines()
            else:
                whole = response.text.splitlines()
            if not any(part in operation.path for part in changes):
                assert shown == (whole if len(whole) <= LINES else [*whole[:LINES], "..."]), operation.path


def test_the_responses_shown_are_no_traffic(client: FlaskClient) -> None:
    def rows() -> list[str]:
        return [line for line in client.get("/metrics").text.splitlines() if line.startswith("passfail_rows_total")]

    before = rows()
    shown = client.get("/docs").text
    assert rows() == before
    for said in ("&#34;explanation&#34;: {", "220.0,2.26,1,false,no,", "&#34;outputs&#34;: ["):
        assert said in shown


def test_the_examples_of_python_are_python(found: list[Operation]) -> None:
    for operation in found:
        for body in operation.bodies:
            compile(body.code["Python"], operation.path, "exec")
            assert re.search(rf"requests\.{operation.method.lower()}\(", body.code["Python"])
