"""Several trainers, killed at any moment, leave no half export and lose none."""

import os
import subprocess
import sys
import time

from passfail.manifest import decode
from passfail.repository import read_manifest, read_verified, versions
from tests.support import ROOT
from train.export.publish import _publish, newest

# After a first version, two children at a time publish and publish, until each is killed at a random moment.
# Each prints what it has published.
KILLS = 15
TRAINERS = """
import os, random, signal, sys, time
from pathlib import Path
from passfail.manifest import decode
from train.export.publish import _publish

source, home = map(Path, sys.argv[1:3])
manifest = decode((source / "manifest.json").read_bytes())
files = {name: (source / name).read_bytes() for name in manifest.files}

def trainer():
    child = os.fork()
    if child == 0:
        while True:
            os.write(1, b"%d\\n" % _publish(home, manifest, files, None).version)
    return child

began = time.perf_counter()
os.write(1, b"%d\\n" % _publish(home, manifest, files, None).version)
took = time.perf_counter() - began
draw = random.Random(7)
running = [trainer(), trainer()]
for _ in range(int(sys.argv[3])):
    time.sleep(draw.uniform(0, 2 * took))  # the moment is the fault
    child = running.pop(draw.randrange(2))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    running.append(trainer())
for child in running:
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
"""


def whole(folder):
    """The number of a version, all of whose files are there and as its manifest says."""
    manifest = read_manifest(folder)
    read_verified(folder, manifest)
    return manifest.version


def test_killed_trainers_leave_whole_versions_only(models, tmp_path):
    home = tmp_path / "hours"
    home.mkdir()
    command = [sys.executable, "-c", TRAINERS, models / "hours" / "1", home, str(KILLS)]
    trainers = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    seen = 0
    while trainers.poll() is None:
        held = versions(home)
        assert len(held) >= seen
        if len(held) > seen:
            assert whole(home / str(held[-1])) == held[-1]
        seen = len(held)
        time.sleep(0.001)  # the processors are the trainers'
    said = [int(line) for line in trainers.stdout.read().split()]
    trainers.stdout.close()

    held = versions(home)
    assert trainers.returncode == 0
    assert len(set(said)) == len(said) > 0
    assert set(said) <= set(held)
    assert [whole(home / str(number)) for number in held] == held == list(range(1, len(held) + 1))


def test_what_a_killed_trainer_left_is_removed_a_day_later(models, tmp_path):
    source, home = models / "hours" / "1", tmp_path / "hours"
    manifest = decode((source / "manifest.json").read_bytes())
    files = {name: (source / name).read_bytes() for name in manifest.files}
    for name, age in [(".export-old", 86_500), (".export-running", 60)]:
        (home / name).mkdir(parents=True)
        (home / name / "model.onnx").write_bytes(b"half")
        os.utime(home / name, (time.time() - age,) * 2)

    _publish(home, manifest, files, None)

    assert sorted(path.name for path in home.iterdir()) == [".export-running", "1"]


def test_a_folder_whose_name_only_looks_like_a_number_is_no_version(tmp_path):
    for name in ("1", "2²", "³", "x"):
        (tmp_path / name).mkdir()

    assert newest(tmp_path) == 1
