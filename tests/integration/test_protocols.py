"""Each protocol answers one list of rows with the same bits, and refuses the same mistakes."""

import csv
import gzip
import io
import json
import urllib.request
import zlib

import pytest

from passfail.errors import ConfigError
from serve.server.flask_app import create_app
from serve.settings import Config
from tests.support.protocols import GOOD, predictions, table, tensors, v2
from tests.support.service import free_port, start, stop, wait

# {the fault of the last of two rows: (the row, a pattern of its error)}.
BAD = {
    "a level that is unknown": ({"gre": 1, "gpa": 2, "rank": "secret-9"}, "levels"),
    "a text for a number": ({"gre": "secret-9", "gpa": 2, "rank": "1"}, "number"),
    "a boolean for a number": ({"gre": True, "gpa": 2, "rank": "1"}, "number"),
    "null": ({"gre": None, "gpa": 2, "rank": "1"}, "null|missing|number|empty"),
    "a number too large": ({"gre": 10**400, "gpa": 2, "rank": "1"}, "number"),
}


def listed(rows):
    return [list(row.values()) for row in rows]


def cells(response):
    rows = csv.DictReader(io.StringIO(response.text))
    return [(float(row["logit"]), float(row["probability"]), row["label"]) for row in rows]


# Name -> (how rows are sent, how the answers are read).
PROTOCOLS = {
    "predict": (lambda ask, rows: ask("/predict", rows), predictions),
    "predict csv": (lambda ask, rows: ask("/predict", table(rows), "text/csv"), cells),
    "predict and why": (lambda ask, rows: ask("/explain", rows), predictions),
    "v2": (lambda ask, rows: ask("/v2/models/admissions/infer", {"inputs": tensors(rows)}), v2),
    "v2 of a version": (lambda ask, rows: ask("/v2/models/admissions/versions/1/infer", {"inputs": tensors(rows)}), v2),
    "mlflow split": (
        lambda ask, rows: ask(
            "/invocations", {"dataframe_split": {"columns": ["gre", "gpa", "rank"], "data": listed(rows)}}
        ),
        predictions,
    ),
    "mlflow records": (lambda ask, rows: ask("/invocations", {"dataframe_records": rows}), predictions),
    "mlflow instances": (lambda ask, rows: ask("/invocations", {"instances": rows}), predictions),
    "mlflow arrays": (lambda ask, rows: ask("/invocations", {"instances": listed(rows)}), predictions),
    "mlflow inputs": (
        lambda ask, rows: ask("/invocations", {"inputs": {name: [row[name] for row in rows] for name in rows[0]}}),
        predictions,
    ),
    "mlflow csv": (lambda ask, rows: ask("/invocations", table(rows), "text/csv"), predictions),
    "vertex": (lambda ask, rows: ask("/vertex", {"instances": rows}), predictions),
}


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_same_rows_get_the_same_bits(ask, protocol):
    send, read = PROTOCOLS[protocol]

    assert read(send(ask, GOOD)) == predictions(ask("/predict", GOOD))


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("mistake", BAD)
def test_the_same_mistake_is_refused_in_the_protocols_own_shape(ask, protocol, mistake):
    row, said = BAD[mistake]

    response = PROTOCOLS[protocol][0](ask, [GOOD[0], row])

    assert response.status_code in (400, 422)
    text = response.get_data(as_text=True)
    assert "secret" not in text
    if protocol.startswith("predict"):
        assert response.content_type == "application/problem+json"
        text = json.dumps(response.json["errors"])
    elif "mlflow" in protocol:
        assert set(response.json) == {"error_code", "message"}
    else:
        assert set(response.json) == {"error"}
        assert response.content_type == "application/json"
    assert any(word in text for word in said.split("|")), text


@pytest.mark.parametrize(
    ("path", "body", "content_type", "status"),
    [
        ("/invocations", {}, "application/json", 400),
        ("/invocations", {"instances": [], "inputs": []}, "application/json", 400),
        ("/invocations", {"instances": 5}, "application/json", 422),
        ("/invocations", {"inputs": {"gre": [1], "gpa": [1, 2], "rank": ["1"]}}, "application/json", 422),
        ("/invocations", b'{"inputs": {"gre": [1], "gpa": [1], "rank": ["1"], "gre": [2]}}', "application/json", 422),
        ("/invocations", {"dataframe_split": {"columns": ["gre"], "data": [[1]]}}, "application/json", 422),
        (
            "/invocations",
            {"dataframe_split": {"columns": ["gre", "gpa", "rank"], "data": [[1]]}},
            "application/json",
            422,
        ),
        ("/invocations", b'{"instances": [[1, 1, "1"]], "instances": [[2, 1, "1"]]}', "application/json", 400),
        ("/invocations", b'{"dataframe_split": {"columns": [], "columns": [], "data": []}}', "application/json", 400),
        ("/vertex", b'{"instances": ["\xff"], "instances": []}', "application/json", 400),
        ("/vertex", b'{"instances": [[1, 1, "1"]], "instances": [[2, 1, "1"]]}', "application/json", 400),
        ("/invocations", {"secret": 1}, "application/json", 400),
        ("/invocations", b"[", "application/json", 400),
        ("/invocations", b"{}", "text/plain", 415),
        ("/vertex", {"rows": []}, "application/json", 400),
        ("/vertex", b"\xff", "application/json", 400),
    ],
)
def test_a_faulty_table_is_refused(ask, path, body, content_type, status):
    response = ask(path, body, content_type)

    assert response.status_code == status
    assert "secret" not in response.get_data(as_text=True)
    assert list(response.json) == (["error"] if path == "/vertex" else ["error_code", "message"])


