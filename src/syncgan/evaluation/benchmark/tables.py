"""An analysis as tables in the paper's layout (Tables 2 and 3): classifiers down, arms across.

The same two tables, means and paired differences, as Markdown and LaTeX for reading; every figure unrounded as CSV and
JSON for reckoning on.
"""

from __future__ import annotations

import csv
import dataclasses
import html
import io
import math
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from syncgan.data.safe_names import csv_cell
from syncgan.evaluation.figures import FactTable
from syncgan.evaluation.plots import plain
from syncgan.evaluation.statistics import Analysis, ArmScore, Comparison, Interval, Score, score_named
from syncgan.evaluation.statistics.bootstrap import LEAST_SPLITS
from syncgan.evaluation.statistics.comparison import shown

__all__ = [
    "PAPER_ARMS",
    "arm_table",
    "arms_in_order",
    "csv_table",
    "difference_table",
    "json_table",
    "latex_tables",
    "markdown_tables",
    "mean_table",
]

PAPER_ARMS = ("Orig", "Orig+Prop", "Orig+Trad", "Orig+Trad+Prop", "Prop", "GAN", "Orig+GAN", "Oracle")
"""Arms of the paper's tables in its order, then the oracle."""

_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    **{character: f"\\{character}" for character in "&%$#_{}"},
}


def arms_in_order(arms: Iterable[str]) -> tuple[str, ...]:
    """Return the arms in the paper's order, others behind them as they come.

    Examples
    --------
    >>> arms_in_order(["MixUp", "Prop", "Orig"])
    ('Orig', 'Prop', 'MixUp')
    """
    given = tuple(dict.fromkeys(arms))
    return tuple(arm for arm in PAPER_ARMS if arm in given) + tuple(arm for arm in given if arm not in PAPER_ARMS)


def mean_table(analysis: Analysis, score: Score | None = None) -> FactTable:
    """Return the table of means over splits with their 95 % intervals.

    Parameters
    ----------
    score : the score of the analysis, if it is one of your own.
    """
    how = score or score_named(analysis.score)
    arms = arms_in_order(analysis.arms)
    cells = {(cell.classifier, cell.arm): _mean_cell(cell, how) for cell in analysis.cells}
    rows = tuple((name, *(cells.get((name, arm), "") for arm in arms)) for name in analysis.classifiers)
    splits = sorted({cell.mean.splits for cell in analysis.cells})
    over = (
        f"{splits[0]} splits" if len(splits) == 1 else f"{splits[0]} to {splits[-1]} splits" if splits else "no split"
    )
    unit = " in percent" if how.percent else ""
    better = "" if how.higher_is_better else "; lower is better"
    few = f" Intervals and verdicts need {LEAST_SPLITS} splits." if splits and splits[0] < LEAST_SPLITS else ""
    explanation = f"Mean {how.title}{unit} over {over} with its 95 % interval{better}.{few}"
    return FactTable(f"Test {how.title}", ("classifier", *arms), rows, explanation)


def difference_table(analysis: Analysis, score: Score | None = None) -> FactTable:
    """Return the table of paired differences to the baseline, with verdicts.

    Columns of the t-test and of the oracle are there only if the analysis has them.
    """
    how = score or score_named(analysis.score)
    ordered = _ordered_comparisons(analysis)
    columns = [column for column in _columns(how) if column.is_needed is None or any(map(column.is_needed, ordered))]
    rows = tuple(tuple(column.cell(one) for column in columns) for one in ordered)
    header = tuple(column.title for column in columns)
    return FactTable(f"Difference to {analysis.baseline}", header, rows, _explanation(analysis, how))


def arm_table(analysis: Analysis, score: Score | None = None) -> FactTable:
    """Return means, differences and verdicts in one table, a line an arm: narrow enough for a terminal."""
    how = score or score_named(analysis.score)
    compared = {(one.classifier, one.arm): one for one in analysis.comparisons}
    rows = []
    for cell in sorted(analysis.cells, key=lambda cell: _place(analysis, cell)):
        one = compared.get((cell.classifier, cell.arm))
        judged = (_interval(one.difference, how, signed=True), _verdict_cell(one)) if one else ("", "")
        detectable = shown(one.difference.detectable, how) if one else ""
        rows.append((cell.classifier, cell.arm, _mean_cell(cell, how), *judged, detectable))
    means = mean_table(analysis, how)
    header = ("classifier", "arm", how.title, f"difference to {analysis.baseline}", "verdict", "detectable")
    detectable = "Detectable: a difference that these splits would have shown in 80 of 100 cases."
    return FactTable(means.title, header, tuple(rows), f"{means.explanation} {detectable}")


