"""The page of benchmarks says of each fault of make chaos what happens, and what it cost."""

import re

import pytest

from bench import containers, faults
from tests.support import ROOT

PAGE = (ROOT / "docs" / "explanation" / "benchmarks.md").read_text()


@pytest.mark.parametrize("causes", [faults.FAULTS, containers.FAULTS], ids=["processes", "containers"])
def test_each_fault_is_explained_by_its_functions_first_line_and_was_measured(causes):
    for name, cause in causes.items():
        assert f"\n| {name} | {cause.__doc__.splitlines()[0].rstrip('.')} |\n" in PAGE
        assert re.search(rf"\n\| {name} \| \d", PAGE) or name == "a lossy network to a container", name
