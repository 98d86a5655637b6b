"""docker-compose --profile watch: Prometheus, its alerts, and Grafana's dashboard."""

import json
import re
import shutil
import subprocess
import urllib.parse
import urllib.request

import pytest
import yaml

from tests.support import DATA, ROOT
from tests.support.clients import OTHERS
from tests.support.docker import compose_command
from tests.support.pages import PAGES
from tests.support.service import free_port, post, service
from tests.support.wait import until

DASHBOARD = json.loads((ROOT / "deploy" / "grafana" / "passfail.json").read_text())
RULES = yaml.safe_load((ROOT / "deploy" / "prometheus" / "rules.yml").read_text())
QUERIES = {
    f"{panel['title']}, {target['refId']}": target["expr"]
    for panel in DASHBOARD["panels"]
    for target in panel["targets"]
}


def grafanas_problems(dashboard):
    told = subprocess.run([OTHERS, "-m", "tests.support.grafana"], cwd=ROOT, input=json.dumps(dashboard),
                          capture_output=True, text=True, check=True).stdout  # fmt: skip
    return json.loads(told)


def test_the_dashboard_is_of_grafanas_types():
    assert grafanas_problems(DASHBOARD) == []


def test_grafanas_types_refuse_what_they_do_not_have():
    wrong = json.loads(json.dumps(DASHBOARD))
    wrong["panels"][0]["titel"] = "x"
    wrong["panels"][6]["targets"][0]["exp"] = wrong["panels"][6]["targets"][0].pop("expr")
    wrong["refresh"] = 15

    assert grafanas_problems(wrong) == [
        "$.panels[0].titel: unknown",
        "$.panels[6].targets[0].exp: unknown",
        "$.refresh: no str",
    ]


def test_no_panel_lies_on_another_and_each_has_an_id_of_its_own():
    cells = [(x, y) for panel in DASHBOARD["panels"] for at in [panel["gridPos"]]
             for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])]  # fmt: skip
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(ids) == len(set(ids))


def test_each_alert_links_to_its_runbook():
    headings = {
        re.sub(r"[^a-z]", "", line.lower()) for line in re.findall("^## (.*)$", PAGES["docs/how-to/runbooks.md"], re.M)
    }
    alerts = [rule for group in RULES["groups"] for rule in group["rules"]]

    assert {rule["alert"].lower() for rule in alerts} == headings
    for rule in alerts:
        assert rule["annotations"]["runbook_url"] == f"docs/how-to/runbooks.md#{rule['alert'].lower()}"


def test_compose_starts_prometheus_and_grafana_with_the_profile_alone():
    command = compose_command()
    if not command:
        pytest.skip("Compose is not installed: the profile `watch` is NOT validated")

    done = subprocess.run([*command, "--profile", "watch", "config"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = yaml.safe_load(done.stdout)["services"]
    assert {name for name, one in found.items() if not one.get("profiles")} == {"train", "serve"}
    assert {name for name, one in found.items() if one.get("profiles") == ["watch"]} == {"prometheus", "grafana"}
    plain = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    for name in ("prometheus", "grafana"):
        for mount in plain[name]["volumes"]:
            source = mount.split(":")[0]
            assert not source.startswith("./") or (ROOT / source).exists(), mount


def test_each_panels_query_gives_a_series_beside_a_loaded_service(models, tmp_path):
    prometheus = shutil.which("prometheus")
    if prometheus is None:
        pytest.skip("prometheus is not installed: the dashboard's queries are NOT tested")
    settings = {"MODEL_NAME": "admissions", "WEB_CONCURRENCY": "2", "SHADOW": "torchscript", "SHADOW_RATE": "1"}
    rows = (DATA / "admissions.csv").read_bytes()
    with service(models, **settings) as (address, _):
        config = (ROOT / "deploy" / "compose" / "prometheus.yml").read_text().replace("15s", "1s")
        discovered = re.compile(r"    dns_sd_configs:\n.*\n")
        assert discovered.search(config)
        here = f'    static_configs:\n      - targets: ["{address.removeprefix("http://")}"]\n'
        (tmp_path / "prometheus.yml").write_text(discovered.sub(here, config))
        shutil.copy(ROOT / "deploy" / "prometheus" / "rules.yml", tmp_path)
        port = free_port()
        command = [prometheus, "--config.file=prometheus.yml", f"--web.listen-address=127.0.0.1:{port}"]
        watching = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            missing = dict(QUERIES)

            def all_answered():
                assert post(address, rows, "text/csv")[0] == 200
                post(address, b"{}")
                for name, expr in list(missing.items()):
                    if series(port, expr):
                        del missing[name]
                return not missing

            until(all_answered, every=0.5, why=lambda: missing)
        finally:
            watching.terminate()
            watching.wait()


def series(port, expr):
    """The values that a panel shows at present, but NaN."""
    query = urllib.parse.quote(expr.replace("$__rate_interval", "1m"))
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/v1/query?query={query}", timeout=120) as answer:
        found = json.load(answer)["data"]["result"]
    return [one for one in found if one["value"][1] != "NaN"]
