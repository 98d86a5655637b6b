"""The page as the service sends it, before any browser."""

import json
import re
from dataclasses import replace
from types import SimpleNamespace

import msgspec
import pytest

from serve.server.flask_app import create_app
from serve.settings import Config


@pytest.fixture(scope="module")
def page(models):
    return create_app(Config(models=models, model_name="admissions")).test_client()


def test_form_is_answered_as_predict_answers(page):
    row = {"gre": 700, "gpa": 3.5, "rank": "1"}
    answer = page.post("/predict", json=row).json

    shown = page.get("/", query_string=row).text

    assert f'<b id="label">{answer["label"]}</b>' in shown
    assert f'<span id="probability">{100 * answer["probability"]:.1f}</span>' in shown


def test_the_evidence_of_a_rare_outcome_is_not_rounded_to_none(page, monkeypatch):
    """Of 19951 rows 48: 0.2 %, not 0 % with an interval from 0 % to 0 %."""
    found = {"lower": 0.0, "upper": 0.1, "rows": 19951, "positives": 48, "low": 0.00182, "high": 0.00319}
    monkeypatch.setattr("serve.web.views.evidence", lambda calibration, probability: [found])

    shown = page.get("/").text.replace("&nbsp;", " ")

    assert "answered 0 to 10 %, 48 were pass: 0.2 % (95 % interval 0.2 to 0.3 %)." in shown


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("gre=x&gpa=3&rank=1", 'id="f0-error">expected a number<'),
        ("gre=7&gpa=&rank=1", 'id="f1-error">may not be empty<'),
        ("gre=7&gpa=3&rank=9", 'id="f2-error">not one of the levels: 1, 2, 3, 4<'),
        ("gre=7&gre=8&gpa=3&rank=1", 'id="f0-error">given more than once<'),
        ("gre=7&gpa=3", 'id="f2-error">missing<'),
        ("x=1&gre=7&gpa=3&rank=1", "1 unknown name(s)"),
    ],
)
def test_errors_stand_at_their_fields(page, query, said):
    answer = page.get(f"/?{query}")

    assert answer.status_code == 422
    assert said in answer.text


def test_names_and_levels_are_text_not_html(models, monkeypatch):
    app = create_app(Config(models=models, model_name="admissions"))
    model = app.service.served.model
    evil = "<script>alert(1)</script>\"'"
    first, second, rank = model.manifest.features
    features = (
        msgspec.structs.replace(first, name=evil),
        second,
        msgspec.structs.replace(rank, levels=(evil, "2", "3", "4")),
    )
    manifest = msgspec.structs.replace(model.manifest, features=features)
    served = replace(app.service.served, model=SimpleNamespace(manifest=manifest))
    monkeypatch.setattr(app.service, "served", served)

    shown = app.test_client().get("/?x=<script>alert(2)</script>").text

    assert "<script>alert" not in shown
    assert "&lt;script&gt;alert(1)&lt;/script&gt;&#34;&#39;" in shown


def test_policy_lets_nothing_in_from_elsewhere(page):
    for path in ("/", "/docs", "/page/page.js"):
        headers = page.get(path, buffered=True).headers
        assert headers["Content-Security-Policy"].startswith("default-src 'none'; script-src 'self'; style-src 'self'")
        assert headers["X-Content-Type-Options"] == "nosniff"
    assert (
        page.get("/report")
        .headers["Content-Security-Policy"]
        .startswith("default-src 'none'; style-src 'unsafe-inline'")
    )
    assert page.get("/page/index.html").status_code == 404


def test_it_shows_the_models_figures_versions_and_certificate(page):
    shown = page.get("/").text
    manifest = page.get("/model").json
    held_out = manifest["training"]["held_out"]

    for figure in (f"{100 * held_out['accuracy']:.1f} %", f"{held_out['auc']:.3f}", f"{held_out['log_loss']:.4f}"):
        assert f"<dd>{figure}" in shown
    assert "<dd>1 (in service)</dd>" in shown
    assert f"<code>{manifest['digest'][:16]}</code>" in shown
    for engine, figures in manifest["certificate"]["engines"].items():
        row = shown.split(f'<th scope="row">{engine}</th>')[1].split("</tr>")[0]
        wanted = [figures[name] for name in ("logit_differences", "probability_ulp", "verdict_differences")]
        assert re.findall(r">(\d+)<", row) == [str(figure) for figure in wanted]


@pytest.mark.parametrize("metrics_port", [None, 9100])
def test_every_link_leads_somewhere(models, metrics_port):
    """Of the page alone: what it draws in a browser, tests/browser looks at."""
    config = Config(models=models, model_name="hours", metrics_port=metrics_port)
    page = create_app(config).test_client()

    links = set(re.findall(r'href="(/[^"]*)"', page.get("/").text))

    assert ("/metrics" in links) == (metrics_port is None)
    for link in links:
        with page.get(link) as answer:
            assert answer.status_code == 200


def test_card_that_was_altered_is_not_shown(page, models):
    card = models / "admissions" / "1" / "MODEL_CARD.md"
    kept = card.read_bytes()
    assert "Limits of use" in page.get("/").text
    try:
        card.write_bytes(kept + b".")
        assert "Limits of use" not in page.get("/").text
    finally:
        card.write_bytes(kept)
    assert json.loads(page.get("/model").data)["name"] == "admissions"
