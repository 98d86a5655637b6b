"""The containers of deploy/kubernetes on a Docker engine, because no cluster runs here.

Command, environment, volumes, security context, resources, probes with their times, grace period and init container are
taken from what kubectl renders.
"""

import copy
import random
import subprocess
import threading

import pytest

from bench.judge import Judge
from bench.load import Load
from passfail.manifest import decode
from tests.support import ROOT
from tests.support.docker import compose, docker
from tests.support.kubernetes import Pod, arguments, rendered
from tests.support.wait import until

pytestmark = pytest.mark.docker
MODELS, BUCKET, NETWORK = "passfailkubernetes_models", "passfailkubernetes_fetched", "passfailkubernetes"
SPREAD_SECONDS = 2  # until nobody sends to a pod any more that ends: endpoints take so long to be known everywhere


def pod_of(variant, kind="Deployment", name="serve"):
    return copy.deepcopy(rendered(variant)[kind, name]["spec"]["template"]["spec"])


@pytest.fixture(scope="module")
def claim():
    """The claim `models`, after the Job `train` has run once, by its own specification."""
    compose("build", "train", "serve", project="passfailkubernetes")
    docker("volume", "create", MODELS)
    pod = pod_of("volume", "Job", "train")
    (container,) = pod["containers"]
    try:
        docker("run", "--rm", *arguments(pod, container, {"models": MODELS}))
        yield {"models": MODELS}
    finally:
        docker("volume", "rm", "--force", MODELS)


@pytest.fixture
def pods():
    """A list, whose pods are removed at the end."""
    found = []
    yield found
    for one in found:
        docker("rm", "--force", "--volumes", one.name)


def judge(pod):
    found = Judge([decode(docker("exec", pod.name, "cat", "/app/models/hours/1/manifest.json").encode())])
    found.kinds.remove("Vertex AI")  # its route is a setting that the manifests leave out
    return found


class Probes(threading.Thread):
    """The kubelet's probes of pods, at their times; `missed`: those that failed."""

    def __init__(self, pods):
        super().__init__(daemon=True)
        self.pods, self.missed, self.done = pods, [], threading.Event()
        self.start()

    def run(self):
        period = self.pods[0].container["readinessProbe"]["periodSeconds"]
        while not self.done.wait(period):
            for pod in list(self.pods):
                self.missed += [
                    (pod.name, name)
                    for name in ("livenessProbe", "readinessProbe")
                    if not pod.probe(name) and pod in self.pods
                ]


def test_without_a_version_the_container_ends_with_status_3_so_that_it_is_started_again(claim, pods):
    """Its restartPolicy is Always."""
    docker("volume", "create", BUCKET)
    try:
        pods.append(Pod(pod_of("volume"), {"models": BUCKET}))
        assert docker("wait", pods[0].name).strip() == "3"
    finally:
        docker("rm", "--force", pods.pop().name)
        docker("volume", "rm", "--force", BUCKET)


def test_the_container_writes_to_its_temporary_folder_alone(claim, pods):
    """Not to its root folder, even as root."""
    pods.append(Pod(pod_of("volume"), claim))
    pods[0].start()

    for user, folder, writable in ((0, "/", False), (10001, "/app/models", False), (10001, "/tmp", True)):
        command = ["docker", "exec", f"--user={user}", pods[0].name, "touch", f"{folder}/new"]
        done = subprocess.run(command, capture_output=True, text=True)
        assert (done.returncode == 0) == writable, (folder, done.stderr)


def test_a_rolling_update_under_load_fits_the_probes_and_loses_nothing(claim, pods):
    """Each old pod ends after a new one is ready: maxSurge is 1, maxUnavailable 0."""
    spec = pod_of("volume")
    drain = next(int(one["value"]) for one in spec["containers"][0]["env"] if one["name"] == "DRAIN_SECONDS")
    assert drain > SPREAD_SECONDS
    for _ in range(rendered("volume")["Deployment", "serve"]["spec"]["replicas"]):
        pods.append(Pod(spec, claim))
        pods[-1].start()
    ready, draw = list(pods), random.Random(1)
    load, probes = Load(judge(pods[0]), 1), Probes(ready)
    load.start("service", lambda: draw.choice(ready).port, 4)
    try:
        assert not load.settle()
        for old in list(ready):
            pods.append(Pod(spec, claim))
            pods[-1].start()
            ready.append(pods[-1])
            gone = threading.Timer(SPREAD_SECONDS, ready.remove, [old])
            gone.start()
            took, status = old.stop()
            gone.join()
            assert (status, took < spec["terminationGracePeriodSeconds"]) == (0, True)
        assert not load.settle()
    finally:
        probes.done.set()
        load.stop()
        probes.join()

    counts, allowed, _, _ = load.take()
    assert counts["right"] == counts["sent"] > 0, (counts, load.examples)
    assert allowed == 0
    # One that was asked to end says at once that it is not ready.
    assert {pod for pod, name in probes.missed if name == "livenessProbe"} == set(), probes.missed
    assert {pod for pod, _ in probes.missed} <= {one.name for one in pods[:2]}


