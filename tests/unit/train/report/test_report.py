"""The model card and the report: every section, no request, every text escaped."""

import ast
import base64
import hashlib
import json
import re
import shlex
from html.parser import HTMLParser

import msgspec
import pytest

from passfail.manifest import Feature, decode
from passfail.measurements import Bin, Figures, Group, Share
from train.evaluation.coefficients import fit_warnings
from train.evaluation.metrics import Evaluation, Threshold
from train.model.terms import values
from train.report import report

VOID = {"meta", "br", "hr", "img", "input", "link"}
SECTIONS = ["data", "coefficients", "quality", "charts", "fit", "certificate", "limits", "start", "versions"]
FIGURES = ["roc", "precision", "lift", "calibration", "scores", "threshold", "loss"]
NASTY = "<img src=x onerror=alert(1)>&\"'|`*_[x](javascript:0)\n# h"


class Page(HTMLParser):
    """The ids, attributes and text of a page; raises if a tag is not closed or closed twice."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.ids, self.attributes, self.text = [], set(), [], [], ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.handle_startendtag(tag, attributes)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.add(tag)
        self.attributes += attributes
        self.ids += [value for name, value in attributes if name == "id"]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


@pytest.fixture
def manifest(models):
    return decode((models / "admissions/1/manifest.json").read_bytes())


@pytest.fixture
def evaluation(manifest):
    """An Evaluation made by hand, with figures that occur nowhere else."""
    return Evaluation(
        how="7-fold cross-validation",
        share=127 / 400,
        repeated=0.0,
        metrics=msgspec.structs.replace(manifest.training.metrics, log_loss=0.12345, auc=0.98765),
        calibration=(Bin(0.1, 0.2, 40, 6, 0.1515, 0.0707, 0.2929),),
        roc=((0.0, 0.0), (0.2525, 0.7171), (1.0, 1.0)),
        negatives=(30, *[0] * 18, 10),
        positives=(4, *[0] * 18, 16),
        thresholds=(Threshold(0.25, 0.5, 1.0, 0.6, 20, 0), Threshold(0.5, 0.61616, 0.81818, 0.7, 10, 4)),
        losses=(0.6931, 0.6161, 0.5731),
        auc={"gre": 0.6161, "gpa": 0.6262, "rank": 0.6363},
        auc_interval=(0.87654, 0.99321),
        distributions={"gre": (0.25, 0.75), "gpa": (1.0,), "rank": (0.5, 0.5)},
        inflation={"gre": 1.1543, "gpa": 1.2321},
    )


def test_every_section_has_its_numbers(manifest, evaluation):
    page = Page(report.html(manifest, evaluation))

    assert [name for name in page.ids if name in SECTIONS] == SECTIONS
    assert [name for name in page.ids if name in FIGURES] == FIGURES
    for said in (
        "admissions.csv", "220 to 800", "1, 2, 3, 4", "refused", "0.616",  # data
        "-3.98998", "1.13995", "-0.675443", "-1.29575", "0.5089", "0.0328", "458.5175", "reference level of rank",
        "7-fold cross-validation", "0.1235", "0.5731", "0.6250", "0.8182", "0.0707 ",  # quality
        manifest.training.data_sha256, manifest.files["model.onnx"].sha256, "400 training",
        "5000 in the training range", "onnx reference",
        "0.877 to 0.993", "1.15", "1.23", "on 5 degrees of freedom, p < 0.0001", "pseudo-R\u00b2: 0.0829",
        "solver newton", "torch 2.13.0", "PyTorch has deprecated it", "about 31.8%", "answer is yes, else no",
    ):  # fmt: skip
        assert said.strip() in page.text
    drawn = dict.fromkeys(value for name, value in page.attributes if name in ("points", "d", "cx", "height"))
    assert "0,0 0.2525,0.7171 1,1" in drawn  # ROC
    assert "M0.1515 0.0707V0.2929" in drawn  # Wilson's interval
    assert "0,1 0.5,0.3583 1,0" in drawn  # loss, from the least to the most
    assert "0.5" in drawn  # the highest bar of the scores fills its half
    assert "0.125" in drawn  # 4 of 20 against 16 of 20
    assert "M0.5 0V1" in drawn  # the threshold
    # 40 negatives and 20 positives: of 24.44 answered positive 14.34 are right, 1.76 times the share of all
    assert "0.7171,0.5868 1,0.3333" in drawn  # precision against recall
    assert "0.4074,1 1,0.5681" in drawn  # lift, as a share of the highest
    cells = re.findall(r'id="(?:true|false)(?:Positives|Negatives)">(\d+)', report.html(manifest, evaluation))
    assert cells == ["16", "4", "10", "30"]


def test_precision_ends_where_no_row_is_answered_positive(manifest, evaluation):
    """A threshold of 0.9 that no row reaches has no precision, not a precision of 1."""
    none = Threshold(0.9, 1.0, 0.0, 0.68, 0, 127)
    page = Page(report.html(manifest, msgspec.structs.replace(evaluation, thresholds=(*evaluation.thresholds, none))))

    drawn = [value.strip() for name, value in page.attributes if name == "points"]
    assert "0.25,0.5 0.5,0.6162" in drawn  # precision
    assert "0.25,1 0.5,0.8182 0.9,0" in drawn  # recall
    assert "0.9none0.0000" in page.text.replace("\n", "")
    used = (msgspec.structs.replace(manifest, threshold=0.9), msgspec.structs.replace(evaluation, thresholds=(none,)))
    for text in (Page(report.html(*used)).text, report.card(*used)):
        assert "precision undefined: no row is answered positive, recall 0.0" in " ".join(text.split())


def test_the_thresholds_in_numbers_have_the_one_in_use(manifest, evaluation):
    """Among a hundred, of which each tenth is shown, and whatever it is."""
    some = [Threshold(percent / 100, 0.5, 0.5, 0.6, 20, 5) for percent in range(1, 100)]
    used = Threshold(0.41372, 0.5, 0.5, 0.6, 20, 5)
    changed = msgspec.structs.replace(
        evaluation, thresholds=tuple(sorted([*some, used], key=lambda row: row.threshold))
    )

    page = Page(report.html(msgspec.structs.replace(manifest, threshold=used.threshold), changed))

    assert "0.4137 (in use)" in page.text


def test_the_card_has_the_same_numbers(manifest, evaluation):
    card = report.card(manifest, evaluation)

    for said in (
        "| gre | numeric | 220 to 800 | refused |",
        "| rank=2 | -0.675443 | 0.31649 | -2.134 | 0.0328 | -1.29575 | -0.0551346 | 0.5089 |",
        "| log loss | 0.1235 | 0.5731 | 0.6250 |",
        "At the threshold 0.5: precision 0.6162, recall 0.8182, 10 false positives, 4 false negatives.",
        "## Limits of use",
        "| measured | onnx | torchscript | torch.export | onnx reference | eager |",
        "| logits whose bits differ from the closed form's | 0 | 0 | 0 | 0 | 0 |",
    ):
        assert said in card


@pytest.mark.parametrize(
    ("class_weight", "supposed"),
    [("", "about 2%"), ("balanced", "about 50%"), ("1,9", "about 15.5%"), ("99,1", "about 0.0206%")],
)
def test_the_share_is_that_of_the_weights(manifest, evaluation, class_weight, supposed):
    """Rows of a third positives may count for 2 %, which the probabilities then suppose."""
    options = {**manifest.training.options, "class_weight": class_weight}
    weighted = msgspec.structs.replace(manifest, training=msgspec.structs.replace(manifest.training, options=options))
    card = report.card(weighted, msgspec.structs.replace(evaluation, share=0.02))

    assert "Positive (1): 127 (31.8 %)" in card
    assert "| log loss | 0.1235 | 0.5731 | 0.0980 |" in card
    assert supposed in card


def test_the_plot_spans_what_each_column_does_over_its_range(manifest, evaluation):
    page = Page(report.html(manifest, evaluation))
    labels = [value for name, value in page.attributes if name == "aria-label"]

    assert "gre: 1.31, from 0.0697 to 2.56" in labels  # 0.00226443 * (800 - 220)
    assert "rank=2: -0.675, from -1.3 to -0.0551" in labels
    bars = [
        re.fullmatch(r"left:([\d.]+)%;width:([\d.]+)%", value) for name, value in page.attributes if name == "style"
    ]
    ends = [(float(bar[1]), float(bar[1]) + float(bar[2])) for bar in bars if bar]
    assert len(ends) == 5
    assert min(left for left, _ in ends) == 0
    assert max(right for _, right in ends) == pytest.approx(100, abs=0.02)


def test_the_plot_has_the_largest_effects_and_says_so(manifest, evaluation, monkeypatch):
    monkeypatch.setattr(report, "EFFECTS", 2)
    page = Page(report.html(manifest, evaluation))

    labels = [value.split(": ") for name, value in page.attributes if name == "aria-label"]
    drawn = [term for term, *effect in labels if effect]
    assert drawn == ["rank=4", "gpa"]
    assert "The plot has the 2 largest." in page.text
    monkeypatch.undo()
    assert "largest." not in Page(report.html(manifest, evaluation)).text


def test_a_penalised_fit_has_estimates_alone(manifest, evaluation):
    """It has no standard errors, and the ratio of its likelihoods is not chi-squared."""
    none = dict.fromkeys(("standard_error", "z", "p", "lower", "upper"))
    found = manifest.training.statistics
    shrunk = tuple(msgspec.structs.replace(c, **none) for c in found.coefficients)
    training = msgspec.structs.replace(
        manifest.training, statistics=msgspec.structs.replace(found, coefficients=shrunk)
    )

    text = Page(report.html(msgspec.structs.replace(manifest, training=training), evaluation)).text

    said = text.split("Coefficients")[1].split("Predictive performance")[0]
    assert "a penalty shrinks the estimates" in said
    for word in ("std. error", "95 %", "Wald", "Likelihood-ratio", "pseudo"):
        assert word not in said


def test_what_was_said_of_its_use_stands_before_its_limits(manifest, evaluation):
    said = {
        "owner": "The admissions office",
        "intended_use": "To plan interviews.",
        "out_of_scope": "To refuse anyone.",
    }
    told = msgspec.structs.replace(manifest, arguments={**manifest.arguments, **said})

    page, card = Page(report.html(told, evaluation)).text, report.card(told, evaluation)

    for words, text in zip(("Owner", "Intended use", "Out of scope"), said.values(), strict=True):
        assert f"{words}: {text}" in page
        assert f"{words}: {text}" in card
    assert "Owner" not in report.card(manifest, evaluation)


def test_figures_by_group_are_a_table_for_each_column(manifest, evaluation):
    share = Share(0.25, 0.125, 0.5)
    group = Group("sex", "f", 466, share, 0.4198, 0.0101, share, Share(0.4163, 0.3652, 0.4692), None, share)
    groups = (group, *(msgspec.structs.replace(group, column=NASTY, value=f"{n}{NASTY}") for n in range(2)))
    told = msgspec.structs.replace(manifest, groups=groups)

    text, card = report.html(told, evaluation), report.card(told, evaluation)

    page = Page(text)
    assert len(re.findall("<table>", text.split('id="groups"')[1].split("</section>")[0])) == 2
    for said in ("f4660.4200.250\n(0.125 to 0.500)0.0100.250", "0.416\n(0.365 to 0.469)none0.250", f"1{NASTY}"):
        assert said in page.text
    assert "| f | 466 | 0.420 | 0.250 \\(0.125 to 0.500\\) | 0.010 |" in card
    assert "img" not in page.tags
    assert "not compared between groups" in report.card(manifest, evaluation)
    assert "not compared between groups" not in page.text + card


def test_it_says_how_to_ask_the_model(manifest):
    page = Page(report.html(manifest, None)).text

    row = dict(manifest.examples[1].instance)
    asked = re.search(r"-d (.*) localhost", page)[1]
    assert json.loads(shlex.split(asked)[0]) == row
    assert ast.literal_eval(re.search(r"predict\(\[(.*)\]\)", page)[1]) == row


def test_nothing_is_loaded_and_one_script_run(manifest, evaluation):
    text = report.html(manifest, evaluation)
    page = Page(text)

    [script] = re.findall(r'<script type="module">(.*?)</script>', text, re.S)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'" in text
    assert not re.search(r"https?:|url\(|@import|\bfetch\(", text)
    assert page.tags.isdisjoint({"link", "img", "iframe", "object", "base", "form"})
    assert not {name for name, _ in page.attributes} & {"src", "href", "xlink:href", "srcset", "action"}
    assert not [name for name, _ in page.attributes if name.startswith("on")]


def nasty(manifest):
    """The manifest of a table whose names and levels hold HTML and Markdown."""
    rename = msgspec.structs.replace
    features = [
        rename(f, name=f"{f.name}{NASTY}", levels=tuple(v + NASTY for v in f.levels)) for f in manifest.features
    ]
    found = manifest.training.statistics
    found = rename(
        found,
        coefficients=tuple(rename(c, term=c.term + NASTY) for c in found.coefficients),
        references={NASTY: NASTY},
        separation="quasi",
        separating=(NASTY,),
    )
    training = rename(manifest.training, data=NASTY, statistics=found, notes=(NASTY,), warnings=(NASTY,))
    return rename(
        manifest,
        features=tuple(features),
        target=rename(manifest.target, name=NASTY, values=("0" + NASTY, NASTY), labels=("no" + NASTY, NASTY)),
        training=training,
    )


def test_what_comes_from_the_table_is_escaped(manifest, evaluation):
    evaluation = msgspec.structs.replace(evaluation, how=NASTY)
    changed = nasty(manifest)
    page, card = Page(report.html(changed, evaluation)), report.card(changed, evaluation)

    assert "img" not in page.tags
    assert NASTY in page.text
    assert not re.search(r"(?<!\\)[<`*\[\]]", re.sub("`[A-Za-z0-9_.]+`", "", card))
    assert not re.search(r"^# h", card, re.M)
    rows = [line for line in card.splitlines() if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {5, 6, 7, 9}


def test_without_an_evaluation_it_says_why_there_are_no_curves(manifest):
    page, card = Page(report.html(manifest, None)), report.card(manifest, None)

    assert "charts" not in page.ids
    for text in (page.text, card):
        assert "There were too few rows to hold some out" in text
        assert "There were too few rows" in text.split("Limits of use")[1]


def test_what_has_no_finite_size_is_named(manifest):
    found = manifest.training.statistics
    none = dict.fromkeys(("estimate", "standard_error", "z", "p", "lower", "upper", "odds_ratio"))
    endless = [msgspec.structs.replace(c, **none, note="+infinite") for c in found.coefficients]
    found = msgspec.structs.replace(found, coefficients=tuple(endless), separation="complete", separating=("gre",))
    training = msgspec.structs.replace(manifest.training, statistics=found, converged=False)
    told = ("gpa is odd.", *fit_warnings("sgd stopped.", None, "logit"), *fit_warnings("It stopped.", found, "logit"))
    training = msgspec.structs.replace(training, warnings=told)
    page = Page(report.html(msgspec.structs.replace(manifest, training=training), None))

    assert page.text.count("+infinite") == 6
    warnings = page.text.split("Warnings")[1].split("Data")[0]
    for said in ("all rows are separated by gre", "sgd stopped.", "gpa is odd."):
        assert said in warnings
    assert "It stopped." not in warnings
    calm = msgspec.structs.replace(manifest, training=msgspec.structs.replace(manifest.training, warnings=()))
    assert "warnings" not in Page(report.html(calm, None)).ids


def test_a_fit_without_statistics_shows_its_slopes_in_the_tables_units(models):
    manifest = decode((models / "hours/1/manifest.json").read_bytes())
    assert manifest.training.statistics is None
    page = Page(report.html(manifest, None))

    column = manifest.parameters.columns[0]
    assert f"{column.weight / column.scale:.6g}" in page.text
    assert "no standard errors" in page.text
    assert "95 %" not in page.text


def test_missing_cells_and_many_levels():
    def said(**given):
        usual = {"name": "a", "kind": "numeric", "levels": (), "minimum": 0.0, "maximum": 1.0, "fill": 2.5}
        return report._missing(Feature(**{**usual, **given}))

    assert said(fill=None) == "refused"
    assert said() == said(missing="mean") == "becomes 2.5, the mean"
    assert said(missing="median") == "becomes 2.5, the median"
    assert said(missing="indicator") == "becomes 2.5, the mean, with a missing-value indicator column"
    assert said(kind="categorical", levels=("x", "y"), fill=1.0) == "becomes y, the most frequent"
    many = Feature("a", "categorical", tuple(map(str, range(20))), None, None, None)
    assert values(many).endswith("10, 11 and 8 more")


def test_the_same_model_gives_the_same_bytes(manifest, evaluation):
    for text in (report.html, report.card):
        assert text(manifest, evaluation) == text(decode(manifest.encode()), evaluation)


def test_every_number_of_the_certificate_is_shown(manifest):
    names = Figures.__struct_fields__
    figures = {e: Figures(*range(101 + 10 * i, 101 + 10 * i + len(names))) for i, e in enumerate(("onnx", "eager"))}
    proof = msgspec.structs.replace(manifest.certificate, engines=figures, exact=97, rows={"strange": 89})
    changed = msgspec.structs.replace(manifest, certificate=proof)

    numbers = {str(getattr(f, name)) for f in figures.values() for name in names} | {"97", "89"}
    for text in (report.html(changed, None), report.card(changed, None)):
        assert numbers <= set(re.findall(r"\d+", text))
        assert "marks it with stable: false" in text


def test_the_export_has_both_and_the_manifest_vouches_for_them(models):
    for home in ("hours", "study_hours", "admissions"):
        folder = models / home / "1"
        manifest = decode((folder / "manifest.json").read_bytes())
        assert set(manifest.files) == {path.name for path in folder.iterdir()} - {"manifest.json"}
        for name in (report.CARD, report.PAGE):
            data = (folder / name).read_bytes()
            assert (hashlib.sha256(data).hexdigest(), len(data)) == (
                manifest.files[name].sha256,
                manifest.files[name].bytes,
            )
        Page((folder / report.PAGE).read_text())
        card = (folder / report.CARD).read_text()
        assert re.findall("^---$", card, re.M) == ["---"] * 2  # the front matter, once
        assert json.loads(card.split("---")[1])["pipeline_tag"] == "tabular-classification"
        assert card.split("---\n")[2].startswith("# ")