def markdown_tables(
    analysis: Analysis, score: Score | None = None, *, beyond: Analysis | None = None, notes: Sequence[str] = ()
) -> str:
    """Return the tables as Markdown; names from data are shown as they are, never read as markup.

    Parameters
    ----------
    score : the score of the analysis, if it is one of your own.
    beyond : the same arms against another baseline, for a second table of differences.
    notes : sentences to stand below.
    """
    tables = [_markdown(table) for table in _tables(analysis, score, beyond)]
    return "\n".join([*tables, *(f"- {_in_markdown(note)}" for note in notes)])


def latex_tables(analysis: Analysis, score: Score | None = None, *, beyond: Analysis | None = None) -> str:
    """Return the tables as LaTeX that needs no package; names from data are escaped."""
    return "\n".join(_latex(table) for table in _tables(analysis, score, beyond))


def csv_table(analysis: Analysis, *, beyond: Analysis | None = None) -> str:
    """Return one line for each classifier and arm with its figures unrounded; spreadsheet formulas are defused.

    The comparisons of `beyond` follow, with another arm in the column ``baseline``.
    """
    lines = _csv_lines(analysis)
    if beyond is not None:
        lines += [line for line in _csv_lines(beyond) if "baseline" in line]
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(_CSV_COLUMNS)
    writer.writerows([csv_cell(_blank(line.get(column))) for column in _CSV_COLUMNS] for line in lines)
    return buffer.getvalue()


def json_table(
    analysis: Analysis, *, beyond: Analysis | None = None, notes: Sequence[str] | None = None
) -> dict[str, Any]:
    """Return every figure as what ``json.dumps`` writes by any reader's rules: what is not finite is null."""
    content: dict[str, Any] = _finite(dataclasses.asdict(analysis))
    content["number_of_comparisons"] = len(analysis.comparisons)
    content["false_alarms_expected"] = analysis.false_alarms_expected
    if beyond is not None:
        content["beyond_traditional"] = json_table(beyond)
    return content if notes is None else {**content, "notes": list(notes)}


@dataclasses.dataclass(frozen=True)
class _Column:
    title: str
    cell: Callable[[Comparison], str]
    is_needed: Callable[[Comparison], bool] | None = None


def _tables(analysis: Analysis, score: Score | None, beyond: Analysis | None) -> list[FactTable]:
    second = [] if beyond is None else [difference_table(beyond, score)]
    return [mean_table(analysis, score), difference_table(analysis, score), *second]


def _csv_lines(analysis: Analysis) -> list[dict[str, Any]]:
    compared = {(one.classifier, one.arm): one for one in analysis.comparisons}
    return [_flat(analysis, cell, compared.get((cell.classifier, cell.arm))) for cell in analysis.cells]


def _columns(score: Score) -> tuple[_Column, ...]:
    def has_share(one: Comparison) -> bool:
        return one.oracle_share is not None

    def has_worth(one: Comparison) -> bool:
        return one.oracle_share is not None and one.oracle_share.images_per_class is not None

    return (
        _Column("classifier", lambda one: one.classifier),
        _Column("arm", lambda one: one.arm),
        _Column("difference (95 % interval)", lambda one: _interval(one.difference, score, signed=True)),
        _Column("verdict", _verdict_cell),
        _Column("detectable", lambda one: shown(one.difference.detectable, score)),
        _Column("p", lambda one: _p_value(one.difference.p_value)),
        _Column("p (Holm)", lambda one: _p_value(one.holm_p_value)),
        _Column("p (corrected t)", _t_cell, lambda one: one.t_test is not None),
        _Column("share of the oracle's gain", _share_cell, has_share),
        _Column("worth real images a class", _worth_cell, has_worth),
    )


def _mean_cell(cell: ArmScore, score: Score) -> str:
    return _interval(cell.mean, score)


def _interval(interval: Interval, score: Score, *, signed: bool = False) -> str:
    estimate, low, high = (
        shown(value, score, signed=signed) for value in (interval.estimate, interval.low, interval.high)
    )
    return f"{estimate} ({low} to {high})" if math.isfinite(interval.low) else estimate


def _verdict_cell(one: Comparison) -> str:
    return one.verdict if math.isfinite(one.difference.low) else f"{one.verdict} (too few splits)"


def _p_value(value: float) -> str:
    if not math.isfinite(value):
        return "n/a"
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def _t_cell(one: Comparison) -> str:
    return _p_value(one.t_test.p_value) if one.t_test else ""


def _share_cell(one: Comparison) -> str:
    found = one.oracle_share
    if found is None:
        return ""
    if found.share is None:
        return "undefined"
    return f"{found.share:.2f} ({_end(found.low, '.2f')} to {_end(found.high, '.2f')})"


