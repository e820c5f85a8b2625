"""The settings that all trials of a study share: the flags, and `--set` for any other."""

from collections.abc import Iterable
from typing import Any

from exitnas.errors import UsageError
from exitnas.registry import nearest
from exitnas.settings import make_settings
from exitnas.tuning.parameters import Fixed
from exitnas.tuning.space import PHASES


def fixed_settings(flags: dict[str, Any], given: Iterable[tuple[str, Any]] = ()) -> Fixed:
    """Per phase, the settings that are fixed.

    Args:
        flags: settings of both phases; None where not given, and a phase takes what it has.
        given: `--set` entries: `epochs`, `search.epochs`, `retrain.objective_options.temperature`, with their value.

    Raises:
        UsageError: an unknown setting (with the nearest), or a value it does not take.
    """
    fixed: Fixed = {phase: {} for phase in PHASES}
    for key, value in flags.items():
        for phase, model in PHASES.items():
            if value is not None and key in model.model_fields:
                fixed[phase][key] = value
    for name, value in given:
        section, dot, rest = name.partition(".")
        key = (rest if dot and section in PHASES else name).replace("-", "_")
        setting, _, option = key.partition(".")
        phases = [
            p for p, model in PHASES.items() if setting in model.model_fields and section in (p, *_unless(dot, section))
        ]
        if not phases or (option and not setting.endswith("_options")):
            known = sorted({field for model in PHASES.values() for field in model.model_fields})
            raise UsageError(f"--set {name}: unknown setting; {nearest(setting, known)}")
        for phase in phases:
            fixed[phase][setting] = {**fixed[phase].get(setting, {}), option: value} if option else value
    for phase, model in PHASES.items():
        settings = make_settings(model, **{"task": "any", **fixed[phase]}).model_dump(mode="json")
        fixed[phase] = {key: settings[key] for key in fixed[phase]}
    return fixed


def _unless(dot: str, section: str) -> tuple[str, ...]:
    """The section itself where it is none: an entry without section means both phases."""
    return () if dot and section in PHASES else (section,)
