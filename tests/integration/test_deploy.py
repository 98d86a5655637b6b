"""The manifests of deploy/ for Kubernetes, validated by its schemas, offline."""

import copy
import http.server
import json
import re
import subprocess
import sys
import threading

import kubernetes_validate
import pytest
import yaml

from tests.support import ROOT
from tests.support.clients import OTHERS
from tests.support.kubernetes import KUBERNETES, rendered

PORT = 8000  # of the image


def documents(path):
    return [document for document in yaml.safe_load_all(path.read_text()) if document]


def everything():
    """{(kind, name): document} of the volume variant."""
    return rendered("volume")


def restricted(pod):
    """Whether a pod's spec is what the namespace's policy, `restricted`, asks for."""
    everywhere = pod["securityContext"]
    containers = [*pod["containers"], *pod.get("initContainers", [])]
    return (
        everywhere["runAsNonRoot"]
        and everywhere["seccompProfile"]["type"] == "RuntimeDefault"
        and all(c["securityContext"]["allowPrivilegeEscalation"] is False for c in containers)
        and all(c["securityContext"]["capabilities"] == {"drop": ["ALL"]} for c in containers)
        and all(c["securityContext"]["readOnlyRootFilesystem"] for c in containers)
    )


def test_the_schema_refuses_a_misspelt_field():
    document = copy.deepcopy(everything()["Deployment", "serve"])
    document["spec"]["replica"] = 2

    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(document, "1.31", strict=True)


@pytest.mark.parametrize("variant", ["volume", "object-storage", "key"])
def test_kustomize_renders_the_whole_with_each_patch_applied(variant):
    """kubectl renders the kustomization, which names each file."""
    folder = KUBERNETES / variant
    described = yaml.safe_load((folder / "kustomization.yaml").read_text())
    named = {*described["resources"], *(patch.get("path") for patch in described.get("patches", []))}
    assert {path.name for path in folder.glob("*.yaml")} - {"kustomization.yaml"} <= named

    found = rendered(variant)
    for document in found.values():
        kubernetes_validate.validate(document, "1.31", strict=True)
    pod = found["Deployment", "serve"]["spec"]["template"]["spec"]
    reach = found["NetworkPolicy", "serve"]["spec"]["egress"] if variant == "object-storage" else None
    assert restricted(pod)
    assert [one["name"] for one in pod.get("initContainers", [])] == ["fetch"] * (variant == "object-storage")
    assert ("API_KEY_FILE" in str(pod["containers"])) == (variant == "key")
    assert (("PersistentVolumeClaim", "models") in found) == (variant != "object-storage")
    assert (("Job", "train") in found) == (variant != "object-storage")
    assert {"port": 443, "protocol": "TCP"} in [one for rule in reach or [] for one in rule["ports"]] or reach is None
    (models,) = [one for one in pod["volumes"] if one["name"] == "models"]
    assert set(models) == {"name", "emptyDir" if variant == "object-storage" else "persistentVolumeClaim"}


