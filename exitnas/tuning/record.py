"""What a study is about, stored with it: another task, space or setting under the same name is refused."""

from typing import Any

from exitnas import __version__
from exitnas.errors import ExitnasError, UsageError
from exitnas.schema import Frozen, parse
from exitnas.tuning import GOALS
from exitnas.tuning.space import TuningSpace, read_space

#: Name of the study's user attribute that holds the record.
ATTRIBUTE = "exitnas"
#: Settings that may differ from machine to machine and from one day to the next.
PLACE = ("task", "data_dir", "device", "offline")


class StudyRecord(Frozen):
    """The fixed part of a study."""

    task: str
    """Name of the task."""
    goals: tuple[str, ...]
    """Names in `exitnas.tuning.GOALS`; several make a Pareto front."""
    search_only: bool
    """Trials search and do not retrain."""
    space: dict[str, Any]
    """Content of the tuning space's file."""
    fixed: dict[str, dict[str, Any]]
    """Per phase, the settings that all trials share; where data and device are, as the first machine had it."""
    seed: int = 42
    """Seed of the sampler."""
    pruner: str = "median"
    """Name in `exitnas.tuning.sampling.PRUNERS`."""
    version: str = __version__
    """Version of exitnas that started the study."""

    def tuning_space(self) -> TuningSpace:
        """The parameters that vary: the space less what is fixed."""
        return read_space(self.space, "tuning space").without(self.fixed, self.search_only)[0]

    def at(self, place: dict[str, dict[str, Any]]) -> "StudyRecord":
        """The record with where data and device are on this machine, per phase."""
        return self.model_copy(update={"fixed": {p: {**v, **place.get(p, {})} for p, v in self.fixed.items()}})

    @property
    def directions(self) -> list[Any]:
        """`"maximize"` or `"minimize"` per goal."""
        return [GOALS.get(goal).direction for goal in self.goals]

    @property
    def prunes(self) -> str | None:
        """Key of the scores in `history.jsonl` that trials are pruned by; None where they are not."""
        return GOALS.get(self.goals[0]).intermediate if len(self.goals) == 1 else None


def check_same(name: str, old: StudyRecord, given: StudyRecord) -> None:
    """Refuse to go on with a study that is about something else.

    Raises:
        UsageError: names the first difference.
    """

    def differ(what: str, recorded: Any, asked: Any) -> None:
        if recorded != asked:
            raise UsageError(
                f"study {name} has {what} {_words(recorded)}, but {_words(asked)} was asked for: "
                "choose another --name, or ask for the same"
            )

    differ("task", old.task, given.task)
    differ("goals", list(old.goals), list(given.goals))
    differ("search_only", old.search_only, given.search_only)
    differ("seed", old.seed, given.seed)
    differ("pruner", old.pruner, given.pruner)
    if old.space != given.space:
        changed = [key for key in {**old.space, **given.space} if old.space.get(key) != given.space.get(key)]
        where = f"{old.space['name']}" if "name" in changed else f"{old.space['name']} with another {changed[0]}"
        asked = given.space["name"]
        raise UsageError(
            f"study {name} has tuning space {where}, but {asked} was asked for: choose another --name, or ask for the "
            "same"
        )
    for phase, values in old.fixed.items():
        new = given.fixed[phase]
        for key in {**values, **new}:
            if key not in PLACE:
                differ(f"{phase} setting {key}", values.get(key), new.get(key))


def read_record(study: Any) -> StudyRecord:
    """The record of an Optuna study.

    Raises:
        ExitnasError: the study was not made by `exitnas tune`.
    """
    stored = study.user_attrs.get(ATTRIBUTE)
    if stored is None:
        raise ExitnasError(f"study {study.study_name} was not made by `exitnas tune`; choose another --name")
    return parse(StudyRecord, stored, f"study {study.study_name}")


def _words(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return "none" if value is None else str(value)