@pytest.mark.parametrize(
    ("path", "keys"),
    [
        ("/v2/models/admissions/infer", {"error"}),
        ("/invocations", {"error_code", "message"}),
        ("/vertex", {"error"}),
    ],
)
def test_a_body_beyond_the_limit_is_refused_in_each_shape(models, path, keys):
    config = Config(models=models, model_name="admissions", max_body_bytes=100, max_rows=2, vertex_predict="/vertex")

    response = create_app(config).test_client().post(path, data=bytes(101), content_type="application/json")

    assert (response.status_code, set(response.json)) == (413, keys)


def test_vertex_starts_it_by_its_own_variables(models):
    port = free_port()
    where = "/v1/endpoints/17/deployedModels/42"
    asked = {"AIP_HTTP_PORT": str(port), "AIP_PREDICT_ROUTE": f"{where}:predict", "AIP_HEALTH_ROUTE": where}
    process = start(models, PORT="", MODEL_NAME="hours", WEB_CONCURRENCY="1", **asked)
    try:
        wait(f"http://127.0.0.1:{port}", process)
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{where}") as answer:
            assert answer.status == 200
        body = b'{"instances": [{"hours": 7}], "parameters": {}}'
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{where}:predict", body) as answer:
            assert json.load(answer)["predictions"][0]["label"] == "pass"
    finally:
        stop(process)


@pytest.mark.parametrize("route", ["/ping", "/health/ready", "/v1/health"])
def test_vertex_may_ask_for_health_where_it_likes(models, route):
    client = create_app(Config(models=models, model_name="hours", vertex_health=route)).test_client()

    assert client.get(route).status_code == 200
    assert client.get("/health/ready").json["model"] == "hours"


@pytest.mark.parametrize("route", ["/predict", "no-slash", "/a<b>"])
def test_a_route_of_vertex_that_is_taken_or_none_stops_the_service(models, route):
    with pytest.raises(ConfigError, match="AIP_PREDICT_ROUTE"):
        create_app(Config(models=models, model_name="hours", vertex_predict=route))


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"700,3.5,1\n380,3.6,3\n", "text/csv"),
        (b"700,3.5,1\n380,3.6,3", "text/csv; header=absent"),
        (b"\r\n\n700,3.5,1\n\n380,3.6,3", "text/csv"),
        (b'"700","3.5\n","1"\n380,3.6,3', "text/csv"),
        (b"700,3.5,1\r\n380,3.6,3\r\n", 'text/csv;charset=utf-8;header="absent"'),
        (b"700,3.5,1\r380,3.6,3\r", "text/csv"),
        (b"gre,gpa,rank\n700,3.5,1\n380,3.6,3\n", "text/csv"),
        (b"gre,gpa,rank\n700,3.5,1\n380,3.6,3\n", "text/csv; header=present"),
    ],
)
def test_invocations_read_csv_with_and_without_a_header(ask, body, kind):
    rows = [{"gre": 700, "gpa": 3.5, "rank": "1"}, {"gre": 380, "gpa": 3.6, "rank": "3"}]

    assert predictions(ask("/invocations", body, kind)) == predictions(ask("/predict", rows))


def test_an_error_in_csv_without_a_header_names_the_line_that_was_sent(ask):
    response = ask("/invocations", b"700,3.5,1\n380,x,3\n", "text/csv")

    assert response.status_code == 422
    assert "line 2, gpa: " in response.json["message"]


def test_csv_with_a_wrong_header_is_no_csv_without_one(ask):
    """One of the names is a feature's."""
    response = ask("/invocations", b"gre,GPA,Rank\n700,3.5,1\n", "text/csv")

    assert response.status_code == 422
    assert "GPA, did you mean gpa?" in response.json["message"]


