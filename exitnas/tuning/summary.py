"""What a study has found: its trials, the best or the Pareto front, the importance of its parameters."""

import warnings
from dataclasses import asdict
from pathlib import Path
from typing import Any

from exitnas.errors import ExitnasError, UsageError
from exitnas.tuning import GOALS
from exitnas.tuning.record import StudyRecord
from exitnas.tuning.storage import Address
from exitnas.tuning.worker import outcome

#: Complete trials needed before importances mean anything at all.
ENOUGH = 4


def describe(study: Any, record: StudyRecord, address: Address, folder: Path | None) -> dict[str, Any]:
    """The study, JSON-ready.

    Returns:
        `study, task, storage, folder, goals` (name, direction, unit), `tuning_space, trials` (number, state, values,
        parameters, reason, seconds, run, retry_of), `states` (how many of each), `best` (of a single goal), `front`
        (numbers of the trials that no other beats in all goals), `importances` (goal -> parameter -> share of the
        variance, None where there are too few trials) and the `dashboard` command.
    """
    trials = [_trial(trial, record) for trial in study.get_trials(deepcopy=False)]
    states = [trial["state"] for trial in trials]
    front = sorted(trial.number for trial in study.best_trials) if "complete" in states else []
    best = trials[front[0]] if front and len(record.goals) == 1 else None
    return {
        "study": study.study_name,
        "task": record.task,
        "storage": address.shown,
        "folder": None if folder is None else str(folder),
        "goals": [{"name": g, "direction": GOALS.get(g).direction, "unit": GOALS.get(g).unit} for g in record.goals],
        "tuning_space": record.space["name"],
        "states": {state: states.count(state) for state in dict.fromkeys(states)},
        "trials": trials,
        "best": best,
        "front": front,
        "importances": {goal: importances(study, index) for index, goal in enumerate(record.goals)},
        "dashboard": f"optuna-dashboard {address.shown}",
    }


def importances(study: Any, goal: int) -> dict[str, float] | None:
    """Share of the variance of a goal that each parameter explains alone (fANOVA, Hutter et al. 2014).

    Of the parameters that every complete trial has; options of a rule that is not always drawn are left out. None with
    fewer than `ENOUGH` complete trials, or where they do not differ.
    """
    from optuna.importance import FanovaImportanceEvaluator, get_param_importances

    complete = [trial for trial in study.get_trials(deepcopy=False) if trial.values is not None]
    if len(complete) < ENOUGH or len({trial.values[goal] for trial in complete}) == 1:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            evaluator = FanovaImportanceEvaluator(seed=0)
            found = get_param_importances(study, evaluator=evaluator, target=lambda trial: trial.values[goal])
    except (ValueError, RuntimeError):
        return None
    finite = {name: float(value) for name, value in found.items() if value - value == 0}
    return finite or None


def chosen_trial(summary: dict[str, Any], number: int | None = None) -> dict[str, Any]:
    """The trial whose settings are wanted: the one of that number, else the best.

    Raises:
        UsageError: several goals and no number, or no such trial.
        ExitnasError: no trial is complete.
    """
    if number is not None:
        found = next((trial for trial in summary["trials"] if trial["number"] == number), None)
        if found is None:
            raise UsageError(f"--trial {number}: study {summary['study']} has no such trial")
        if not found["parameters"]:
            raise UsageError(f"--trial {number}: has drawn no parameters yet ({found['state']})")
        return found
    if not summary["front"]:
        raise ExitnasError(f"study {summary['study']} has no complete trial yet")
    if len(summary["goals"]) > 1 and len(summary["front"]) > 1:
        front = ", ".join(map(str, summary["front"]))
        raise UsageError(f"study {summary['study']} has several goals: choose from its front ({front}) with --trial")
    return next(trial for trial in summary["trials"] if trial["number"] == summary["front"][0])


def values_line(record: StudyRecord, values: list[float]) -> str:
    """The values of a trial for people."""
    return ", ".join(f"{goal} {goal_value(goal, value)}" for goal, value in zip(record.goals, values, strict=True))


def goal_value(goal: str, value: float) -> str:
    """A value with its unit: percent, millions, or as it is."""
    unit = GOALS.get(goal).unit
    if unit == "":
        return f"{100 * value:.2f}"
    return f"{value / 1e6:.3f}M" if value >= 1e6 else f"{value:.4g}"


def _trial(trial: Any, record: StudyRecord) -> dict[str, Any]:
    told = asdict(outcome(trial))
    told.pop("killed")  # the reason says it
    history = trial.system_attrs.get("retry_history", [])
    values = told.pop("values")
    return {
        **told,
        "values": None if values is None else dict(zip(record.goals, values, strict=True)),
        "run": trial.user_attrs.get("run"),
        "retry_of": history[-1] if history else None,
    }
