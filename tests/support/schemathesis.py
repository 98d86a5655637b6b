"""schemathesis, with all its checks; schemathesis.toml has what the description can't say."""

import os
import subprocess
import sys
from pathlib import Path

import schemathesis
from schemathesis.config import SchemathesisConfig
from schemathesis.engine import events, from_schema

from tests.support import ROOT

SETTINGS = ROOT / "tests" / "contract" / "schemathesis.toml"
schemathesis.serializer.alias("application/jsonlines", "text/plain")


@schemathesis.hook
def filter_case(context, case):
    """Leave out a number in place of a CSV: as text it is a CSV of one row and one column."""
    return case.media_type != "text/csv" or isinstance(case.body, str | bytes)


def findings(app, examples):
    """The findings of schemathesis in an application, in this process, without a socket."""
    config = SchemathesisConfig.from_path(SETTINGS)
    config.projects.override.generation.update(max_examples=examples)
    config.projects.override.phases.update(phases=["examples", "coverage", "fuzzing"])
    schema = schemathesis.openapi.from_wsgi("/openapi.json", app, config=config)
    found, cases = [], 0
    for event in from_schema(schema).execute():
        if isinstance(event, events.ScenarioFinished):
            checks = [check for some in event.recorder.checks.values() for check in some if check.failure_info]
            found += [f"{event.recorder.label}: {check.failure_info.failure}" for check in checks]
            cases += len(event.recorder.cases)
        elif isinstance(event, events.NonFatalError | events.FatalError):
            found.append(str(event))
    assert cases > 500
    return found


def run(address, folder, *more):
    """Ask a live service, by the command line, in all phases."""
    command = [Path(sys.executable).with_name("schemathesis"), "--config-file", SETTINGS]
    command += ["run", f"{address}/openapi.json", *more]
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "SCHEMATHESIS_HOOKS": __name__}  # for the alias above
    done = subprocess.run(command, capture_output=True, text=True, timeout=1800, cwd=folder, env=environ)
    assert done.returncode == 0, done.stdout[-6000:]