@pytest.mark.parametrize("kind", ["application/jsonlines", "application/jsonl", "application/x-ndjson"])
@pytest.mark.parametrize("path", ["/predict", "/invocations"])
@pytest.mark.parametrize(
    "body",
    [
        b'{"gre": 700, "gpa": 3.5, "rank": "1"}\n{"gre": 380, "gpa": 3.6, "rank": "3"}\n',
        b'[700, 3.5, "1"]\n\n[380, 3.6, "3"]',
    ],
    ids=["objects", "arrays"],
)
def test_json_lines_are_answered_by_json_lines(ask, path, kind, body):
    rows = [{"gre": 700, "gpa": 3.5, "rank": "1"}, {"gre": 380, "gpa": 3.6, "rank": "3"}]
    response = ask(path, body, kind)

    assert response.content_type == "application/jsonlines"
    assert [json.loads(line) for line in response.text.splitlines()] == ask("/predict", rows).json


@pytest.mark.parametrize("path", ["/predict", "/invocations"])
@pytest.mark.parametrize(
    "body", [b'{"gre": 700,\n"gpa": 3.5, "rank": "1"}', b'[700, 3.5, "1"], [1, 1, "1"]', b"7\n", b"{\n", b'"a"\n']
)
def test_a_line_that_is_no_row_is_refused(ask, path, body):
    assert ask(path, body, "application/jsonlines").status_code in (400, 422)


@pytest.mark.parametrize("path", ["/predict", "/invocations"])
@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("application/json", b'{"instances": [[700, 3.5, "1"]]}'),
        ("text/csv", b"gre,gpa,rank\n700,3.5,1\n"),
        ("application/jsonlines", b'[700, 3.5, "1"]\n'),
    ],
)
def test_accept_is_respected(ask, path, kind, body):
    if path == "/predict" and kind == "application/json":
        body = b'[{"gre": 700, "gpa": 3.5, "rank": "1"}]'
    ((*expected,),) = [predictions(ask("/predict", [{"gre": 700, "gpa": 3.5, "rank": "1"}]))]

    as_json = ask(path, body, kind, Accept="application/json")
    as_csv = ask(path, body, kind, Accept="text/csv")
    as_lines = ask(path, body, kind, Accept="application/jsonlines")

    assert predictions(as_json) == cells(as_csv) == expected
    assert as_csv.content_type == "text/csv; charset=utf-8"
    assert [json.loads(line)["logit"] for line in as_lines.text.splitlines()] == [expected[0][0]]


def test_csv_without_a_header_is_answered_without_one_so_that_each_line_has_its_own(ask):
    """SageMaker's batch transform joins lines (SplitType and AssembleWith are Line)."""
    response = ask("/invocations", b"700,3.5,1\n380,3.6,3\n", "text/csv", Accept="text/csv")

    assert [len(line.split(",")) for line in response.text.splitlines()] == [7, 7]


@pytest.mark.parametrize("path", ["/predict", "/invocations", "/vertex"])
def test_what_can_not_be_sent_is_406(ask, path):
    response = ask(path, b"[]", "application/json", Accept="image/png")

    assert response.status_code == 406
    assert "send Accept: application/json" in response.text


@pytest.mark.parametrize("accept", ["*/*", "application/json, application/problem+json", "text/html,*/*;q=0.8"])
def test_what_clients_usually_accept_is_json(ask, accept):
    response = ask("/predict", {"gre": 700, "gpa": 3.5, "rank": "1"}, Accept=accept)

    assert (response.status_code, response.content_type) == (200, "application/json")


@pytest.mark.parametrize("first", [{}, {"params": {}}], ids=["first", "second"])
@pytest.mark.parametrize("name", ["instances", "inputs", "dataframe_split", "dataframe_records"])
def test_another_protocols_body_is_shown_the_way(ask, name, first):
    response = ask("/predict", first | {name: [{"gre": 700, "gpa": 3.5, "rank": "1"}]})

    assert response.status_code == 422
    assert f'POST {{"{name}": ...}} to /invocations' in response.json["detail"]


@pytest.mark.parametrize(
    ("name", "said"),
    [("GRE", "GRE, did you mean gre?"), ("rnak", None), ("ranks", "ranks, did you mean rank?"), ("secret-9", None)],
)
def test_an_unknown_name_is_repeated_only_where_it_nearly_is_a_features(ask, name, said):
    text = ask("/predict", {"gpa": 3.5, name: 1}).text

    assert (f"1 unknown name(s): {said}" if said else "1 unknown name(s); ") in text
    assert said or name not in text


def test_a_path_that_is_not_there_is_told_where_the_paths_are(ask):
    for path, name in (("/nowhere", "detail"), ("/v2/nowhere", "error")):
        response = ask.get(path)
        assert (response.status_code, response.json[name]) == (404, "nothing is at this path: /docs lists the paths")


