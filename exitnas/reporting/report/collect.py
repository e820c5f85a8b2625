"""Reading what a run directory holds, however far the run got: finished, still going, or killed."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from math import isfinite
from pathlib import Path
from typing import Any

from exitnas.errors import ExitnasError, UsageError
from exitnas.exits.genotype import Genotype
from exitnas.files import parse_json, read_json

#: Any of these in a folder makes it a run directory.
RUN_FILES = ("config.json", "history.jsonl", "summary.json", "genotype.json")
KINDS = {"search": "search", "retrain": "retraining", "baseline": "truncated baseline", "unknown": "run"}


@dataclass(frozen=True)
class RunRecord:
    """A run as its directory tells it; what is missing there is empty here.

    Attributes:
        path: the directory.
        name: what the report calls it, different from all others in the report.
        kind: a key of `KINDS`.
        finished: whether `summary.json` is there.
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


def as_dict(value: Any) -> dict[str, Any]:
    """`value` when it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}


def numbers(value: Any) -> list[float]:
    """`value` when it is a list of finite numbers, else an empty one."""
    if not isinstance(value, list):
        return []
    fine = all(isinstance(one, int | float) and not isinstance(one, bool) and isfinite(one) for one in value)
    return [float(one) for one in value] if fine else []


def find_runs(paths: Sequence[Path | str]) -> list[Path]:
    """The run directories behind the paths given, each once, in that order.

    A path is a run directory, the `model/` of one, or a folder whose sub-folders are runs (a trial of a study, the
    output of `exitnas baseline`).

    Raises:
        UsageError: a path is none of these.
    """
    found: dict[Path, Path] = {}
    for path in map(Path, paths):
        for run in _behind(path):
            found.setdefault(run.resolve(), run)
    return list(found.values())


def _behind(path: Path) -> list[Path]:
    if not path.is_dir():
        what = "is a file" if path.exists() else "no such folder"
        raise UsageError(f"{path}: {what}; expected a run directory of `exitnas search` or `exitnas retrain`")
    if _is_run(path):
        return [path]
    if (path / "model.safetensors").is_file() and _is_run(path.resolve().parent):
        return [path.resolve().parent]
    inside = sorted((one for one in path.iterdir() if one.is_dir() and _is_run(one)), key=_natural)
    if not inside:
        raise UsageError(
            f"{path}: is not a run directory (none of {', '.join(RUN_FILES)} of a run in it); "
            "give the output of `exitnas search`, `exitnas retrain` or `exitnas baseline`"
        )
    return inside


def _is_run(path: Path) -> bool:
    if (path / "model.safetensors").is_file():
        return False
    if any((path / name).is_file() for name in RUN_FILES[1:]):
        return True
    if not (path / "config.json").is_file():
        return False
    try:
        return "command" in as_dict(read_json(path / "config.json"))  # not the config of an encoder
    except ExitnasError:
        return False


def _natural(path: Path) -> tuple[str, int, str]:
    """Sort key that puts layers-2 before layers-10, and the search of a trial before what was retrained from it."""
    stem, _, number = path.name.rpartition("-")
    rank = "0" if path.name.startswith("search") else "1"
    return (rank + stem, int(number), "") if number.isdecimal() else (rank + path.name, 0, path.name)


def short_names(paths: Sequence[Path]) -> list[str]:
    """As many trailing parts of every path as it takes to tell them apart."""
    parts = [path.resolve().parts for path in paths]
    for count in range(1, max(map(len, parts), default=1) + 1):
        names = ["/".join(part[-count:]) for part in parts]
        if len(set(names)) == len(names):
            break
    return names


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
    return RunRecord(
        path=path,
        name=name,
        kind=_kind(config, summary),
        finished=bool(summary),
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
    return command if command in KINDS else "unknown"


def _object(path: Path, notes: list[str]) -> dict[str, Any]:
    """A JSON object; an empty one when the file is missing, with a note when it is damaged."""
    if not path.is_file():
        return {}
    try:
        return as_dict(read_json(path))
    except (ExitnasError, OSError) as error:
        notes.append(f"{path.name} cannot be read: {error}")
        return {}


def _history(path: Path, notes: list[str]) -> list[dict[str, Any]]:
    if not path.is_file():
        return []
    lines, bad = [], 0
    for text in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            line = as_dict(parse_json(text, path.name))
        except ExitnasError:
            line = {}
        if numbers(line.get("exits")) and isinstance(line.get("epoch"), int):
            lines.append(line)
        else:
            bad += 1
    if bad:
        notes.append(
            f"history.jsonl: {bad} line{'s' * (bad > 1)} cannot be read and {'are' if bad > 1 else 'is'} left out"
        )
    return lines


def _written(path: Path) -> str:
    times = [(path / name).stat().st_mtime for name in RUN_FILES if (path / name).is_file()]
    return datetime.fromtimestamp(max(times)).strftime("%Y-%m-%d %H:%M") if times else ""
