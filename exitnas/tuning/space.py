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
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import AfterValidator, Field, model_validator

from exitnas.errors import ExitnasError, UsageError
from exitnas.files import check_name, read_yaml
from exitnas.registry import nearest
from exitnas.schema import Frozen, parse
from exitnas.settings import RetrainSettings, SearchSettings, TrainingSettings, make_settings
from exitnas.tuning.rules import option_type, owners, try_option

DEFAULT = Path(__file__).with_name("default.yaml")
PHASES: dict[str, type[TrainingSettings]] = {"search": SearchSettings, "retrain": RetrainSettings}
#: Settings that say what is being solved, not how.
PROBLEM = {"task", "backbone", "data_dir", "seed", "split_seed", "limit_train", "limit_eval", "device", "offline"}
PROBLEM |= {"seeds", "layers", "recipe", "objective_options", "weighting_options", "gradient_options"}


class Range(Frozen):
    """Numbers from `low` to `high`, both included."""

    low: float
    """Smallest value."""
    high: float
    """Largest value."""
    log: bool = False
    """Drawn evenly on a logarithmic scale."""
    step: float | None = Field(default=None, gt=0)
    """Distance between values; by default 1 for whole numbers, none for others."""

    @model_validator(mode="after")
    def _ordered(self) -> "Range":
        if not self.low < self.high:
            raise ValueError(f"expected low below high, got {self.low:g} and {self.high:g}")
        if self.log and self.low <= 0:
            raise ValueError(f"a logarithmic range starts above 0, got low {self.low:g}")
        if self.log and self.step is not None:
            raise ValueError("log and step exclude each other")
        return self


class Choices(Frozen):
    """One of a list."""

    choices: tuple[Any, ...] = Field(min_length=1)
    """The values."""


class _Header(Frozen):
    name: Annotated[str, AfterValidator(check_name)]
    description: str = ""


@dataclass(frozen=True)
class Parameter:
    """One dimension of a study.

    Attributes:
        name: as in the file with its section in front: `lr`, `search.arch_lr`, `retrain.objective_options.temperature`.
        phases: `"search"`, `"retrain"` or both.
        key: the setting, `objective_options.temperature` for an option of one.
        values: where it varies.
        whole: a range of whole numbers.
    """

    name: str
    phases: tuple[str, ...]
    key: str
    values: Range | Choices
    whole: bool = False

    @property
    def rule(self) -> str | None:
        """The setting whose choice has this option (`objective`, `weighting`, `gradient`); None for plain settings."""
        return self.key.split("_options.")[0] if "_options." in self.key else None

    @property
    def option(self) -> str:
        """The option's name."""
        return self.key.split(".", 1)[-1]


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
            left = [phase for phase in parameter.phases if not _given(parameter, fixed[phase])]
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
            _check_option(parameter, found, where)
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
    types = _types(PHASES[phases[0]].model_fields[key].annotation)
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
    return Choices(choices=read)


def _try_setting(phase: str, key: str, value: Any, where: str) -> Any:
    """The value as the settings read it; one line where it cannot be."""
    if value is None and type(None) not in _types(PHASES[phase].model_fields[key].annotation):
        raise ExitnasError(f"{where}: takes no null")
    try:
        return getattr(make_settings(PHASES[phase], task="any", **{key: value}), key)
    except ExitnasError as error:
        raise ExitnasError(f"{where}: {str(error).partition(': ')[2] or error}") from None


def _check_option(parameter: Parameter, found: list[Parameter], where: str) -> None:
    """An option must be one of a rule that can be drawn, and take the values."""
    rule = str(parameter.rule)
    drawn = next((p for p in found if p.key == rule), None)
    if drawn is None:  # the rule is fixed on the command line, or stays the default: known when the study starts
        names = owners(rule, parameter.option)
    else:
        names = [str(n) for n in drawn.values.choices if str(n) in owners(rule, parameter.option)]  # type: ignore[union-attr]
    if not names:
        raise ExitnasError(f"{where}: {parameter.name}: no {rule} that can be drawn has an option {parameter.option!r}")
    values = parameter.values
    tried = values.choices if isinstance(values, Choices) else (values.low, values.high)
    for value in tried:
        whole = isinstance(values, Range) and option_type(rule, names[0], parameter.option) is int
        try_option(rule, names[0], {parameter.option: int(value) if whole else value}, f"{where}: {parameter.name}")


def _given(parameter: Parameter, fixed: dict[str, Any]) -> bool:
    if parameter.rule is None:
        return parameter.key in fixed
    return parameter.option in (fixed.get(f"{parameter.rule}_options") or {})


def _field(model: type[TrainingSettings], key: Any) -> Any:
    """The setting `key` of `model` if it may vary, or the dictionary that an option `x_options.y` goes into."""
    setting, dot, _ = str(key).partition(".")
    if dot:
        return model.model_fields.get(setting) if setting.endswith("_options") else None
    return None if setting in PROBLEM else model.model_fields.get(setting)


def _types(annotation: Any) -> set[Any]:
    """The plain types an annotation allows."""
    if get_origin(annotation) is Annotated:
        return _types(get_args(annotation)[0])
    if get_origin(annotation) is Union or str(type(annotation)) == "<class 'types.UnionType'>":
        return {t for part in get_args(annotation) for t in _types(part)}
    return {annotation}