def _worth_cell(one: Comparison) -> str:
    found = one.oracle_share
    if found is None or found.images_per_class is None:
        return ""
    return f"{found.images_per_class:.0f} ({_end(found.images_low, '.0f')} to {_end(found.images_high, '.0f')})"


def _end(value: float | None, form: str) -> str:
    return "no end" if value is None else format(value, form)


def _explanation(analysis: Analysis, score: Score) -> str:
    number = len(analysis.comparisons)
    unit = "percentage points" if score.percent else f"units of the {score.title}"
    better = "" if score.higher_is_better else " Lower is better, so a difference below zero helps."
    undefined = any(one.oracle_share and one.oracle_share.share is None for one in analysis.comparisons)
    share = " A share is undefined where the oracle's own gain is not clearly above zero." if undefined else ""
    return (
        f"Paired differences to {analysis.baseline} in {unit}.{better} Detectable: what these splits would have shown "
        f"in 80 of 100 cases. {number} comparison{'' if number == 1 else 's'}, each at 5 %: "
        f"{analysis.false_alarms_expected:.2g} would be called helps or hurts if no arm made any difference; p (Holm) "
        f"allows for their number.{share}"
    )


def _ordered_comparisons(analysis: Analysis) -> list[Comparison]:
    return sorted(analysis.comparisons, key=lambda one: _place(analysis, one))


def _place(analysis: Analysis, one: ArmScore | Comparison) -> tuple[int, int]:
    return analysis.classifiers.index(one.classifier), arms_in_order(analysis.arms).index(one.arm)


def _markdown(table: FactTable) -> str:
    lines = [table.header, tuple("---" for _ in table.header), *table.rows]
    body = [_markdown_line(line, is_rule=number == 1) for number, line in enumerate(lines)]
    return "\n".join([f"**{_in_markdown(table.title)}**", "", *body, "", _in_markdown(table.explanation), ""])


def _markdown_line(cells: Sequence[str], *, is_rule: bool) -> str:
    return f"| {' | '.join(cells if is_rule else map(_in_markdown, cells))} |"


def _in_markdown(text: str) -> str:
    escaped = html.escape(_one_line(text), quote=False)
    return re.sub(r"([\\`*_\[\]|~])", r"\\\1", escaped)


def _latex(table: FactTable) -> str:
    lines = [" & ".join(map(_in_latex, cells)) + r" \\" for cells in (table.header, *table.rows)]
    columns = "l" * len(table.header)
    return "\n".join(
        [
            r"\begin{table}",
            rf"\caption{{{_in_latex(f'{table.title}. {table.explanation}')}}}",
            rf"\begin{{tabular}}{{{columns}}}",
            r"\hline",
            lines[0],
            r"\hline",
            *lines[1:],
            r"\hline",
            r"\end{tabular}",
            r"\end{table}",
            "",
        ]
    )


def _in_latex(text: str) -> str:
    escaped = "".join(_LATEX.get(character, character) for character in _one_line(text))
    # A bracket after the end of a row would be read as an optional argument.
    return f"{{}}{escaped}" if escaped.startswith(("[", "*")) else escaped


def _one_line(text: str) -> str:
    return plain(text, max(len(text), 1))


_DIFFERENCE = ("estimate", "low", "high", "standard_error", "p_value", "detectable")
_T_TEST = ("statistic", "degrees_of_freedom", "p_value", "low", "high")
_SHARE = ("share", "low", "high", "images_per_class", "images_low", "images_high", "reason")
_CSV_COLUMNS = (
    "score",
    "classifier",
    "arm",
    "baseline",
    "splits",
    "mean",
    "mean_low",
    "mean_high",
    *(f"difference_{name}" for name in _DIFFERENCE),
    "verdict",
    "holm_p_value",
    *(f"t_test_{name}" for name in _T_TEST),
    *(f"oracle_{name}" for name in _SHARE),
)


def _flat(analysis: Analysis, cell: ArmScore, compared: Comparison | None) -> dict[str, Any]:
    line: dict[str, Any] = {
        "score": analysis.score,
        "classifier": cell.classifier,
        "arm": cell.arm,
        "splits": cell.mean.splits,
        "mean": cell.mean.estimate,
        "mean_low": cell.mean.low,
        "mean_high": cell.mean.high,
    }
    if compared is None:
        return line
    line |= {"baseline": compared.baseline, "verdict": compared.verdict, "holm_p_value": compared.holm_p_value}
    line |= {f"difference_{name}": getattr(compared.difference, name) for name in _DIFFERENCE}
    line |= {f"t_test_{name}": getattr(compared.t_test, name, None) for name in _T_TEST}
    return line | {f"oracle_{name}": getattr(compared.oracle_share, name, None) for name in _SHARE}


def _blank(value: Any) -> Any:
    return "" if value is None or (isinstance(value, float) and not math.isfinite(value)) else value


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