def test_get_of_predict_says_what_to_do(ask):
    response = ask.client.get("/predict")

    assert response.status_code == 405
    assert response.json["detail"].startswith("/predict takes OPTIONS, POST, not GET: /docs has an example")


@pytest.mark.parametrize(
    "more",
    [
        {"parameters": None},
        {"model_version": "1"},
        {"model_version": None},
        {"model_name": "admissions", "model_version": ""},
    ],
)
def test_v2_takes_what_clients_leave_empty(ask, more):
    inputs = [{**tensor, "parameters": None} for tensor in tensors(GOOD)]

    response = ask("/v2/models/admissions/infer", {"inputs": inputs, **more})

    assert v2(response) == predictions(ask("/predict", GOOD))


def test_v2_refuses_another_version_in_the_body(ask):
    response = ask("/v2/models/admissions/infer", {"inputs": tensors(GOOD), "model_version": "2"})

    assert response.status_code == 422
    assert "$.model_version: not the version that answers here" in response.json["error"]


def test_the_index_lists_only_what_is_ready_where_that_is_asked(ask):
    ask.client.application.service.refused = {"9": "no"}

    states = [
        [entry["state"] for entry in ask("/v2/repository/index", body).json]
        for body in (b"", {}, {"ready": False}, {"ready": True})
    ]
    assert states == [["READY", "UNAVAILABLE"]] * 3 + [["READY"]]
    assert ask("/v2/repository/index", {"wrong": 1}).status_code == 400
    ask.client.application.service.refused = {}


@pytest.mark.parametrize("path", ["/v2/models/admissions", "/v2/models/admissions/versions/1"])
def test_the_configuration_and_the_statistics_are_tritons(ask, path):
    ask("/v2/models/admissions/infer", {"inputs": tensors(GOOD)})
    config = ask.client.get(f"{path}/config").json
    (stats,) = ask.client.get(f"{path}/stats").json["model_stats"]

    assert [one["name"] for one in config["input"]] == ["gre", "gpa", "rank"]
    assert {one["data_type"] for one in config["input"]} == {"TYPE_FP64", "TYPE_STRING"}
    assert (stats["name"], stats["version"]) == ("admissions", "1")
    assert stats["inference_stats"]["success"]["count"] == stats["execution_count"] >= 1
    assert ask.client.get("/v2/models/stats").json["model_stats"][0]["name"] == "admissions"
    assert ask.client.get("/v2/models/nosuch/stats").status_code == 404


@pytest.mark.parametrize("path", ["/predict", "/invocations", "/vertex", "/v2/models/admissions/infer"])
@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_a_compressed_body_is_read_and_a_bomb_is_413(ask, path, encoding):
    compress = {"gzip": gzip.compress, "deflate": zlib.compress}[encoding]
    body = {"/predict": GOOD, "/v2/models/admissions/infer": {"inputs": tensors(GOOD)}}.get(path, {"instances": GOOD})
    sent = json.dumps(body).encode()
    headers = {"Content-Encoding": encoding}

    assert ask(path, compress(sent), **headers).data == ask(path, sent).data
    assert ask(path, compress(bytes(20 * 2**20)), **headers).status_code == 413
    assert ask(path, sent, **headers).status_code == 400
    unknown = ask(path, sent, **{"Content-Encoding": "br"})
    assert (unknown.status_code, unknown.headers["Accept-Encoding"]) == (415, "gzip, deflate")


def test_a_large_answer_is_compressed_where_the_client_accepts_it(ask):
    rows = GOOD * 1000
    plain = ask("/predict", rows)
    packed = ask("/predict", rows, **{"Accept-Encoding": "gzip, br"})

    assert "Content-Encoding" not in plain.headers
    assert (packed.headers["Content-Encoding"], packed.headers["Vary"]) == ("gzip", "Accept-Encoding")
    assert gzip.decompress(packed.data) == plain.data
    assert len(packed.data) < len(plain.data) / 5
    assert "Content-Encoding" not in ask("/predict", GOOD, **{"Accept-Encoding": "gzip"}).headers


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/"), ("GET", "/model"), ("GET", "/nowhere"), ("GET", "/v2"), ("GET", "/predict"), ("POST", "/predict"),
     ("GET", "/health/ready"), ("POST", "/v2/models/nosuch/infer"), ("HEAD", "/model")],
)  # fmt: skip
def test_every_answer_has_the_requests_id(ask, method, path):
    assert ask.client.open(path, method=method, headers={"X-Request-Id": "a-1"}).headers.getlist("X-Request-Id") == [
        "a-1"
    ]
    assert len(ask.client.open(path, method=method).headers["X-Request-Id"]) == 32
