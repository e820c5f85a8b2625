"""The report as one HTML file: no network, readable without JavaScript, better with it."""

import base64
import hashlib
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from exitnas import __version__
from exitnas.drawing.layout import TOKENS, Panel, arrange_panels
from exitnas.drawing.svg import svg_of
from exitnas.errors import ExitnasError, UsageError
from exitnas.files import check_writable, write_text
from exitnas.reporting.progress import Reporter
from exitnas.reporting.report import comparison, grids, panels, tradeoffs
from exitnas.reporting.report.collect import KINDS, RunRecord, collect
from exitnas.reporting.report.evaluation import Evaluated, evaluate
from exitnas.reporting.report.find import find_runs
from exitnas.reporting.report.request import check_baselines, check_request
from exitnas.reporting.report.size import LIMIT, fitted

TEMPLATES = Path(__file__).with_name("templates")

#: Writes the command that made a run again, and what of its settings no flag can say.
Reproduce = Callable[[RunRecord], tuple[str, list[str]]]


def write_report(
    output: Path | str,
    runs: Sequence[Path | str],
    *,
    baselines: Sequence[Path | str] = (),
    overwrite: bool = False,
    evaluation: bool = True,
    split: str = "test",
    points: int = 25,
    reproduce: Reproduce | None = None,
    report: Reporter | None = None,
    **opening: Any,
) -> dict[str, Any]:
    """Write the report of `runs` to `output`.

    Args:
        runs: run directories, finished or not, or folders of them.
        baselines: truncated baselines, drawn beside the runs of their task; those among `runs` are, too.
        evaluation: run the models over their data for trade-off curves; without it, what the runs wrote is shown.
        points: settings per policy on a curve.
        reproduce: gives the command of a run.
        opening: arguments of `exitnas.inference.session.Session.open`.

    Returns:
        `report` (path), `bytes`, and per run `run, kind, finished, task, evaluated, notes`.

    Raises:
        UsageError: not a run directory, no baseline or one of another task than all runs, settings of the evaluation
            that suit no run, or `output` exists.
        OSError: `output` cannot be written.
    """
    report = report or Reporter(quiet=True)
    output = Path(output)
    if output.exists() and not output.is_dir() and not overwrite:
        raise UsageError(f"--output {output}: already there; choose another file or pass --overwrite")
    if evaluation:
        check_request(points, opening)
    records, beside = collect(find_runs(runs)), collect(find_runs(baselines))
    check_baselines(records, beside)
    check_writable(output)
    known = {record.path.resolve() for record in beside}
    beside += [one for one in records if one.kind == "baseline" and one.path.resolve() not in known]
    found: dict[str, Evaluated] = {}
    failures: dict[str, str] = {}
    able = [one for one in records if evaluation and one.kind != "baseline" and one.has_model]
    for record in report.track(able, "evaluating", len(able)):
        report.line(f"evaluating {record.name}")
        same_task = [one for one in beside if one.task == record.task and one.has_model]
        try:
            found[record.name] = evaluate(record, same_task, split=split, points=points, **opening)
        except ExitnasError as error:
            failures[record.name] = f"not evaluated: {error}"
            report.warn(f"{record.name}: {failures[record.name]}")
    drawn: dict[str, str] = {}
    sections = [section(record, key, found, failures, drawn, reproduce) for key, record in keyed(records)]
    for one in sections:
        for note in one["notes"]:
            if note != failures.get(one["name"]):
                report.warn(f"{one['name']}: {note}")
    text, lacking = fitted(sections, lambda shown: render(records, shown, found), LIMIT)
    write_text(output, text)
    size = len(text.encode())
    if lacking:
        report.warn(f"{output}: the details of {lacking} run(s) are left out to keep it below {LIMIT:,} bytes")
    if size > LIMIT:
        report.warn(f"{output}: {size:,} bytes, more than {LIMIT:,}; give fewer runs or a smaller --points")
    return {
        "report": str(output),
        "bytes": size,
        "runs": [
            {
                "run": str(record.path),
                "kind": KINDS[record.kind],
                "finished": record.finished,
                "task": record.task,
                "evaluated": record.name in found,
                "notes": one["notes"],
            }
            for record, one in zip(records, sections, strict=True)
        ],
    }