def test_a_killed_container_is_started_again_and_only_what_it_had_is_lost(claim, pods):
    spec = pod_of("volume")
    pods += [Pod(spec, claim), Pod(spec, claim)]
    for one in pods:
        one.start()
    ready, draw = list(pods), random.Random(2)
    load = Load(judge(pods[0]), 2)
    load.start("service", lambda: draw.choice(ready).port, 4)
    try:
        assert not load.settle()
        with load.paused("service", wait=False):
            load.killed(group="service")
            ready.remove(pods[0])
            docker("kill", pods[0].name)
        assert not load.settle()
        docker("start", pods[0].name)
        pods[0].start()
        ready.append(pods[0])
        assert not load.settle()
    finally:
        load.stop()

    counts, allowed, _, _ = load.take()
    assert counts["right"] + counts["killed"] == counts["sent"] > 0, (counts, load.examples)
    assert counts["killed"] <= allowed <= 4


RCLONE = """
FROM python:3.11-slim
RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends rclone >/dev/null
ENTRYPOINT ["rclone"]
"""


def test_the_init_container_fetches_the_models_and_the_service_starts_from_them(claim, pods):
    """Debian's rclone stands in for rclone's own image, and a WebDAV server for the bucket."""
    subprocess.run(["docker", "build", "-q", "-t", "passfail-rclone", "-"], input=RCLONE, text=True, check=True,
                   stdout=subprocess.DEVNULL)  # fmt: skip
    pod = pod_of("object-storage")
    (fetch,) = pod["initContainers"]
    assert fetch["envFrom"] == [{"secretRef": {"name": "object-storage"}}]
    secret = {"RCLONE_CONFIG_MODELS_TYPE": "webdav", "RCLONE_CONFIG_MODELS_URL": "http://bucket:8080",
              "RCLONE_CONFIG_MODELS_VENDOR": "other", "BUCKET": "models"}  # fmt: skip
    # The kubelet expands $(NAME) in arguments.
    fetch |= {"image": "passfail-rclone", "args": [one.replace("$(BUCKET)", secret["BUCKET"]) for one in fetch["args"]]}
    docker("network", "create", NETWORK)
    there = [f"--network={NETWORK}", "--network-alias=bucket", f"--volume={MODELS}:/data/models:ro"]
    serve = ["passfail-rclone", "serve", "webdav", "/data", "--addr", ":8080"]
    bucket = docker("run", "--detach", *there, *serve).strip()
    docker("volume", "create", BUCKET)
    try:
        # The kubelet lets the pod's fsGroup write into an emptyDir; a volume of Docker's is root's.
        docker("run", "--rm", f"--volume={BUCKET}:/models", "--entrypoint=sh", "passfail-rclone", "-c",
               f"chgrp {pod['securityContext']['fsGroup']} /models && chmod 2775 /models")  # fmt: skip
        environment = [f"--env={name}={value}" for name, value in secret.items()]
        until(lambda: "started" in logs(bucket).lower())
        docker("run", "--rm", f"--network={NETWORK}", *environment, *arguments(pod, fetch, {"models": BUCKET}))
        pods.append(Pod(pod, {"models": BUCKET}))
        pods[0].start()
        load = Load(judge(pods[0]), 3)
        load.start("service", lambda: pods[0].port, 2)
        assert not load.settle()
        load.stop()
        assert load.take()[0]["wrong"] == 0
        assert pods[0].stop()[1] == 0
    finally:
        for one in [bucket, *(one.name for one in pods)]:
            docker("rm", "--force", one)
        pods.clear()
        docker("volume", "rm", "--force", BUCKET)
        docker("network", "rm", NETWORK)


def logs(container):
    done = subprocess.run(["docker", "logs", container], capture_output=True, text=True, cwd=ROOT)
    return done.stdout + done.stderr
