"""What the section of one run shows, as plain values for the templates: facts, exits, scores, training."""

from collections.abc import Sequence
from statistics import fmean, stdev
from typing import Any

from exitnas.exits.operations import EDGES
from exitnas.reporting.report.charts import STYLES, Chart, Line, chart
from exitnas.reporting.report.collect import KINDS, RunRecord
from exitnas.reporting.report.values import as_dict, numbers, thinned

#: Most epochs that a picture or table of a run shows, evenly spaced where there were more.
STEPS = 48


def percent(value: float | None) -> str:
    """A fraction in percent with one decimal; a dash when there is none."""
    return "–" if value is None else f"{100 * value:.1f}"


def state(record: RunRecord) -> str:
    """How far the run got, in a few words."""
    if record.finished:
        return "finished"
    done = record.history[-1]["epoch"] if record.history else 0
    total = record.settings.get("epochs")
    seed = record.history[-1].get("seed") if record.history else None
    words = f"epoch {done}" + (f" of {total}" if isinstance(total, int) else "")
    words += f", seed {seed}" if seed is not None and record.settings.get("seeds", 1) != 1 else ""
    return f"not finished: {words}, last written {record.written}"


def facts(record: RunRecord) -> list[tuple[str, str]]:
    """What was run: name and value pairs."""
    settings, data = record.settings, as_dict(record.config.get("data"))
    versions, machine = as_dict(record.config.get("versions")), as_dict(record.config.get("machine"))
    sizes = as_dict(data.get("sizes"))
    seconds = record.summary.get("seconds")
    notes = data.get("notes")
    plan = [settings.get(key) for key in ("recipe", "objective", "weighting", "gradient")]
    trained = " · ".join(str(value) for value in plan if value not in (None, "uniform", "sum"))
    found = [
        ("kind", KINDS[record.kind]),
        ("task", settings.get("task")),
        ("metric", record.summary.get("metric")),
        ("backbone", settings.get("backbone") or (record.genotype and record.genotype.backbone)),
        ("layers kept", settings.get("layers")),
        ("search space", settings.get("space") or (record.genotype and record.genotype.origin.space)),
        ("objective", trained + (" · certainty head" if settings.get("lte") else "") if trained else None),
        ("epochs", settings.get("epochs")),
        ("seed", settings.get("seed")),
        ("seeds", settings.get("seeds")),
        ("data", data.get("source")),
        ("rows", ", ".join(f"{name} {count}" for name, count in sizes.items())),
        (
            "splits",
            "; ".join(str(note).removeprefix("splits: ") for note in notes) if isinstance(notes, list) else None,
        ),
        ("precision", settings.get("precision")),
        ("processes", processes(record) if processes(record) > 1 else None),
        ("machine", ", ".join(f"{key} {value}" for key, value in machine.items())),
        ("versions", ", ".join(f"{name} {version}" for name, version in versions.items())),
        ("took", duration(seconds) if isinstance(seconds, int | float) else None),
        ("warning", record.summary.get("warning")),
        ("folder", record.path),
    ]
    return [(name, str(value)) for name, value in found if value not in (None, "")]


def processes(record: RunRecord) -> int:
    """How many processes shared the work of a run."""
    count = record.config.get("processes")
    return count if isinstance(count, int) and count > 1 else 1


def counted(record: RunRecord) -> str:
    """What the recorded cost of the exits was counted for."""
    tokens = record.summary.get("tokens")
    at = "at the mean length of the training rows"
    return f"{at}, {tokens} tokens" if isinstance(tokens, int) else at


