"""The space of a study: which settings vary, over what. YAML, checked against the settings themselves.

name: rates
lr: {low: 1.0e-5, high: 3.0e-4, log: true}            # one value for the search and the retraining of a trial
search:
  arch_lr: {low: 3.0e-3, high: 3.0e-1, log: true}     # of the search alone
retrain:
  objective: {choices: [joint, mutual]}
  objective_options.temperature: {low: 1.0, high: 4.0}   # only where the objective drawn has that option
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator

from exitnas.errors import ExitnasError, UsageError
from exitnas.files import check_name, read_yaml
from exitnas.registry import nearest
from exitnas.schema import Frozen, parse
from exitnas.settings import RetrainSettings, SearchSettings, SettingError, TrainingSettings, make_settings
from exitnas.supernet.space import load_space
from exitnas.tuning.dimensions import Choices, Parameter, Range
from exitnas.tuning.rules import check_option, plain_types, try_option

DEFAULT = Path(__file__).with_name("default.yaml")
PHASES: dict[str, type[TrainingSettings]] = {"search": SearchSettings, "retrain": RetrainSettings}
#: Settings that say what is being solved, not how.
PROBLEM = {"task", "backbone", "data_dir", "seed", "split_seed", "limit_train", "limit_eval", "device", "offline"}
PROBLEM |= {"seeds", "layers", "recipe", "objective_options", "weighting_options", "gradient_options"}


class _Header(Frozen):
    name: Annotated[str, AfterValidator(check_name)]
    description: str = ""


@dataclass(frozen=True)
class TuningSpace:
    """A checked space.

    Attributes:
        content: the file's content, for the record of a study.
    """

    name: str
    description: str
    parameters: tuple[Parameter, ...]
    content: dict[str, Any]

    def without(self, fixed: dict[str, dict[str, Any]], search_only: bool = False) -> tuple["TuningSpace", list[str]]:
        """The space less the settings that are fixed or belong to a phase that is not run, and what was dropped.

        Args:
            fixed: per phase, the settings given on the command line.
        """
        kept: list[Parameter] = []
        dropped: list[str] = []
        for parameter in self.parameters:
            left = [phase for phase in parameter.phases if not parameter.given_in(fixed[phase])]
            left = [phase for phase in left if phase == "search" or not search_only]
            if left:
                kept.append(replace(parameter, phases=tuple(left)))
            else:
                dropped.append(parameter.name)
        return replace(self, parameters=tuple(kept)), dropped


def load_tuning_space(name: str | None) -> TuningSpace:
    """The default space, or that of a YAML file.

    Raises:
        UsageError: no such file.
        ExitnasError: the file is wrong; the message has the path of the value inside the file.
    """
    if name in (None, "default"):
        return read_space(read_yaml(DEFAULT), str(DEFAULT))
    path = Path(str(name)).expanduser()
    if not path.is_file():
        raise UsageError(f"--tuning-space {name}: no such file; give the path of a YAML file, or default")
    return read_space(read_yaml(path), str(path))


def read_space(content: Any, where: str) -> TuningSpace:
    """Check the content of a space's file; `where` is named in errors."""
    if not isinstance(content, dict):
        raise ExitnasError(f"{where}: expected settings and their ranges, got {type(content).__name__}")
    header = parse(_Header, {key: content[key] for key in ("name", "description") if key in content}, where)
    found: list[Parameter] = []
    for key, value in content.items():
        if key in ("name", "description"):
            continue
        if key not in PHASES:
            found.append(_parameter("", key, value, where))
            continue
        if not isinstance(value, dict):
            raise ExitnasError(f"{where}: {key}: expected settings and their ranges, got {value!r:.60}")
        found += [_parameter(key, inner, entry, where) for inner, entry in value.items()]
    if not found:
        raise ExitnasError(f"{where}: names no setting to tune; an entry reads `lr: {{low: 1.0e-5, high: 1.0e-3}}`")
    for parameter in found:
        twin = next((p for p in found if p is not parameter and p.key == parameter.key), None)
        if twin is not None and set(twin.phases) & set(parameter.phases):
            raise ExitnasError(f"{where}: {parameter.name} and {twin.name} are the same setting; leave one of them out")
        if parameter.rule is not None:
            rule = next((p.values for p in found if p.key == parameter.rule), None)
            drawn = rule.choices if isinstance(rule, Choices) else None
            values, at = parameter.values, f"{where}: {parameter.name}"
            if isinstance(values, Choices):
                check_option(parameter.rule, parameter.option, drawn, values.choices, at)
            else:
                check_option(parameter.rule, parameter.option, drawn, (values.low, values.high), at, ranged=True)
    return TuningSpace(header.name, header.description, tuple(found), content)


