"""The trade-off section: curves of all policies with baselines and oracle, and the values behind them."""

from collections.abc import Sequence
from typing import Any

from exitnas.policies import POLICIES
from exitnas.reporting.report.charts import STYLES, Chart, Line, chart
from exitnas.reporting.report.collect import RunRecord
from exitnas.reporting.report.evaluation import Evaluated, setting
from exitnas.reporting.report.panels import percent

#: Rows per policy in the table that stands in for the charts.
TABLE_ROWS = 12
AXES = {"layers": "mean layers executed", "macs": "multiply-accumulates per row, millions"}


def tradeoff_charts(found: Evaluated, run: str) -> list[Chart]:
    """Score against layers and against MACs."""
    return [
        chart(
            [*_policies(found, run, key), *_baselines(found, run, key)],
            f"Score against {'layers' if key == 'layers' else 'multiply-accumulates'}",
            words,
            f"{found.metric}, %",
            x_key=key,
        )
        for key, words in AXES.items()
    ]


def shared_chart(runs: Sequence[tuple[str, str, Evaluated]], policy: str) -> Chart:
    """The curves of several runs of one task in one chart; only those of `policy` are drawn at first.

    Args:
        runs: `(key of the run in the page, its name, its evaluation)`; the key's number gives the colour.
    """
    lines: list[Line] = []
    for key, name, found in runs:
        style = (int(key.rpartition("-")[2]) - 1) % STYLES
        for other in found.curves:
            marks = "diamonds" if other == "oracle" else "line"
            points = _points(found, other, "layers")
            shown = other in (policy, "oracle")
            lines.append(Line(f"{name}: {other}", points, style, marks, key, other, not shown))
    most = max(runs, key=lambda run: len(run[2].baselines))
    lines += _baselines(most[2], most[0], "layers")
    return chart(lines, "All runs", AXES["layers"], f"{most[2].metric}, %", x_key="layers")


def values(found: Evaluated, name: str) -> dict[str, Any]:
    """What the page's script needs: `curves` of points `[score, layers, speed-up, macs, setting, histogram]`."""
    layers = len(found.exits)
    curves: dict[str, list[Any]] = {
        policy: [
            [
                round(point.score, 5),
                round(point.mean_exit, 4),
                round(point.layer_speedup, 4),
                round((point.macs or 0.0) / 1e6, 2),
                setting(point),
                point.exit_histogram,
            ]
            for point in curve
        ]
        for policy, curve in found.curves.items()
    }
    if found.baselines:
        curves["truncated"] = [
            [round(one.score, 5), one.layers, round(layers / one.layers, 4), round(one.macs / 1e6, 2), one.name, []]
            for one in found.baselines
        ]
    return {
        "name": name,
        "rows": found.rows,
        "layers": layers,
        "policy": found.shown[0],
        "index": found.shown[1],
        "curves": curves,
    }


def why_other_numbers(record: RunRecord, found: Evaluated) -> str:
    """Why scores here and in the table of exits may differ, a sentence; nothing where they are of the same pass."""
    seeds, trained = len(record.seed_scores(found.split)), record.settings.get("precision", found.precision)
    there = [f"means over {seeds} seeds"] if seeds > 1 else []
    here = ["of the saved model alone, that of the seed best on dev"] if seeds > 1 else []
    if trained != found.precision:
        there.append(f"run in {trained}")
        here.append(f"run in {found.precision}")
    if not here:
        return ""
    return f"Scores in the table of exits above are {', '.join(there)}; here they are {', '.join(here)}."


def table(found: Evaluated) -> list[dict[str, Any]]:
    """The curves as rows, at most `TABLE_ROWS` per policy, both ends among them; the full model first."""
    exits = len(found.exits)
    rows = [_row("all layers", "early exit off", found.exits[-1], float(exits), exits, found.full_macs)]
    for one in found.baselines:
        rows.append(_row("truncated", one.name, one.score, float(one.layers), exits, one.macs))
    for policy, curve in found.curves.items():
        count = min(len(curve), TABLE_ROWS)
        for index in sorted({round(i * (len(curve) - 1) / max(count - 1, 1)) for i in range(count)}):
            point = curve[index]
            rows.append(_row(policy, setting(point), point.score, point.mean_exit, exits, point.macs or 0.0))
    return rows


def _row(policy: str, words: str, score: float, layers: float, exits: int, macs: float) -> dict[str, Any]:
    return {
        "policy": policy,
        "setting": words,
        "score": percent(score),
        "layers": f"{layers:.2f}",
        "speedup": f"{exits / layers:.2f}×",
        "macs": f"{macs / 1e6:.1f}",
    }


def _policies(found: Evaluated, run: str, key: str) -> list[Line]:
    names = POLICIES.names()
    return [
        Line(
            policy,
            _points(found, policy, key),
            names.index(policy) % STYLES,
            "diamonds" if policy == "oracle" else "line",
            run,
            policy,
        )
        for policy in found.curves
    ]


def _baselines(found: Evaluated, run: str, key: str) -> list[Line]:
    if not found.baselines:
        return []
    points = [(float(one.layers) if key == "layers" else one.macs / 1e6, 100 * one.score) for one in found.baselines]
    return [Line("truncated", points, STYLES - 1, "squares", run, "truncated")]


def _points(found: Evaluated, policy: str, key: str) -> list[tuple[float, float]]:
    return [
        (point.mean_exit if key == "layers" else (point.macs or 0.0) / 1e6, 100 * point.score)
        for point in found.curves[policy]
    ]
