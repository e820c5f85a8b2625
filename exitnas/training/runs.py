"""The run directory: what a job writes, where, and when."""

import json
import platform
import shutil
from importlib.metadata import version
from pathlib import Path
from typing import Any

from exitnas import __version__
from exitnas.distributed import agreed, is_main, processes
from exitnas.errors import UsageError
from exitnas.files import write_json, write_text
from exitnas.machine import computer

#: Everything a run may write into its directory; `--overwrite` removes these and nothing else.
CONTENTS = (
    "config.json",
    "genotype.json",
    "genotype.dot",
    "genotype.svg",
    "history.jsonl",
    "tb",
    "loss_weights.json",
    "loss_weights.png",
    "gradient_angles.json",
    "checkpoint",
    "model",
    "summary.json",
)


class Run:
    """A run directory.

    Attributes:
        path: the directory.
        history: what was evaluated so far, one dictionary per line of `history.jsonl`.
    """

    def __init__(self, path: Path):
        self.path = path
        self.history: list[dict[str, Any]] = []

    @classmethod
    def create(cls, path: Path | str, *, overwrite: bool = False) -> "Run":
        """Make the directory, refusing one that already holds a run.

        With `overwrite` the old run stays until the new one writes its config, so that a request that fails before
        the job begins (unknown backbone, bad data) destroys nothing.

        Raises:
            UsageError: the directory holds a run and `overwrite` is False, or the path is a file.
        """
        run = cls(Path(path))
        with agreed():
            if run.writes:
                run._make_folder(overwrite)
        return run

    @property
    def writes(self) -> bool:
        """Whether this process is the one that writes the directory; the others of a launch leave it alone."""
        return is_main()

    def _make_folder(self, overwrite: bool) -> None:
        path = self.path
        if path.exists() and not path.is_dir():
            raise UsageError(f"--output {path}: is a file, expected a folder")
        present = [name for name in CONTENTS if (path / name).exists()]
        if present and not overwrite:
            raise UsageError(
                f"--output {path}: already holds a run ({', '.join(present)}); "
                "choose another folder or pass --overwrite"
            )
        path.mkdir(parents=True, exist_ok=True)

    def write_config(self, command: str, settings: dict[str, Any], data: dict[str, Any]) -> None:
        """Remove an old run's files and write `config.json`: every setting, the data's source, versions, machine."""
        if not self.writes:
            return
        for name in CONTENTS:
            target = self.path / name
            if target.is_dir():
                shutil.rmtree(target)
            else:
                target.unlink(missing_ok=True)
        libraries = ("torch", "transformers", "accelerate", "numpy", "pydantic")
        versions = {"exitnas": __version__, "python": platform.python_version()}
        versions |= {name: version(name) for name in libraries}
        record = {"command": command, "settings": settings, "data": data, "versions": versions}
        write_json(self.path / "config.json", {**record, "processes": processes(), "machine": computer()})

    def log(self, **values: Any) -> None:
        """Add one line to `history.jsonl`."""
        self.history.append(values)
        if self.writes:
            write_text(self.path / "history.jsonl", "".join(json.dumps(line) + "\n" for line in self.history))

    def write_summary(self, summary: dict[str, Any]) -> None:
        """`summary.json`: what `--json` prints. Written last: a run that has it is complete."""
        if self.writes:
            write_json(self.path / "summary.json", summary)


def data_record(data: Any) -> dict[str, Any]:
    """What a run records of its data: source, sizes, notes."""
    return {"source": data.source, "sizes": data.sizes, "notes": list(data.notes)}