def test_pods_are_restricted_and_probed_on_the_v2_routes():
    found = everything()
    serve, train = (found[kind, name]["spec"]["template"]["spec"]
                    for kind, name in (("Deployment", "serve"), ("Job", "train")))  # fmt: skip
    container = serve["containers"][0]

    assert found["Namespace", "passfail"]["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    assert restricted(serve)
    assert restricted(train)
    assert container["startupProbe"]["httpGet"]["path"] == "/v2/health/live"
    assert container["livenessProbe"]["httpGet"]["path"] == "/v2/health/live"
    assert container["readinessProbe"]["httpGet"]["path"] == "/v2/health/ready"
    assert container["ports"][0]["containerPort"] == PORT


def test_the_key_is_where_the_service_is_told_to_look():
    """Kubernetes and Compose mount it; Compose's second file must fit the first."""
    pod = documents(KUBERNETES / "key" / "secret.yaml")[0]["spec"]["template"]["spec"]
    (container,), (volume,) = pod["containers"], pod["volumes"]
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert container["env"] == [{"name": "API_KEY_FILE", "value": f"{mounts[volume['name']]}/keys"}]
    said = (KUBERNETES / "key" / "kustomization.yaml").read_text()
    assert f"create secret generic {volume['secret']['secretName']} --from-file=keys=" in said

    (compose,), (main,) = (documents(ROOT / name) for name in ("deploy/compose/key.yml", "docker-compose.yml"))
    (secret,) = compose["services"]["serve"]["secrets"]
    assert compose["services"].keys() <= main["services"].keys()
    assert compose["services"]["serve"]["environment"] == {"API_KEY_FILE": f"/run/secrets/{secret}"}
    assert secret in compose["secrets"]


def test_what_belongs_together_finds_each_other():
    found = everything()
    labels = found["Deployment", "serve"]["spec"]["template"]["metadata"]["labels"]

    for chosen in (found["Service", "passfail"]["spec"]["selector"],
                   found["PodDisruptionBudget", "serve"]["spec"]["selector"]["matchLabels"],
                   found["NetworkPolicy", "serve"]["spec"]["podSelector"]["matchLabels"],
                   found["Deployment", "serve"]["spec"]["selector"]["matchLabels"]):  # fmt: skip
        assert chosen.items() <= labels.items()
    assert found["HorizontalPodAutoscaler", "serve"]["spec"]["scaleTargetRef"]["name"] == "serve"
    assert ("PersistentVolumeClaim", "models") in found


@pytest.mark.parametrize("setting", ["PORT", "AIP_HTTP_PORT"])
def test_the_image_asks_for_its_health_where_it_listens(setting):
    """Vertex AI names the port otherwise, and the container was unhealthy there."""
    line = re.search("^HEALTHCHECK .*CMD (.*)$", (ROOT / "Dockerfile").read_text(), re.M)[1]
    _, *code = json.loads(line)
    asked = []

    class Health(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()

    with http.server.HTTPServer(("127.0.0.1", 0), Health) as server:
        threading.Thread(target=server.handle_request, daemon=True).start()
        subprocess.run([sys.executable, *code], env={setting: str(server.server_port)}, check=True)

    assert asked == ["/health/ready"]


def test_the_inference_services():
    """KServe's own types, and the pods that our predictors are, against Kubernetes' schema."""
    names = ("passfail.yaml", "modelcar.yaml", "triton.yaml")
    ours, car, triton = (documents(ROOT / "deploy" / "kserve" / name)[0] for name in names)
    misspelt = copy.deepcopy(triton)
    misspelt["spec"]["predictor"]["model"]["storageUrl"] = misspelt["spec"]["predictor"]["model"].pop("storageUri")
    misspelt["spec"]["predictor"]["model"]["modelFormat"]["version"] = 1
    given = json.dumps([ours, car, triton, misspelt])
    command = [OTHERS, "-m", "tests.support.kserve"]
    told = subprocess.run(command, cwd=ROOT, input=given, capture_output=True, text=True, check=True).stdout
    *right, wrong = json.loads(told)
    model = "passfail-triton.spec.predictor.model"
    assert right == [[], [], []]
    assert wrong == [f"{model}.storageUrl: unknown", f"{model}.modelFormat.version: no str"]

    for document in (ours, car):
        pod = {k: v for k, v in document["spec"]["predictor"].items() if k not in ("minReplicas", "maxReplicas")}
        kubernetes_validate.validate(
            {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": pod}, "1.31", strict=True
        )
        assert restricted(pod)
    environ = {one["name"]: one["value"] for one in car["spec"]["predictor"]["containers"][0]["env"]}
    assert environ["STORAGE_URI"].startswith("oci://")
    assert environ["MODELS_DIR"] == "/mnt/models"  # where KServe links a ModelCar's /models
    assert triton["spec"]["predictor"]["model"]["runtime"] == "kserve-tritonserver"
    assert triton["spec"]["predictor"]["model"]["storageUri"] == "pvc://models/"
