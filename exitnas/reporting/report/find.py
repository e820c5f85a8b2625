"""Finding the run directories behind the paths that a report was asked for."""

from collections.abc import Sequence
from pathlib import Path

from exitnas.errors import ExitnasError, UsageError
from exitnas.files import read_json
from exitnas.reporting.report.values import as_dict

#: Any of these in a folder makes it a run directory.
RUN_FILES = ("config.json", "history.jsonl", "summary.json", "genotype.json")


def find_runs(paths: Sequence[Path | str]) -> list[Path]:
    """The run directories behind the paths given, each once, in that order.

    A path is a run directory, the `model/` of one, a folder whose sub-folders are runs (a trial of a study, the output
    of `exitnas baseline`), or a study of `exitnas tune` (or its `trials/`), which stands for the runs of all trials.

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
    inside = [run for trial in _trials(path) for run in _runs_in(trial)] or _runs_in(path)
    if not inside:
        raise UsageError(
            f"{path}: is not a run directory (none of {', '.join(RUN_FILES)} of a run in it); "
            "give the output of `exitnas search`, `exitnas retrain`, `exitnas baseline` or `exitnas tune`"
        )
    return inside


def _trials(path: Path) -> list[Path]:
    """The folders of a study's trials, `path` being the study or its `trials/`; none where it is neither."""
    if (path / "study.json").is_file():
        path = path / "trials"
    elif path.resolve().name != "trials" or not (path.resolve().parent / "study.json").is_file():
        return []
    return sorted(one for one in path.glob("*") if one.is_dir())


def _runs_in(path: Path) -> list[Path]:
    return sorted((one for one in path.iterdir() if one.is_dir() and _is_run(one)), key=_natural)


def _is_run(path: Path) -> bool:
    if any((path / name).is_file() for name in ("model.safetensors", "study.json")):
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