def keyed(records: Sequence[RunRecord]) -> list[tuple[str, RunRecord]]:
    """Every run with its key in the page."""
    return [(f"run-{number}", record) for number, record in enumerate(records, start=1)]


def section(
    record: RunRecord,
    key: str,
    found: dict[str, Evaluated],
    failures: dict[str, str],
    drawn: dict[str, str],
    reproduce: Reproduce | None,
) -> dict[str, Any]:
    """Everything the template shows of one run; `drawn` remembers pictures, so that none is there twice."""
    evaluated = found.get(record.name)
    command, unsaid = reproduce(record) if reproduce and record.settings else ("", [])
    notes = [*record.notes, *(evaluated.notes if evaluated else []), *([] if command else unsaid)]
    if record.name in failures:
        notes.append(failures[record.name])
    return {
        "key": key,
        "name": record.name,
        "kind": KINDS[record.kind],
        "state": panels.state(record),
        "finished": record.finished,
        "notes": notes,
        "facts": panels.facts(record),
        "settings": [(name, str(value)) for name, value in record.settings.items()],
        "command": command,
        "unsaid": unsaid,
        **architecture(record, evaluated, drawn),
        "scores": panels.summary_scores(record),
        "exits": panels.exits_table(record) if record.genotype or record.costs else [],
        "scores_chart": panels.scores_chart(record),
        "training_chart": panels.training_chart(record),
        "epochs": grids.epochs_table(record),
        "probabilities": grids.probability_grid(record) if record.kind == "search" else None,
        "loss_weights": grids.loss_weights(record),
        "evaluated": evaluated,
        "charts": tradeoffs.tradeoff_charts(evaluated, key) if evaluated else [],
        "table": tradeoffs.table(evaluated) if evaluated else [],
        "counted": panels.counted(record),
        "differs": tradeoffs.why_other_numbers(record, evaluated) if evaluated else "",
        "values": tradeoffs.values(evaluated, record.name) if evaluated else None,
    }


def architecture(record: RunRecord, evaluated: Evaluated | None, drawn: dict[str, str]) -> dict[str, Any]:
    """`picture` of the exits as SVG, or the name of the run under which the same is drawn as `picture_at`."""
    from markupsafe import Markup

    if record.genotype is None or record.kind == "baseline":
        return {"picture": None, "picture_at": None}
    same = record.genotype.model_dump_json(include={"backbone", "width", "exits", "probabilities"})
    if same in drawn:
        return {"picture": None, "picture_at": drawn[same]}
    drawn[same] = record.name
    tokens, panel = TOKENS, Panel(record.genotype)
    if len(record.costs) == record.genotype.layers:
        panel = Panel(record.genotype, costs=record.costs, counted=panels.counted(record))
    elif evaluated:
        tokens, panel = evaluated.tokens, Panel(record.genotype, classes=evaluated.classes)
    sheet = arrange_panels([panel], tokens=tokens)
    return {"picture": Markup(svg_of(sheet)), "picture_at": None}  # which escapes all text itself


def render(records: Sequence[RunRecord], sections: Sequence[dict[str, Any]], found: dict[str, Evaluated]) -> str:
    """The page's HTML."""
    from markupsafe import Markup

    several = len(records) > 1
    together = [(key, record.name, found[record.name]) for key, record in keyed(records) if record.name in found]
    script = (TEMPLATES / "script.js").read_text(encoding="utf-8")
    tasks = list(dict.fromkeys(record.task for record in records if record.task))
    return _environment().get_template("page.html.jinja").render(
        version=__version__,
        tasks=tasks,
        sections=sections,
        runs=comparison.runs_table(records) if several else [],
        differing=comparison.differing_settings(records) if several else [],
        training=comparison.training_charts(records) if several else [],
        tradeoffs=comparison.tradeoff_charts(together) if several else [],
        values={one["key"]: one["values"] for one in sections if one["values"]},
        style=Markup((TEMPLATES / "style.css").read_text(encoding="utf-8")),
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(f"\n{script}".encode()).digest()).decode(),
    )  # fmt: skip


@cache
def _environment() -> Any:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"percent": panels.percent}
    return environment
