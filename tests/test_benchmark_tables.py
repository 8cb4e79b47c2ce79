"""Tables of the benchmark in the paper's layout, and the plot of differences: right figures, and harmless names."""

import csv
import dataclasses
import io
import json
import math
import re

import numpy as np
import pytest

from syncgan.cli.console import table_lines
from syncgan.evaluation.benchmark.difference_plots import draw_differences
from syncgan.evaluation.benchmark.tables import (
    PAPER_ARMS,
    arm_table,
    csv_table,
    difference_table,
    json_table,
    latex_tables,
    markdown_tables,
    mean_table,
)
from syncgan.evaluation.plots import pixels_of
from syncgan.evaluation.statistics import Outcomes, analyse

HOSTILE = "=1+1|<b>_\\$x$\n&%"
SHARES = {"Orig": 0.7, "Oracle": 0.9, "Orig+Prop": 0.8, "GAN": 0.4, "MixUp": 0.7}


def outcomes(arms=SHARES, splits=5, items=120):
    """Make arms that are right about a given share of the items, the same in every split but for chance."""
    generator = np.random.default_rng(0)
    labels = [generator.integers(0, 2, items) for _ in range(splits)]
    predicted = {
        arm: [0.1 + 0.8 * np.eye(2)[np.where(generator.random(items) < share, label, 1 - label)] for label in labels]
        for arm, share in arms.items()
    }
    return Outcomes(labels, predicted)


@pytest.fixture(scope="module")
def analysis():
    own = outcomes()
    return analyse(
        {"ResNet-18": own, "small CNN": own}, resamples=100, t_test_items=(90, 30), oracle_images_per_class=24
    )


@pytest.fixture(scope="module")
def hostile():
    own = outcomes({"Orig": 0.7, HOSTILE: 0.75}, splits=2)
    return analyse({HOSTILE: own}, resamples=20)


def test_means_stand_in_the_papers_layout(analysis):
    table = mean_table(analysis)
    assert table.header == ("classifier", "Orig", "Orig+Prop", "GAN", "Oracle", "MixUp")
    assert [row[0] for row in table.rows] == ["ResNet-18", "small CNN"]
    found = next(cell.mean for cell in analysis.cells if cell.arm == "Orig+Prop")
    expected = f"{100 * found.estimate:.1f} ({100 * found.low:.1f} to {100 * found.high:.1f})"
    assert table.rows[0][2] == expected
    assert PAPER_ARMS[:4] == ("Orig", "Orig+Prop", "Orig+Trad", "Orig+Trad+Prop")


def test_differences_have_verdicts_and_the_number_of_comparisons(analysis):
    table = difference_table(analysis)
    assert [row[1] for row in table.rows] == ["Orig+Prop", "GAN", "Oracle", "MixUp"] * 2
    verdicts = {row[1]: row[3] for row in table.rows}
    assert verdicts["Oracle"] == verdicts["Orig+Prop"] == "helps"
    assert verdicts["GAN"] == "hurts"
    assert "8 comparisons" in table.explanation
    assert "0.4 would be called" in table.explanation
    assert table.header[-3:] == ("p (corrected t)", "share of the oracle's gain", "worth real images a class")


def test_columns_of_what_was_not_asked_for_are_left_out():
    plain = analyse({"net": outcomes({"Orig": 0.7, "Prop": 0.6})}, resamples=20)
    assert difference_table(plain).header[-1] == "p (Holm)"


def test_an_arm_that_one_classifier_lacks_is_an_empty_cell():
    both = {"a": outcomes({"Orig": 0.7, "Prop": 0.6}), "b": outcomes({"Orig": 0.7})}
    assert mean_table(analyse(both, resamples=20)).rows[1][2] == ""


def test_a_loss_is_shown_as_it_is_and_said_to_be_better_when_lower():
    found = analyse({"net": outcomes()}, score="brier", resamples=50)
    table = mean_table(found)
    assert re.fullmatch(r"0\.\d{3} \(0\.\d{3} to 0\.\d{3}\)", table.rows[0][1])
    assert "lower is better" in table.explanation
    assert {row[1]: row[3] for row in difference_table(found).rows}["Oracle"] == "helps"


def test_csv_gives_every_figure_unrounded(analysis):
    rows = list(csv.DictReader(io.StringIO(csv_table(analysis))))
    assert len(rows) == 10
    compared = {(one.classifier, one.arm): one for one in analysis.comparisons}
    for row in rows:
        if row["arm"] == "Orig":
            assert row["verdict"] == row["difference_low"] == ""
        else:
            one = compared[row["classifier"], row["arm"]]
            assert float(row["difference_low"]) == one.difference.low
            assert float(row["t_test_p_value"]) == one.t_test.p_value
            assert row["verdict"] == one.verdict


