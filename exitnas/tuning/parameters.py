"""Drawing the parameters of a trial, and the settings of its two runs that they stand for."""

from typing import Any

from exitnas.errors import UsageError
from exitnas.schema import Frozen
from exitnas.settings import RetrainSettings, SearchSettings, make_settings
from exitnas.supernet.space import load_space
from exitnas.tuning.dimensions import Choices, Parameter, Range
from exitnas.tuning.rules import default_option, has_option, option_type, owners
from exitnas.tuning.space import TuningSpace

Fixed = dict[str, dict[str, Any]]


def trial_settings(
    space: TuningSpace, fixed: Fixed, values: dict[str, Any], search_only: bool = False
) -> tuple[SearchSettings, RetrainSettings | None]:
    """The settings of a trial's search and retraining.

    As `exitnas retrain` does with a genotype, retraining takes over from the search what nothing else says.

    Args:
        fixed: per phase, the settings that all trials share.
        values: parameter name -> value; parameters left out keep their defaults.

    Raises:
        UsageError: settings that contradict each other.
    """
    chosen: Fixed = {phase: dict(given) for phase, given in fixed.items()}
    for parameter in space.parameters:
        if parameter.name not in values:
            continue
        for phase in parameter.phases:
            _put(chosen[phase], parameter, values[parameter.name])
    search = make_settings(SearchSettings, **chosen["search"])
    if search_only:
        return search, None
    shared = {key: value for key, value in search.model_dump().items() if key in RetrainSettings.model_fields}
    return search, make_settings(RetrainSettings, **{**shared, **chosen["retrain"]})


def suggest(trial: Any, space: TuningSpace, fixed: Fixed) -> dict[str, Any]:
    """Draw every parameter of an Optuna trial; options only where the rule drawn or fixed has them."""
    values: dict[str, Any] = {}
    for parameter in sorted(space.parameters, key=lambda p: p.rule is not None):
        rule = _rule_in_force(parameter, space, fixed, values)
        if parameter.rule is not None and not has_option(parameter.rule, rule, parameter.option):
            continue
        values[parameter.name] = _suggest_one(trial, parameter)
    return values


def check_drawable(space: TuningSpace, fixed: Fixed) -> None:
    """Refuse, before the first trial, a space of which nothing or only the impossible can be drawn.

    Raises:
        UsageError: every setting is fixed, all that is left are options of rules not in force, or an exit width does
            not suit a search space that can come with it.
    """
    if not any(p.rule is None or _can_be_drawn(p, space, fixed) for p in space.parameters):
        options = ", ".join(p.name for p in space.parameters)
        why = f"no trial would draw {options}; add or set its rule" if options else "every setting of it is fixed"
        raise UsageError(f"nothing is left to tune in tuning space {space.name}: {why}")
    searched = [load_space(name) for name in _possible("space", space, fixed)]
    for width in _possible("exit_width", space, fixed):
        for each in searched:
            try:
                each.with_width(width)
            except UsageError as error:
                reason = str(error).removeprefix("--")
                raise UsageError(f"tuning space {space.name}: {reason}") from None


def _can_be_drawn(parameter: Parameter, space: TuningSpace, fixed: Fixed) -> bool:
    rule = str(parameter.rule)
    drawn = next((p.values for p in space.parameters if p.key == rule), None)
    names = drawn.choices if isinstance(drawn, Choices) else (_rule_in_force(parameter, space, fixed, {}),)
    return any(has_option(rule, str(name), parameter.option) for name in names)


def _possible(key: str, space: TuningSpace, fixed: Fixed) -> list[Any]:
    """What a setting of the search can be in a trial; None for no value at all."""
    values = next((p.values for p in space.parameters if p.key == key), None)
    if values is None:
        return [fixed["search"].get(key, SearchSettings.model_fields[key].default)]
    if isinstance(values, Choices):
        return list(values.choices)
    return list(range(int(values.low), int(values.high) + 1, int(values.step or 1)))


def _suggest_one(trial: Any, parameter: Parameter) -> Any:
    values, name = parameter.values, parameter.name
    if isinstance(values, Choices):
        return trial.suggest_categorical(name, values.choices)
    if is_whole(parameter):
        return trial.suggest_int(name, int(values.low), int(values.high), step=int(values.step or 1), log=values.log)
    return trial.suggest_float(name, values.low, values.high, step=values.step, log=values.log)


