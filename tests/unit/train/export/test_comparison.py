"""The comparison of an export with the table: rows as text, through the service's decoders."""

import pytest
import torch
from msgspec import structs

from passfail.manifest import Column, Example, Parameters
from tests.support.tables import WRITTEN, manifest_of, read, text
from train.export.checkpoint import Raw
from train.export.comparison import text_faults
from train.export.examples import examples, instances
from train.model.links import LINKS
from train.model.logistic import LogisticModel, parameters
from train.table.raw import raw_rows
from train.table.schema import Reading


@pytest.mark.parametrize("kind", WRITTEN)
def test_rows_of_a_table_are_read_alike_by_every_decoder(tmp_path, kind):
    content, options = WRITTEN[kind]
    table = read(tmp_path, content, **options)
    raw = raw_rows(tmp_path / "t.csv", Reading(**options), table)
    columns = tuple(Column(index, None, 0.0, 1.0, 0.0, 0.0) for index in range(len(table.features)))
    example = Example(instances(table.features, table.x)[0], 0.0, 0.5, table.target.labels[0])
    parts = {"parameters": Parameters(0.0, columns), "examples": (example,)}
    manifest = structs.replace(manifest_of(table, "fold_case" in options), **parts)

    kept = [Raw(one.cells, one.outcome, bool(table.y[one.row]), 0.0, table.target.labels[0]) for one in raw]
    assert list(text_faults(manifest, kept)) == []


@pytest.mark.parametrize("link", LINKS)
def test_the_recorded_examples_of_every_link_are_those_of_the_closed_form(tmp_path, link):
    table = read(tmp_path, text())
    model = LogisticModel(table.features, link=link)
    model.beta = torch.linspace(-1.2, 0.7, len(model.beta), dtype=torch.float64)
    recorded = examples(table.features, table.target, 0.5, model, table.x)
    parts = {"link": link, "parameters": parameters(model), "examples": recorded}

    assert list(text_faults(structs.replace(manifest_of(table), **parts), ())) == []