def test_json_is_strict_and_complete(analysis):
    content = json.loads(json.dumps(json_table(analysis), allow_nan=False))
    assert content["number_of_comparisons"] == 8
    assert content["comparisons"][0] == json.loads(json.dumps(dataclasses.asdict(analysis.comparisons[0])))
    single = analyse({"net": outcomes(splits=1)}, resamples=20)
    assert math.isnan(single.comparisons[0].difference.low)
    assert json.loads(json.dumps(json_table(single), allow_nan=False))["comparisons"][0]["difference"]["low"] is None


@pytest.mark.parametrize("splits", [1, 2])
def test_too_few_splits_still_make_tables_without_intervals(splits):
    few = analyse({"net": outcomes(splits=splits)}, resamples=20)
    assert "(" not in mean_table(few).rows[0][1]
    assert "Intervals and verdicts need 3 splits" in mean_table(few).explanation
    assert difference_table(few).rows[0][3] == "no evidence (too few splits)"
    assert re.fullmatch(r"[+-]\d+\.\d", arm_table(few).rows[1][3])
    assert draw_differences(few).startswith(b"\x89PNG")


def test_the_table_for_a_terminal_has_the_figures_of_the_others(analysis):
    rows = {(row[0], row[1]): row for row in arm_table(analysis).rows}
    means, differences = mean_table(analysis), difference_table(analysis).rows
    shown = dict(zip(means.header[1:], means.rows[0][1:], strict=True))
    assert {arm: rows["ResNet-18", arm][2] for arm in SHARES} == shown
    for classifier, arm, difference, verdict, detectable, *_ in differences:
        assert rows[classifier, arm][3:] == (difference, verdict, detectable)


def test_a_terminal_shows_names_as_they_are_and_no_markup(hostile):
    text = "\n".join(table_lines(arm_table(hostile)))
    assert "<b>_" in text
    assert "&lt;" not in text
    assert "\\_" not in text


def test_hostile_names_do_no_harm_in_a_spreadsheet(hostile):
    rows = list(csv.DictReader(io.StringIO(csv_table(hostile))))
    assert rows[1]["arm"] == "'" + HOSTILE
    assert rows[1]["classifier"].startswith("'=")


def test_hostile_names_do_no_harm_in_markdown(hostile):
    lines = [line for line in markdown_tables(hostile).splitlines() if line.startswith("|")]
    widths = {len(re.findall(r"(?<!\\)\|", line)) for line in lines}
    assert widths == {4, 8}  # two tables: no name has broken out of its cell or of its line
    assert "<b>" not in markdown_tables(hostile)
    assert len(lines) == 6


def test_hostile_names_do_no_harm_in_latex(hostile):
    text = latex_tables(hostile)
    body = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert [len(re.findall(r"(?<!\\)&", line)) for line in body] == [2, 2, 6, 6]
    assert not re.findall(r"(?<!\\)[%#$_]", text)
    assert text.count(r"\textbackslash{}") == 4  # in both tables: a classifier, an arm
    assert text.count(r"\begin{table}") == text.count(r"\end{table}") == 2
    opened = re.sub(r"\\[{}]", "", text)
    assert opened.count("{") == opened.count("}")


def test_the_plot_fits_a_phone_and_grows_with_its_rows(analysis, hostile):
    tall, short = pixels_of(draw_differences(analysis)), pixels_of(draw_differences(hostile))
    assert tall.shape[1] == short.shape[1] == 680
    assert tall.shape[0] > short.shape[0]


def test_the_plot_shows_verdicts_in_their_colours(analysis):
    pixels = pixels_of(draw_differences(analysis)).reshape(-1, 3)
    for colour in ((0, 158, 115), (213, 94, 0), (85, 85, 85)):
        assert (pixels == colour).all(axis=1).sum() > 100


def test_the_same_analysis_gives_the_same_picture(hostile):
    assert draw_differences(hostile) == draw_differences(hostile)


def test_a_second_baseline_has_a_table_of_its_own_everywhere(analysis):
    beyond = analyse({"ResNet-18": outcomes({"Orig": 0.7, "Prop": 0.8})}, baseline="Prop", resamples=50, oracle=None)
    text = markdown_tables(analysis, beyond=beyond, notes=["one | note"])
    assert text.index("**Difference to Orig**") < text.index("**Difference to Prop**") < text.index("- one \\| note")
    assert latex_tables(analysis, beyond=beyond).count(r"\begin{table}") == 3
    rows = list(csv.DictReader(io.StringIO(csv_table(analysis, beyond=beyond))))
    assert len(rows) == 10 + 1
    assert (rows[-1]["arm"], rows[-1]["baseline"]) == ("Orig", "Prop")
    content = json_table(analysis, beyond=beyond, notes=["a"])
    assert content["beyond_traditional"]["comparisons"][0]["baseline"] == "Prop"
    assert content["notes"] == ["a"]