def _parameter(section: str, key: Any, value: Any, where: str) -> Parameter:
    name = f"{section}.{key}" if section else str(key)
    phases = tuple(
        phase for phase, model in PHASES.items() if section in ("", phase) and _field(model, key) is not None
    )
    if not phases:
        models = [PHASES[section]] if section else list(PHASES.values())
        known = sorted({field for model in models for field in model.model_fields} - PROBLEM)
        known += [] if section == "search" else ["objective_options.OPTION"]
        raise ExitnasError(f"{where}: {name}: unknown setting; {nearest(str(key), known)}")
    if not isinstance(value, dict):
        raise ExitnasError(f"{where}: {name}: expected {{low: , high: }} or {{choices: [ ]}}, got {value!r:.60}")
    values: Range | Choices
    if "choices" in value:
        values = parse(Choices, value, f"{where}: {name}")
    else:
        values = parse(Range, value, f"{where}: {name}")
    if "_options." in key:
        return Parameter(name, phases, key, values)
    types = plain_types(PHASES[phases[0]].model_fields[key].annotation)
    if isinstance(values, Choices):
        return Parameter(name, phases, key, _checked_choices(values, name, phases, key, where))
    if not types & {int, float} or bool in types:
        raise ExitnasError(f"{where}: {name}: takes no numbers, so it has no range; give {{choices: [ ]}}")
    whole = float not in types
    ends = [values.low, values.high, *([values.step] if values.step else [])]
    if whole and any(number != int(number) for number in ends):
        raise ExitnasError(f"{where}: {name}: takes whole numbers, got {', '.join(f'{n:g}' for n in ends)}")
    for number in (values.low, values.high):
        for phase in phases:
            _try_setting(phase, key, int(number) if whole else number, f"{where}: {name}")
    return Parameter(name, phases, key, values, whole)


def _checked_choices(values: Choices, name: str, phases: tuple[str, ...], key: str, where: str) -> Choices:
    """The choices as the settings read them (`1e-5` of YAML is text), each one valid and none twice."""
    read = tuple(_try_setting(phase, key, c, f"{where}: {name}") for c in values.choices for phase in phases[:1])
    if any(not isinstance(choice, bool | int | float | str | None) for choice in read):
        raise ExitnasError(f"{where}: {name}: choices are numbers, names, true, false or null, got {list(read)!r:.60}")
    if len({(type(choice), choice) for choice in read}) != len(read):
        raise ExitnasError(f"{where}: {name}: holds a choice twice: {list(read)!r:.60}")
    if key in ("objective", "weighting", "gradient"):
        for choice in read:
            try_option(key, str(choice), {}, f"{where}: {name}")
    if key == "space":
        for choice in read:
            _try_space(choice, f"{where}: {name}")
    return Choices(choices=read)


def _try_setting(phase: str, key: str, value: Any, where: str) -> Any:
    """The value as the settings read it; one line where it cannot be."""
    if value is None and type(None) not in plain_types(PHASES[phase].model_fields[key].annotation):
        raise ExitnasError(f"{where}: takes no null")
    try:
        return getattr(make_settings(PHASES[phase], task="any", **{key: value}), key)
    except SettingError as error:
        raise ExitnasError(f"{where}: {error.reason or error}") from None


def _try_space(name: str, where: str) -> None:
    """Raise the one line that says why this search space cannot be."""
    try:
        load_space(name)
    except ExitnasError as error:
        raise ExitnasError(f"{where}: {error}") from None


def _field(model: type[TrainingSettings], key: Any) -> Any:
    """The setting `key` of `model` if it may vary, or the dictionary that an option `x_options.y` goes into."""
    setting, dot, _ = str(key).partition(".")
    if dot:
        return model.model_fields.get(setting) if setting.endswith("_options") else None
    return None if setting in PROBLEM else model.model_fields.get(setting)
