"""The jobs for Ray's and Spark's operators: their fields, their pods and their programs.

The operators' own schemas, a megabyte each, are not in this repository; both files were held against them (KubeRay
v1, Spark operator v1beta2) when they were written. The fields that they use stand here.
"""

import ast
import shlex

import kubernetes_validate
import pytest
import yaml

from tests.support import ROOT

FIELDS = {
    "RayJob": {"entrypoint", "shutdownAfterJobFinishes", "ttlSecondsAfterFinished", "backoffLimit", "rayClusterSpec"},
    "SparkApplication": {"type", "pythonVersion", "mode", "image", "mainApplicationFile", "sparkVersion",
                         "restartPolicy", "volumes", "driver", "executor"},
}  # fmt: skip


def documents(name):
    return {found["kind"]: found for found in yaml.safe_load_all((ROOT / "deploy" / "kubernetes" / name).read_text())}


def check_pod(spec):
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": spec}
    kubernetes_validate.validate(pod, "1.31", strict=True)


def test_rays_job_has_the_operators_fields_and_restricted_pods():
    job = documents("ray.yaml")["RayJob"]
    cluster = job["spec"]["rayClusterSpec"]

    assert job["spec"].keys() == FIELDS["RayJob"]
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        pod = group["template"]["spec"]
        check_pod(pod)
        assert pod["securityContext"]["runAsNonRoot"]
        assert pod["containers"][0]["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    program, option, code = shlex.split(job["spec"]["entrypoint"])
    assert (program, option) == ("python", "-c")
    assert "passfail.ray.score" in ast.unparse(ast.parse(code))


def test_sparks_job_has_the_operators_fields_and_restricted_pods():
    found = documents("spark.yaml")
    job, program = found["SparkApplication"]["spec"], found["ConfigMap"]["data"]["score.py"]

    assert job.keys() == FIELDS["SparkApplication"]
    for part in (job["driver"], job["executor"]):
        container = {"name": "x", "image": job["image"], "volumeMounts": part["volumeMounts"],
                     "securityContext": part["securityContext"]}  # fmt: skip
        check_pod({"containers": [container], "volumes": job["volumes"]})
    assert job["mainApplicationFile"] == f"local://{job['driver']['configMaps'][0]['path']}/score.py"
    assert "spark.score" in ast.unparse(ast.parse(program))


@pytest.mark.parametrize("name", ["ray.yaml", "spark.yaml"])
def test_each_job_reads_the_exports_and_writes_beside_the_rows(name):
    text = (ROOT / "deploy" / "kubernetes" / name).read_text()
    assert "/models/hours" in text
    assert "/rows/new" in text
    assert "/rows/scored" in text
