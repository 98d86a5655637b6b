"""deploy/kubernetes as kubectl renders it, and a pod's container on a Docker engine."""

import functools
import subprocess
import time
import urllib.request
from collections.abc import Mapping
from typing import Any

import yaml

from tests.support import ROOT
from tests.support.clients import OTHERS
from tests.support.docker import docker
from tests.support.service import free_port
from tests.support.wait import until

KUBERNETES = ROOT / "deploy" / "kubernetes"
KUBECTL = OTHERS.with_name("kubectl")  # from PyPI: requirements/clients.in


@functools.cache
def rendered(variant: str) -> dict[tuple[str, str], Any]:
    """{(kind, name): document} of a variant, each patch applied."""
    built = subprocess.run([KUBECTL, "kustomize", KUBERNETES / variant], capture_output=True, text=True, check=True)
    return {(one["kind"], one["metadata"]["name"]): one for one in yaml.safe_load_all(built.stdout)}


def arguments(pod: Mapping[str, Any], container: Mapping[str, Any], claims: Mapping[str, str]) -> list[str]:
    """The arguments of `docker run` for a container's specification; the command is last.

    claims : {volume of the pod: Docker's volume}; the rest are of this container alone. Fields that are not put
    into arguments here fail, so that the specification is applied whole.
    """
    known = {"name", "image", "command", "args", "env", "envFrom", "ports", "resources", "securityContext",
             "volumeMounts", "startupProbe", "livenessProbe", "readinessProbe"}  # fmt: skip
    assert container.keys() <= known, container.keys() - known
    everywhere, own, limits = pod["securityContext"], container["securityContext"], container["resources"]["limits"]
    assert (everywhere["seccompProfile"]["type"], own["allowPrivilegeEscalation"]) == ("RuntimeDefault", False)
    memory = limits["memory"].removesuffix("i").lower()
    found = [f"--user={everywhere['runAsUser']}", f"--group-add={everywhere['fsGroup']}", f"--memory={memory}"]
    found += [f"--memory-swap={memory}", "--security-opt=no-new-privileges", f"--cpus={limits.get('cpu', 2)}"]
    found += ["--read-only"] * own["readOnlyRootFilesystem"]
    found += [f"--cap-drop={one}" for one in own["capabilities"]["drop"]]
    found += [f"--env={one['name']}={one['value']}" for one in container.get("env", [])]
    volumes = {one["name"]: one for one in pod["volumes"]}
    for mount in container["volumeMounts"]:
        name, path = mount["name"], mount["mountPath"]
        if name in claims:
            found.append(f"--volume={claims[name]}:{path}{':ro' * mount.get('readOnly', False)}")
        elif (empty := volumes[name]["emptyDir"]).get("medium") == "Memory":
            found.append(f"--tmpfs={path}:size={empty['sizeLimit'].removesuffix('i').lower()},mode=1777")
        else:
            found.append(f"--volume={path}")  # it has the rights of the image's folder, as fsGroup gives them
    command = [*container.get("command", []), *container.get("args", [])]
    entry = [f"--entrypoint={command.pop(0)}"] if "command" in container else []
    return [*found, *entry, container["image"], *command]


class Pod:
    """A pod of one container, run by the Docker engine and probed as the kubelet does.

    Attributes
    ----------
    port : its port, on this machine.
    """

    def __init__(self, pod: Mapping[str, Any], claims: Mapping[str, str]) -> None:
        self.spec, (self.container,) = pod, pod["containers"]
        self.port = free_port()
        inside = self.container["ports"][0]["containerPort"]
        publish = f"--publish=127.0.0.1:{self.port}:{inside}"
        self.name = docker("run", "--detach", publish, *arguments(pod, self.container, claims)).strip()

    def probe(self, name: str) -> bool:
        """Ask as a probe does; whether it succeeds within its time."""
        probe = self.container[name]
        url = f"http://127.0.0.1:{self.port}{probe['httpGet']['path']}"
        try:
            with urllib.request.urlopen(url, timeout=probe.get("timeoutSeconds", 1)) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def start(self) -> float:
        """Wait for the startup probe, then for the readiness probe; return the seconds.

        Fails where the kubelet would kill it.
        """
        began, probe = time.monotonic(), self.container["startupProbe"]
        for tried in range(probe["failureThreshold"]):
            if self.probe("startupProbe"):
                break
            time.sleep(max(0.0, began + (tried + 1) * probe["periodSeconds"] - time.monotonic()))
        else:
            raise AssertionError(f"the startup probe failed {probe['failureThreshold']} times")
        until(lambda: self.probe("readinessProbe"), 120, self.container["readinessProbe"]["periodSeconds"])
        return time.monotonic() - began

    def stop(self) -> tuple[float, int]:
        """Terminate it within its grace period: seconds, and its exit status (137: killed)."""
        began = time.monotonic()
        docker("stop", "--time", str(self.spec["terminationGracePeriodSeconds"]), self.name)
        return time.monotonic() - began, self.status()

    def status(self) -> int:
        return int(docker("inspect", "--format", "{{.State.ExitCode}}", self.name))
