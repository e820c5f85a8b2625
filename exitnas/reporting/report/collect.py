"""Reading what a run directory holds, however far the run got: finished, still going, or killed."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from exitnas.errors import ExitnasError
from exitnas.exits.genotype import Genotype
from exitnas.files import json_kind, parse_json, read_json
from exitnas.reporting.report.find import RUN_FILES, short_names
from exitnas.reporting.report.values import LARGEST, as_dict, numbers, within_reach

KINDS = {"search": "search", "retrain": "retraining", "baseline": "truncated baseline", "unknown": "run"}


@dataclass(frozen=True)
class RunRecord:
    """A run as its directory tells it; what is missing there is empty here.

    Attributes:
        path: the directory.
        name: what the report calls it, different from all others in the report.
        kind: a key of `KINDS`.
        finished: whether `summary.json` is there, readable or not.
        config: `config.json`.
        history: lines of `history.jsonl`, each with `epoch` and `exits` (E scores on dev).
        summary: `summary.json`.
        loss_weights: `loss_weights.json`.
        has_model: whether there is a model to evaluate.
        written: when the run last wrote a line, local time to the minute.
        notes: what could not be read, one line each.
    """

    path: Path
    name: str
    kind: str
    finished: bool
    config: dict[str, Any]
    history: list[dict[str, Any]]
    summary: dict[str, Any]
    genotype: Genotype | None
    loss_weights: dict[str, Any]
    has_model: bool
    written: str
    notes: list[str] = field(default_factory=list)

    @property
    def settings(self) -> dict[str, Any]:
        """The settings in `config.json`."""
        return as_dict(self.config.get("settings"))

    @property
    def task(self) -> str | None:
        """Name of the task; the settings' word where the run is not finished."""
        for value in (self.summary.get("task"), self.settings.get("task"), self.genotype and self.genotype.origin.task):
            if isinstance(value, str) and value:
                return Path(value).stem if value.endswith((".yaml", ".yml")) else value
        return None

    @property
    def costs(self) -> list[dict[str, Any]]:
        """`parameters` and `macs` of every exit (of the one classifier of a truncated baseline), or nothing."""
        costs = self.summary.get("costs")
        rows: list[Any] = costs if isinstance(costs, list) else [costs]
        fine = all(len(numbers([as_dict(row).get(key) for key in ("parameters", "macs")])) == 2 for row in rows)
        return rows if fine else []

    def seed_scores(self, split: str) -> list[list[float]]:
        """Every seed's scores on a split: E numbers each, one for a truncated baseline."""
        seeds = self.summary.get("seeds")
        found = []
        for seed in seeds if isinstance(seeds, list) else []:
            value = as_dict(seed).get(split)
            scores = numbers(value.get("exits")) if isinstance(value, dict) else numbers([value])
            if scores:
                found.append(scores)
        return found


def collect(paths: Sequence[Path]) -> list[RunRecord]:
    """Read run directories."""
    return [read_run(path, name) for path, name in zip(paths, short_names(paths), strict=True)]


def read_run(path: Path, name: str) -> RunRecord:
    """Read one run directory; damaged files become notes."""
    notes: list[str] = []
    config = _object(path / "config.json", notes)
    summary = _object(path / "summary.json", notes)
    history = _history(path / "history.jsonl", notes)
    genotype = None
    if (path / "genotype.json").is_file():
        try:
            genotype = Genotype.load(path / "genotype.json")
        except (ExitnasError, OSError) as error:
            notes.append(f"genotype.json cannot be read: {error}")
    kind, finished = _kind(config, summary), (path / "summary.json").is_file()
    if finished and not any(note.startswith("summary.json") for note in notes):
        notes += _missing(kind, summary)
    return RunRecord(
        path=path,
        name=name,
        kind=kind,
        finished=finished,
        config=config,
        history=history,
        summary=summary,
        genotype=genotype,
        loss_weights=_object(path / "loss_weights.json", notes),
        has_model=(path / "model" / "model.safetensors").is_file(),
        written=_written(path),
        notes=notes,
    )


def _kind(config: dict[str, Any], summary: dict[str, Any]) -> str:
    if as_dict(config.get("settings")).get("layers") is not None or "of_layers" in summary:
        return "baseline"
    command = config.get("command")
    if command is None:
        command = "retrain" if "model" in summary else "search" if "decisions" in summary else "unknown"
    return command if isinstance(command, str) and command in KINDS else "unknown"


def _missing(kind: str, summary: dict[str, Any]) -> list[str]:
    """A note when a finished run's summary lacks the scores; a search of a single architecture has them as null."""
    wanted = ("score",) if kind == "baseline" else ("exits", "avg")
    lacking = [key for key in wanted if key not in summary]
    return [f"summary.json has no {' and no '.join(lacking)}: scores are those last written on dev"] if lacking else []


def _object(path: Path, notes: list[str]) -> dict[str, Any]:
    """A JSON object; an empty one when the file is missing, with a note when it is damaged."""
    if not path.is_file():
        return {}
    try:
        value = read_json(path)
    except (ExitnasError, OSError) as error:
        notes.append(f"{path.name} cannot be read: {error}")
        return {}
    fine = within_reach(value)
    if not isinstance(value, dict):
        notes.append(f"{path.name}: expected an object, got {json_kind(value)}")
    elif fine != value:
        notes.append(f"{path.name}: numbers that are infinite, none, or beyond {LARGEST:g} are left out")
    return as_dict(fine)


def _history(path: Path, notes: list[str]) -> list[dict[str, Any]]:
    if not path.is_file():
        return []
    lines, bad = [], 0
    for text in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            line = as_dict(within_reach(parse_json(text, path.name)))
        except ExitnasError:
            line = {}
        if numbers(line.get("exits")) and isinstance(line.get("epoch"), int) and _is_seed(line.get("seed")):
            lines.append(line)
        else:
            bad += 1
    if bad:
        notes.append(
            f"history.jsonl: {bad} line{'s' * (bad > 1)} cannot be read and {'are' if bad > 1 else 'is'} left out"
        )
    return lines


def _is_seed(value: Any) -> bool:
    return value is None or (isinstance(value, int) and not isinstance(value, bool))


def _written(path: Path) -> str:
    times = [(path / name).stat().st_mtime for name in RUN_FILES if (path / name).is_file()]
    return datetime.fromtimestamp(max(times)).strftime("%Y-%m-%d %H:%M") if times else ""
