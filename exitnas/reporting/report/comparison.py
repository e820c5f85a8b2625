"""What several runs have in common and where they differ: the tables and charts at the top of the report."""

from collections.abc import Sequence
from statistics import fmean
from typing import Any

from exitnas.reporting.report.charts import STYLES, Chart, Line, chart
from exitnas.reporting.report.collect import KINDS, RunRecord
from exitnas.reporting.report.evaluation import Evaluated
from exitnas.reporting.report.panels import STEPS, by_seed, duration, percent, state, summary_scores
from exitnas.reporting.report.tradeoffs import shared_chart
from exitnas.reporting.report.values import thinned


def runs_table(records: Sequence[RunRecord]) -> list[dict[str, str]]:
    """One row per run: scores, cost of its exits, time."""
    rows = []
    for record in records:
        parameters = [cost["parameters"] for cost in record.costs]
        macs = [cost["macs"] / 1e6 for cost in record.costs]
        seconds = record.summary.get("seconds")
        rows.append(
            {
                "name": record.name,
                "kind": KINDS[record.kind],
                "state": state(record).partition(",")[0],
                "task": record.task or "–",
                **summary_scores(record),
                "parameters": _range(parameters, "{:,.0f}"),
                "macs": _range(macs, "{:.3g}"),
                "seconds": duration(seconds) if isinstance(seconds, int | float) else "–",
            }
        )
    return rows


def _range(values: list[Any], form: str) -> str:
    """The mean of numbers with their smallest and largest; a dash for none."""
    if not values:
        return "–"
    low, high = form.format(min(values)), form.format(max(values))
    return low if low == high else f"{form.format(fmean(values))} ({low}–{high})"


def differing_settings(records: Sequence[RunRecord]) -> list[tuple[str, list[str]]]:
    """Settings that are not the same in all runs, each with its value per run; a dash where a run has none."""
    names = list(dict.fromkeys(name for record in records for name in record.settings))
    rows = []
    for name in names:
        values = [str(record.settings[name]) if name in record.settings else "–" for record in records]
        if len(set(values)) > 1:
            rows.append((name, values))
    return rows


def training_charts(records: Sequence[RunRecord]) -> list[Chart]:
    """AVG on dev over epochs, one chart per task that two runs or more trained several epochs on."""
    found = []
    for task in dict.fromkeys(record.task for record in records):
        lines = _training_lines(records, task)
        if len(lines) > 1:
            title = "AVG on dev over epochs" + (f", {task}" if task else "")
            found.append(chart(lines, title, "epoch", "AVG, %", whole_x=True))
    return found


def _training_lines(records: Sequence[RunRecord], task: str | None) -> list[Line]:
    """The first seed of every run of a task; a search's scores are those of its supernet, which its label says."""
    lines = []
    for index, record in enumerate(records):
        if record.task != task or record.kind == "baseline":
            continue
        history = next(iter(by_seed(record).values()), [])
        rows = thinned([line for line in history if isinstance(line.get("avg"), int | float)], STEPS)
        if len(rows) < 2:
            continue
        name = record.name + (" (supernet)" if record.kind == "search" else "")
        hints = [f"{name}, epoch {row['epoch']}: AVG {percent(row['avg'])} %" for row in rows]
        points = [(float(row["epoch"]), 100 * row["avg"]) for row in rows]
        lines.append(Line(name, points, index % STYLES, hints=hints))
    return lines


def tradeoff_charts(runs: Sequence[tuple[str, str, Evaluated]]) -> list[dict[str, Any]]:
    """One chart per task that several runs were evaluated on: `task, chart, policies, policy`."""
    found = []
    for task in dict.fromkeys(one.task for _, _, one in runs):
        group = [run for run in runs if run[2].task == task]
        if len(group) < 2:
            continue
        policies = [name for name in dict.fromkeys(n for run in group for n in run[2].curves) if name != "oracle"]
        policy = group[0][2].shown[0]
        found.append({"task": task, "chart": shared_chart(group, policy), "policies": policies, "policy": policy})
    return found
