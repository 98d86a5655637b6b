"""What deploy/ gives to Kubernetes, held against its schemas, offline."""

import copy
import shutil
import subprocess

import kubernetes_validate
import pytest
import yaml

from tests.service import ROOT

KUBERNETES = ROOT / "deploy" / "kubernetes"
FILES = sorted(path for path in KUBERNETES.glob("*/*.yaml") if path.name != "kustomization.yaml")
PORT = 8000  # of the image


def documents(path):
    return [document for document in yaml.safe_load_all(path.read_text()) if document]


def everything():
    """{(kind, name): document} of the volume variant, as its files have them."""
    return {(d["kind"], d["metadata"]["name"]): d for path in FILES if path.parent.name == "volume"
            for d in documents(path)}  # fmt: skip


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


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_every_file_is_of_its_schema(path):
    for document in documents(path):
        if "containers" in str(document) or path.parent.name == "volume":
            kubernetes_validate.validate(_whole(document), "1.31", strict=True)


def _whole(document):
    """A strategic merge patch with what its target supplies put in, so that it can be held against the schema."""
    if document["kind"] == "Deployment" and "selector" not in document["spec"]:
        whole = copy.deepcopy(everything()["Deployment", "serve"])
        for part in ("initContainers", "volumes"):
            found = document["spec"]["template"]["spec"][part]
            whole["spec"]["template"]["spec"][part] = [
                {k: v for k, v in item.items() if v is not None} for item in found
            ]
        return whole
    return document


def test_the_schema_refuses_a_misspelt_field():
    document = copy.deepcopy(everything()["Deployment", "serve"])
    document["spec"]["replica"] = 2

    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(document, "1.31", strict=True)


@pytest.mark.parametrize("variant", ["volume", "object-storage"])
def test_kustomize_builds_what_its_files_say(variant):
    """Where kubectl is installed; every file is named in its kustomization in any case."""
    folder = KUBERNETES / variant
    described = yaml.safe_load((folder / "kustomization.yaml").read_text())
    named = {*described["resources"], *(patch.get("path") for patch in described.get("patches", []))}
    assert {path.name for path in folder.glob("*.yaml")} - {"kustomization.yaml"} <= named

    if shutil.which("kubectl"):
        built = subprocess.run(["kubectl", "kustomize", folder], capture_output=True, text=True, check=True).stdout
        found = list(yaml.safe_load_all(built))
        for document in found:
            kubernetes_validate.validate(document, "1.31", strict=True)
        deployment = next(d for d in found if d["kind"] == "Deployment")
        assert restricted(deployment["spec"]["template"]["spec"])
        assert ("fetch" in str(deployment)) == (variant == "object-storage")


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


def test_the_inference_services():
    """KServe's own types are no part of Kubernetes; a predictor is a pod's spec, and is held against that."""
    ours, triton = (documents(ROOT / "deploy" / "kserve" / name)[0] for name in ("passfail.yaml", "triton.yaml"))
    pod = {k: v for k, v in ours["spec"]["predictor"].items() if k not in ("minReplicas", "maxReplicas")}

    kubernetes_validate.validate(
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": pod}, "1.31", strict=True
    )
    assert restricted(pod)
    assert {d["apiVersion"] for d in (ours, triton)} == {"serving.kserve.io/v1beta1"}
    assert triton["spec"]["predictor"]["model"]["runtime"] == "kserve-tritonserver"
    assert triton["spec"]["predictor"]["model"]["storageUri"] == "pvc://models/"
