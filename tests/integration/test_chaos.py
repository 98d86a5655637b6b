"""make chaos fails on a service that answers wrongly, and passes one that does not."""

import pytest

from bench.chaos import run
from bench.inside import MUTANTS
from bench.processes import running

# These test the command: `make test` breaks a service in other tests.
pytestmark = pytest.mark.heavy
SECONDS = 300  # at most: a run ends with the first wrong answer


def broken(models, folder, seconds, *faults, only=("asgi",), **settings):
    """The rows of the table, of one service of each worker class with two versions."""
    templates = [models / "hours" / "1", models / "study_hours" / "1"]
    with running(folder, templates, 1, only, **settings) as (load, found, _):
        return run(load, {name: found[name] for name in faults}, seconds, stop_early=True), load.examples


def test_a_service_that_answers_rightly_passes(models, tmp_path):
    faults = ("nothing", "kill workers", "pin and roll back")

    table, examples = broken(models, tmp_path, 0, *faults, only=("asgi", "gthread"))

    assert not examples
    assert [one.name for one in table] == list(faults)
    assert not any(one.failed for one in table), table
    assert all(one.reached for one in table)


@pytest.mark.parametrize("mutant", sorted(MUTANTS))
def test_a_faulty_service_fails(models, tmp_path, mutant):
    faults = ["pin and roll back"] if mutant == "stale_version" else ["nothing"]

    table, examples = broken(models, tmp_path, SECONDS, *faults, CHAOS_MUTANT=mutant)

    assert table[-1].failed, table
    assert table[-1].counts["wrong"] + table[-1].counts["lost"] > 0, table
    assert examples


def test_a_fault_that_is_not_reached_fails(models, tmp_path):
    with running(tmp_path, [models / "hours" / "1"], 1, ("asgi",)) as (load, _, _):

        def unreached():
            raise RuntimeError("nothing happened")

        (row,) = run(load, {"unreached": unreached}, 0)

    assert row.missed == "RuntimeError: nothing happened"
    assert row.failed
