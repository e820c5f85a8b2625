"""Whether a run is the one that is asked for, so that it can be gone on with."""

import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

from exitnas import __version__
from exitnas.errors import ExitnasError, UsageError
from exitnas.files import read_json

#: Settings that a run may be resumed with other values of.
FREE = ("device", "offline")


def library_versions() -> dict[str, str]:
    """Versions of what a result depends on."""
    libraries = ("torch", "transformers", "accelerate", "numpy", "pydantic")
    found = {"exitnas": __version__, "python": platform.python_version()}
    return found | {name: version(name) for name in libraries}


def check_same(
    folder: Path, command: str, settings: dict[str, Any], data: dict[str, Any], checksums: dict[str, str]
) -> bool:
    """Refuse to resume a run that is not the one asked for.

    Args:
        folder: the run directory, with a `config.json`.
        command, settings, data, checksums: as `exitnas.training.runs.Run.start` takes them.

    Returns:
        Whether it was started with other versions of Python and the libraries, which may change the last digits.

    Raises:
        UsageError: another command, settings, data, checksums, or another version of exitnas; the first that differs.
        ExitnasError: the config is none.
    """
    path = folder / "config.json"
    record = read_json(path)
    now = _flat(command, __version__, settings, data, checksums)
    try:
        versions = dict(record["versions"])
        then = _flat(record["command"], versions["exitnas"], record["settings"], record["data"], record["checksums"])
    except (KeyError, TypeError, ValueError, AttributeError):
        raise ExitnasError(f"{path}: not the config of a run to resume; start again with --overwrite") from None
    for name in dict.fromkeys([*now, *then]):
        if name not in FREE and now.get(name) != then.get(name):
            raise UsageError(
                f"--resume: the run in {folder} has {name} {then.get(name)!r}, and now it is {now.get(name)!r}; "
                "give what it was started with, or another --output"
            )
    return versions != library_versions()


def _flat(
    command: str, exitnas: str, settings: dict[str, Any], data: dict[str, Any], checksums: dict[str, str]
) -> dict[str, Any]:
    sums = {f"checksum of the {name}": value for name, value in checksums.items()}
    return {"command": command, "exitnas": exitnas, **settings, "data": data, **sums}
