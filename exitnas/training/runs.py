"""The run directory: what a job writes, where, and when; and how it goes on after an interruption."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

from exitnas.distributed import agreed, gathered, is_main, processes, rank
from exitnas.errors import ExitnasError, UsageError
from exitnas.files import read_json, remove_leftovers, write_json, write_text
from exitnas.machine import computer
from exitnas.reporting.progress import Reporter
from exitnas.training.checkpoint import generators, load_state, save_state
from exitnas.training.resume import check_same, library_versions

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

CHECKPOINT = Path("checkpoint", "state.safetensors")
#: A run saves its state after an epoch when so many minutes have passed since it last did.
CHECKPOINT_MINUTES = 5.0


class Run:
    """A run directory.

    Attributes:
        path: the directory.
        history: what was evaluated so far, one dictionary per line of `history.jsonl`.
        summary: of a complete run that was to be resumed, once `start` has found it; there is nothing left to do.
    """

    def __init__(self, path: Path):
        self.path = path
        self.history: list[dict[str, Any]] = []
        self.summary: dict[str, Any] | None = None
        self._resume, self._minutes = False, CHECKPOINT_MINUTES
        self._began = self._saved = perf_counter()
        self._earlier = 0.0

    @classmethod
    def create(
        cls,
        path: Path | str,
        *,
        overwrite: bool = False,
        resume: bool = False,
        checkpoint_minutes: float | None = None,
    ) -> "Run":
        """Make the directory, refusing one that already holds a run.

        With `overwrite` the old run stays until the new one writes its config, so that a request that fails before
        the job begins (unknown backbone, bad data) destroys nothing.

        Args:
            resume: go on with the run that is there, if there is one; `start` checks that it is the same.
            checkpoint_minutes: between two checkpoints; 0 writes one after every epoch.

        Raises:
            UsageError: the directory holds a run and neither `overwrite` nor `resume` is set, or both are; or the path
                is a file; or the minutes are negative.
        """
        run = cls(Path(path))
        run._resume = resume
        run._minutes = CHECKPOINT_MINUTES if checkpoint_minutes is None else checkpoint_minutes
        with agreed():
            if resume and overwrite:
                raise UsageError("--resume goes on with the run that is there and --overwrite replaces it: give one")
            if not 0 <= run._minutes < float("inf"):
                raise UsageError(f"--checkpoint-minutes: expected a number, 0 or more, got {run._minutes:g}")
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
        goes_on = self._resume and "config.json" in present
        if present and not overwrite and not goes_on:
            ways = "--overwrite, or --resume to go on with it" if "config.json" in present else "--overwrite"
            raise UsageError(
                f"--output {path}: already holds a run ({', '.join(present)}); choose another folder or pass {ways}"
            )
        path.mkdir(parents=True, exist_ok=True)

    def start(
        self,
        command: str,
        settings: dict[str, Any],
        data: dict[str, Any],
        checksums: dict[str, str] | None = None,
        report: Reporter | None = None,
    ) -> dict[str, Any] | None:
        """Begin: remove an old run's files, write `config.json` (every setting, the data's source, versions, machine).

        A run to resume is compared with what is asked instead. If it is complete, its summary is in `summary`; else
        `history` is that of its last checkpoint.

        Args:
            checksums: of what the settings only name: data, encoder, space or genotype.
            report: told what became of a run to resume.

        Returns:
            What that checkpoint holds, tensors on the CPU, and under `generators` what `set_generators` takes, None for
            another number of processes; None if there is nothing to go on from.

        Raises:
            UsageError: the run to resume had other settings, another version of exitnas, or other checksums.
            ExitnasError: its files are damaged.
        """
        self._began = self._saved = perf_counter()
        report = report or Reporter(quiet=True)
        how = "new"
        record = {"settings": settings, "data": data, "checksums": checksums or {}}
        with agreed():
            if self.writes and self._resume and (self.path / "config.json").exists():
                if check_same(self.path, command, **record):
                    report.warn(f"{self.path} was started with other libraries, so the end may differ: see config.json")
                how = "resumed" if (self.path / CHECKPOINT).exists() else "afresh"
                how = "complete" if (self.path / "summary.json").exists() else how
        how = gathered([how])[0]
        if how in ("new", "afresh"):
            if how == "afresh":
                report.line(f"{self.path}: interrupted before its state was saved, so it starts afresh")
            if self.writes:
                self._clear()
                self._write_config(command, record)
            return None
        with agreed():
            if how == "complete":
                report.line(f"{self.path}: the run there is complete")
                self.summary = self._told_again()
                return None
            return self._continue()

    def _told_again(self) -> dict[str, Any]:
        """The summary of a complete run, with the paths it has now."""
        if self.writes:
            shutil.rmtree(self.path / CHECKPOINT.parent, ignore_errors=True)
        summary = dict(read_json(self.path / "summary.json"))
        places = {"run": self.path, "genotype": self.path / "genotype.json", "model": self.path / "model"}
        return {**summary, **{name: str(place) for name, place in places.items() if name in summary}}

    def _write_config(self, command: str, record: dict[str, Any]) -> None:
        record = {"command": command, **record, "versions": library_versions()}
        write_json(self.path / "config.json", {**record, "processes": processes(), "machine": computer()})

    def _clear(self) -> None:
        """Remove what an old run wrote."""
        for name in CONTENTS:
            target = self.path / name
            remove_leftovers(target)
            if target.is_dir():
                shutil.rmtree(target)
            else:
                target.unlink(missing_ok=True)

    def _continue(self) -> dict[str, Any]:
        path = self.path / CHECKPOINT
        if self.writes:
            for name in CONTENTS:
                remove_leftovers(self.path / name)
        saved = load_state(path)
        try:
            streams, count, self._earlier = saved["generators"], saved["lines"], saved["seconds"]
            lines = (self.path / "history.jsonl").read_text(encoding="utf-8").splitlines()[:count]
            self.history = [json.loads(line) for line in lines]
            if len(lines) != count:
                raise ValueError
            state = {**saved["state"], "generators": streams[rank()] if len(streams) == processes() else None}
        except (KeyError, TypeError, ValueError):
            raise ExitnasError(f"{path}: not the checkpoint of this run; start again with --overwrite") from None
        return state

    def checkpoint(self, state: Callable[[], dict[str, Any]]) -> None:
        """Save what the loop needs to go on from here, if it is time to; all processes call this after an epoch.

        Args:
            state: gives it, of what `exitnas.training.checkpoint.save_state` takes; torch's generators are added.
        """
        due = gathered([perf_counter() - self._saved >= 60 * self._minutes])[0]
        if not due:
            return
        streams = gathered([generators()])
        with agreed():
            if self.writes:
                record = {"lines": len(self.history), "seconds": self.seconds, "generators": streams, "state": state()}
                save_state(self.path / CHECKPOINT, record)
        self._saved = perf_counter()

    @property
    def seconds(self) -> float:
        """Time since `start`, with that up to the checkpoint a run was resumed from."""
        return round(self._earlier + perf_counter() - self._began, 2)

    def log(self, **values: Any) -> None:
        """Add one line to `history.jsonl`."""
        self.history.append(values)
        if self.writes:
            write_text(self.path / "history.jsonl", "".join(json.dumps(line) + "\n" for line in self.history))

    def write_summary(self, summary: dict[str, Any]) -> None:
        """`summary.json`: what `--json` prints. Written last: a run that has it is complete and needs no checkpoint."""
        if self.writes:
            write_json(self.path / "summary.json", summary)
            shutil.rmtree(self.path / CHECKPOINT.parent, ignore_errors=True)


def data_record(data: Any) -> dict[str, Any]:
    """What a run records of its data: source, sizes, notes."""
    return {"source": data.source, "sizes": data.sizes, "notes": list(data.notes)}
