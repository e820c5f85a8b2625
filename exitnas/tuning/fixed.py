"""The settings that all trials of a study share: the flags, and `--set` for any other."""

from collections.abc import Iterable
from typing import Any

from exitnas.errors import UsageError
from exitnas.registry import nearest
from exitnas.settings import SettingError, check_kind, make_settings
from exitnas.tuning.parameters import Fixed
from exitnas.tuning.space import PHASES

#: Settings that `--set` does not take, and what does.
ELSEWHERE = {
    "task": "give it with --task",
    "backbone": "give it with --backbone",
    "recipe": "a study has none; set its objective, weighting and gradient",
}


def fixed_settings(flags: dict[str, Any], given: Iterable[tuple[str, Any]] = ()) -> Fixed:
    """Per phase, the settings that are fixed.

    Args:
        flags: settings of both phases; None where not given, and a phase takes what it has.
        given: `--set` entries: `epochs`, `search.epochs`, `retrain.objective_options.temperature`, with their value.

    Raises:
        UsageError: an unknown setting (with the nearest), one that has a flag, or a value it does not take.
    """
    fixed: Fixed = {phase: {} for phase in PHASES}
    for key, value in flags.items():
        for phase, model in PHASES.items():
            if value is not None and key in model.model_fields:
                fixed[phase][key] = value
    named: dict[tuple[str, str], str] = {}
    for name, value in given:
        named |= dict.fromkeys(_put(fixed, name, value), name)
    for phase, model in PHASES.items():
        try:
            settings = make_settings(model, **{"task": "any", **fixed[phase]}).model_dump(mode="json")
        except SettingError as error:
            name = error.setting.split(".")[0]
            if (phase, name) not in named:
                raise
            raise UsageError(f"--set {named[phase, name]}: {error.reason}") from None
        fixed[phase] = {key: settings[key] for key in fixed[phase]}
    return fixed


def _put(fixed: Fixed, name: str, value: Any) -> list[tuple[str, str]]:
    """One `--set` entry: of the phase in front of its name, else of every phase that has the setting.

    Returns:
        The phases and settings it went to.
    """
    section, _, rest = name.partition(".")
    key = (rest if section in PHASES else name).replace("-", "_")
    setting, _, option = key.partition(".")
    asked = {section: PHASES[section]} if section in PHASES else PHASES
    having = {phase: model for phase, model in asked.items() if setting in model.model_fields}
    if not having or (option and not setting.endswith("_options")):
        known = sorted({field for model in PHASES.values() for field in model.model_fields} - set(ELSEWHERE))
        raise UsageError(f"--set {name}: unknown setting; {nearest(setting, known)}")
    if setting in ELSEWHERE:
        raise UsageError(f"--set {name}: not taken here; {ELSEWHERE[setting]}")
    for phase, model in having.items():
        whole = {option: value} if option else value
        check_kind(f"--set {name}", whole, model.model_fields[setting].annotation)
        fixed[phase][setting] = {**fixed[phase].get(setting, {}), option: value} if option else value
    return [(phase, setting) for phase in having]
