"""make soak and make overload fail on a service that is broken, and pass one that is not."""

import asyncio
import os
import random
import re
import shutil
import subprocess
import sys
import time

import pytest

from bench import overload, soak
from bench.judge import Judge
from bench.load import right_answer
from passfail.repository import read_manifest
from tests.support import ROOT
from tests.support.service import service


def test_one_answer_that_differs_is_counted_as_wrong(models, tmp_path):
    if not shutil.which("wrk"):
        pytest.skip("wrk is not installed: what make soak compares is NOT tested")
    judge = Judge([read_manifest(models / "hours" / "1")])
    with service(models, MODEL_NAME="hours", **soak.SETTINGS) as (address, _):
        right = soak.script(judge, int(address.rpartition(":")[2]))
        found = []
        for text in (right, right.replace("status = 200", "status = 201", 1)):
            (tmp_path / "questions.lua").write_text(text)
            found.append(soak.load(address, tmp_path / "questions.lua", 3))

    assert soak.faults(found[0], [1.0, 1.0]) == []
    assert found[0]["right"] > 0
    assert found[1]["wrong"] > 0
    assert found[1]["right"] > found[1]["wrong"]


@pytest.mark.heavy
@pytest.mark.parametrize("mutant", ["", "growing_memory"])
def test_memory_that_grows_with_the_requests_is_found(models, tmp_path, mutant):
    if not shutil.which("wrk"):
        pytest.skip("wrk is not installed: what make soak measures is NOT tested")
    judge = Judge([read_manifest(models / "hours" / "1")])
    settings = soak.SETTINGS | {"MODEL_NAME": "hours", "CHAOS_MUTANT": mutant}
    with service(models, module="bench.inside", **settings) as (address, process):
        counts, found = soak.soak(address, process.pid, judge, tmp_path, 10_000)

    told = [line.split(" by ")[0] for line in soak.faults(counts, found)]
    assert told == (["the memory grew"] if mutant else [])


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("mutant", "found"),
    [("", {"right"}), ("flipped_verdict", {"right", "wrong"}), ("dropped_request", {"right", "lost"})],
)
def test_each_answer_of_an_overload_is_compared(models, mutant, found):
    judge = Judge([read_manifest(models / "hours" / "1")])
    asked = judge.question(random.Random(1), "predict, rows", (10,), plain=True)
    settings = {"MODEL_NAME": "hours", "WEB_CONCURRENCY": "1", "CHAOS_MUTANT": mutant}
    with service(models, module="bench.inside", **settings) as (address, _):
        port = int(address.rpartition(":")[2])
        connections = overload.Connections(port, asked, right_answer(judge, port, asked)[1])

        async def ask():
            outcomes, ends = set(), time.monotonic() + 300
            while not outcomes >= found and time.monotonic() < ends:  # the mutant waits for a second
                outcomes |= {await connections.ask() for _ in range(2000)}
            await connections.close()
            return outcomes

        assert asyncio.run(ask()) == found


@pytest.mark.heavy
@pytest.mark.parametrize(
    "command",
    [["soak", "--requests", "5000"], ["overload", "--seconds", "3", "--in-flight", "128"]],
    ids=lambda c: c[0],
)
def test_the_command_ends_with_status_1_where_a_verdict_in_a_thousand_is_wrong(command):
    if command[0] == "soak" and not shutil.which("wrk"):
        pytest.skip("wrk is not installed: the exit status of make soak is NOT tested")
    program = [sys.executable, ROOT / "bench" / f"{command[0]}.py", *command[1:]]
    environ = {**os.environ, "CHAOS_MUTANT": "flipped_verdict"}
    done = subprocess.run(program, env=environ, capture_output=True, text=True)

    assert done.returncode == 1
    assert re.search("answers were wrong|verdict", done.stderr)