def duration(seconds: float) -> str:
    """Seconds as people say them."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


def exits_table(record: RunRecord) -> list[dict[str, Any]]:
    """One row per exit: what it is made of and how sure the search was, what it costs, how it scores.

    `dev` and `test` are `(mean, deviation over seeds or None)`, or None when there is no such score.
    """
    layers = record.genotype.layers if record.genotype else len(_last_scores(record))
    costs = record.costs
    if record.kind == "baseline" and len(costs) == 1:  # only the last exit was trained
        costs = [{} for _ in range(layers - 1)] + costs
    dev, test = over_seeds(record.seed_scores("dev")), over_seeds(record.seed_scores("test"))
    if record.kind == "baseline":
        dev, test = [[None] * (layers - 1) + scores if len(scores) == 1 else scores for scores in (dev, test)]
    if not dev:
        dev = [(score, None) for score in _last_scores(record)]
    rows = []
    for index in range(layers):
        rows.append(
            {
                "layer": index + 1,
                "operations": _operations(record, index),
                "parameters": _at(costs, index, {}).get("parameters"),
                "macs": _at(costs, index, {}).get("macs"),
                "dev": _at(dev, index),
                "test": _at(test, index),
                "refined": bool(record.genotype and record.genotype.exits[index].refined),
            }
        )
    return rows


def _operations(record: RunRecord, index: int) -> list[tuple[str, float | None]]:
    """Operation of every edge and its probability when the search ended."""
    if record.genotype is None:
        return []
    exit_ = record.genotype.exits[index]
    searched = record.genotype.probabilities
    return [
        (exit_.operation(edge), searched[index][edge].get(exit_.operation(edge)) if searched else None)
        for edge in EDGES
    ]


def _last_scores(record: RunRecord) -> list[float]:
    return numbers(record.history[-1]["exits"]) if record.history else []


def _at(values: Sequence[Any], index: int, default: Any = None) -> Any:
    return values[index] if index < len(values) else default


def over_seeds(scores: list[list[float]]) -> list[Any]:
    """Mean of every exit over seeds, and the sample deviation (None for one seed), from one list per seed."""
    if not scores or len({len(one) for one in scores}) > 1:
        return []
    return [(fmean(column), stdev(column) if len(column) > 1 else None) for column in zip(*scores, strict=True)]


def summary_scores(record: RunRecord) -> dict[str, Any]:
    """`avg` and `best` with their deviation as shown, and the split they are of; a dash where there is none.

    A run that is not finished gives those of its last line on dev.
    """
    if record.kind == "baseline" and isinstance(record.summary.get("score"), float):
        spread = record.summary.get("std")
        return {"avg": "–", "best": _shown(record.summary["score"], spread), "split": "test"}
    source = record.summary if numbers(record.summary.get("exits")) else (record.history or [{}])[-1]
    split = str(source.get("split", "dev")) if numbers(source.get("exits")) else "–"
    spread = as_dict(source.get("std"))
    values = {key: _shown(source.get(key), spread.get(key)) for key in ("avg", "best")}
    return {**values, "split": split}


def _shown(value: Any, spread: Any = None) -> str:
    if not isinstance(value, int | float):
        return "–"
    return percent(value) + (f" ± {100 * spread:.1f}" if isinstance(spread, int | float) else "")


def scores_chart(record: RunRecord) -> Chart | None:
    """Score against exit, on dev and test; None with fewer than two exits."""
    rows = exits_table(record)
    if record.kind == "baseline" or len(rows) < 2:
        return None
    lines: list[Line] = []
    for split in ("test", "dev"):
        points = [(float(row["layer"]), 100 * row[split][0]) for row in rows if row[split]]
        hints = [f"exit {row['layer']}, {split}: {_shown(*row[split])} %" for row in rows if row[split]]
        if points:
            lines.append(Line(split, points, len(lines), hints=hints))
    return chart(lines, "Score of every exit", "exit after layer", "score, %", whole_x=True) if lines else None


def training_chart(record: RunRecord) -> Chart | None:
    """AVG and BEST on dev over epochs, per seed; None with fewer than two epochs."""
    lines: list[Line] = []
    seeds = by_seed(record)
    for number, (seed, history) in enumerate(seeds.items()):
        if len(history) < 2:
            continue
        for offset, key in enumerate(("avg", "best")):
            rows = thinned([row for row in history if isinstance(row.get(key), int | float)], STEPS)
            name = key.upper() + (f", seed {seed}" if len(seeds) > 1 else "")
            points = [(float(row["epoch"]), 100 * row[key]) for row in rows]
            hints = [f"{name}, epoch {row['epoch']}: {percent(row[key])} %" for row in rows]
            lines.append(Line(name, points, (2 * number + offset) % STYLES, hints=hints))
    return chart(lines, "Dev score over epochs", "epoch", "score, %", whole_x=True) if lines else None


def by_seed(record: RunRecord) -> dict[Any, list[dict[str, Any]]]:
    """Lines of the history per seed; a search has one, named None."""
    seeds: dict[Any, list[dict[str, Any]]] = {}
    for line in record.history:
        seeds.setdefault(line.get("seed"), []).append(line)
    return seeds