def is_whole(parameter: Parameter) -> bool:
    """Whether a range holds whole numbers only."""
    if parameter.rule is None:
        return parameter.whole
    names = owners(parameter.rule, parameter.option)
    return all(option_type(parameter.rule, name, parameter.option) is int for name in names)


def default_parameters(space: TuningSpace, fixed: Fixed, search_only: bool = False) -> tuple[dict[str, Any], list[str]]:
    """Parameters of the default settings, for the first trial, and the names of those that lie outside the space.

    What lies outside is replaced by the nearest value inside.
    """
    search, retrain = trial_settings(space, fixed, {}, search_only)
    values: dict[str, Any] = {}
    outside: list[str] = []
    for parameter in space.parameters:
        settings: Any = search if parameter.phases[0] == "search" else retrain
        if parameter.rule is None:
            wanted = getattr(settings, parameter.key)
            if parameter.key == "exit_width" and wanted is None:
                wanted = load_space(search.space).width
        else:
            rule = getattr(settings, parameter.rule)
            if not has_option(parameter.rule, rule, parameter.option):
                continue
            wanted = default_option(parameter.rule, rule, parameter.option)
        values[parameter.name] = nearest_inside(parameter, wanted)
        if values[parameter.name] != wanted:
            outside.append(parameter.name)
    return values, outside


def nearest_inside(parameter: Parameter, wanted: Any) -> Any:
    """`wanted` where the parameter takes it, else the value that is nearest to it (of names: the first)."""
    values = parameter.values
    numeric = isinstance(wanted, int | float) and not isinstance(wanted, bool)
    if isinstance(values, Range):
        inside = min(max(float(wanted), values.low), values.high) if numeric else values.low
        step = values.step or (1 if is_whole(parameter) and not values.log else None)
        if step:
            inside = values.low + step * min(
                round((inside - values.low) / step), int((values.high - values.low) / step)
            )
        return int(inside) if is_whole(parameter) else inside
    if wanted in values.choices:
        return wanted
    numbers = [c for c in values.choices if isinstance(c, int | float) and not isinstance(c, bool)]
    return min(numbers, key=lambda c: abs(c - wanted)) if numeric and numbers else values.choices[0]


def _put(chosen: dict[str, Any], parameter: Parameter, value: Any) -> None:
    if parameter.rule is None:
        chosen[parameter.key] = value
        return
    options = f"{parameter.rule}_options"
    chosen[options] = {**(chosen.get(options) or {}), parameter.option: value}


def _rule_in_force(parameter: Parameter, space: TuningSpace, fixed: Fixed, values: dict[str, Any]) -> str:
    """The objective, weighting or gradient rule of this trial, which decides what options there are."""
    if parameter.rule is None:
        return ""
    drawn = next((p.name for p in space.parameters if p.key == parameter.rule), None)
    if drawn is not None:
        return str(values[drawn])
    default = RetrainSettings.model_fields[parameter.rule].default
    return str(fixed["retrain"].get(parameter.rule, default))


class Settled(Frozen):
    """The settings of one trial, JSON-ready; only what differs from the defaults, and what the trial drew."""

    search: dict[str, Any]
    retrain: dict[str, Any] | None


def settled(space: TuningSpace, fixed: Fixed, values: dict[str, Any], search_only: bool = False) -> Settled:
    """The settings of a trial as configuration files hold them."""
    search, retrain = trial_settings(space, fixed, values, search_only)
    told = [_told(settings, phase, space) for settings, phase in ((search, "search"), (retrain, "retrain")) if settings]
    return Settled(search=told[0], retrain=told[1] if len(told) > 1 else None)


def _told(settings: SearchSettings | RetrainSettings, phase: str, space: TuningSpace) -> dict[str, Any]:
    tuned = {p.key for p in space.parameters if phase in p.phases}
    plain = type(settings)(task=settings.task).model_dump(mode="json")
    full = settings.model_dump(mode="json")
    if phase == "retrain":  # said in full: what a file leaves out is taken from the genotype
        return {key: value for key, value in full.items() if value is not None and value != {}}
    return {key: value for key, value in full.items() if key in tuned | {"task"} or value != plain[key]}
