"""Settings of searches and of retraining, validated when made."""

from math import isfinite
from types import NoneType
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin

from pydantic import AfterValidator, Field, ValidationInfo, field_validator

from exitnas.errors import ExitnasError, UsageError
from exitnas.files import json_kind
from exitnas.schema import Frozen, parse
from exitnas.supernet.relaxations import DEFAULT_RELAXATION, RELAXATIONS

#: Largest seed every generator takes.
MAX_SEED = 2**32 - 1


class TrainingSettings(Frozen):
    """What both search and retraining need to know."""

    task: str
    """Task name, or path of a task YAML file."""
    backbone: str = "albert-base"
    """Backbone alias, hub id or folder."""
    data_dir: str | None = None
    """Folder of local data files."""
    epochs: int = Field(default=10, ge=1, le=10_000)
    """Passes over the training rows."""
    batch_size: int = Field(default=32, ge=1, le=100_000)
    """Rows per step, over all processes and micro-batches, so that neither changes what is learned."""
    accumulate: int = Field(default=1, ge=1, le=100_000)
    """Micro-batches a process cuts its rows of a step into, one after another, to save memory. Relaxation
    `gumbel_softmax` draws its noise once per micro-batch, so with it the number changes what is learned."""
    max_length: int = Field(default=128, ge=4, le=100_000)
    """Longest row in tokens."""
    lr: float = Field(default=5e-5, ge=0)
    """Learning rate of the backbone."""
    exit_lr: float = Field(default=1e-3, gt=0)
    """Learning rate of the exits, which start from scratch."""
    weight_decay: float = Field(default=0.01, ge=0)
    """Weight decay of backbone and exits."""
    warmup: float = Field(default=0.1, ge=0, lt=1)
    """Share of the steps over which the learning rates rise."""
    dropout: float | None = Field(default=None, ge=0, lt=1)
    """Dropout of the encoder in training; None keeps its own. Without any, several processes give what one gives."""
    clip: float = Field(default=1.0, gt=0)
    """Largest norm of the gradient of the weights."""
    seed: int = Field(default=42, ge=0, le=MAX_SEED)
    """Seed of initialization, dropout and data order."""
    split_seed: int = Field(default=42, ge=0, le=MAX_SEED)
    """Seed of the dev/test split, apart from `seed` so that all seeds see the same rows."""
    limit_train: int | None = Field(default=None, ge=2)
    """Use only this many training rows."""
    limit_eval: int | None = Field(default=None, ge=1)
    """Use only this many rows of dev and of test."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to compute."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Precision of the backbone; exits are always fp32."""
    offline: bool = False
    """Never ask the hub."""


class RetrainSettings(TrainingSettings):
    """Settings of retraining, on top of the shared ones."""

    objective: str = "joint"
    """Training objective."""
    seeds: int = Field(default=1, ge=1, le=1000)
    """Train this many times, with seeds `seed`, `seed + 1`, ..."""
    objective_options: dict[str, Any] = Field(default_factory=dict)
    """Options of the objective."""
    weighting: str = "uniform"
    """How the objective's terms are weighed."""
    weighting_options: dict[str, Any] = Field(default_factory=dict)
    """Options of the weighting."""
    gradient: str = "sum"
    """How the terms' gradients become one."""
    gradient_options: dict[str, Any] = Field(default_factory=dict)
    """Options of the gradient rule."""
    lte: bool = False
    """Train a certainty head for policy `lte`."""
    layers: int | None = Field(default=None, ge=1)
    """Keep only this many layers of the backbone, from the first."""
    recipe: str | None = None
    """Name of the recipe these settings come from, for the record and its recommended policy."""


def _known_relaxation(name: str) -> str:
    try:
        return RELAXATIONS.check(name)
    except UsageError as error:
        raise ValueError(str(error)) from None


class SearchSettings(TrainingSettings):
    """Settings of a search, on top of the shared ones."""

    space: str = "leco"
    """Search space: a name or the path of a YAML file."""
    exit_width: int | None = Field(default=None, ge=1, le=100_000)
    """Exit width d in place of the space's own."""
    relaxation: Annotated[str, AfterValidator(_known_relaxation)] = DEFAULT_RELAXATION
    """How architecture parameters become the weights of candidates."""
    temperature: float = Field(default=1.0, ge=0.01, le=100)
    """Temperature of the relaxation when the search starts; LECO and DARTS have 1 throughout."""
    temperature_end: float | None = Field(default=None, ge=0.01, le=100)
    """Temperature when the search ends, reached by the same factor every step; by default that of the start."""
    arch_lr: float = Field(default=3e-2, gt=0)
    """Learning rate of the architecture parameters; LECO's 2e-4 leaves every choice near chance."""
    arch_weight_decay: float = Field(default=1e-3, ge=0)
    """Weight decay of the architecture parameters: DARTS's value, decoupled as AdamW (LECO 6.3) has it."""
    arch_warmup_epochs: int = Field(default=None, ge=0)  # type: ignore[assignment]
    """Epochs at the start in which only weights learn, so that untrained operations are not judged; by default 1 of
    two or more."""
    second_order: bool = False
    """Architecture steps look through the next step of the weights (DARTS eq. 6-8), at about three times the cost of an
    epoch."""
    auxiliary_skip: float = Field(default=1.0, ge=0)
    """Weight of an extra skip-connection at the start, lowered to 0 over the search (DARTS-, Chu et al. 2021)."""
    scale_exits: bool = True
    """Learn a scale of every exit's logits with the architecture, so that null is not chosen just to be less sure."""
    refine: int = Field(default=24, ge=0, le=1000)
    """Candidates per layer that compete with the arg-max exit after the search; 0 leaves that out."""
    refine_steps: int = Field(default=25, ge=1, le=10_000)
    """Steps of a candidate in the first round; each further round has twice as many."""
    split: Literal["epoch", "fixed"] = "epoch"
    """Draw D1 and D2 anew every epoch (LECO 6.3), or once."""
    d1_share: float = Field(default=0.5, gt=0, lt=1)
    """Share of the training rows in D1, which the weights learn from; an epoch is one pass over D1."""

    @field_validator("second_order")
    @classmethod
    def _differences_need_fp32(cls, second: bool, info: ValidationInfo) -> bool:
        if second and info.data.get("precision") == "bf16":
            raise ValueError("takes differences of gradients, which bf16 rounds away; leave out --precision bf16")
        return second

    @field_validator("arch_warmup_epochs", mode="before")
    @classmethod
    def _one_of_several(cls, warmup: Any, info: ValidationInfo) -> Any:
        return int(info.data.get("epochs") != 1) if warmup is None else warmup

    @field_validator("arch_warmup_epochs")
    @classmethod
    def _some_epochs_search(cls, warmup: int, info: ValidationInfo) -> int:
        epochs = info.data.get("epochs", warmup + 1)  # absent where it is wrong itself, which is told instead
        if warmup >= epochs:
            raise ValueError(f"{warmup} of {epochs} epochs leave none to search in")
        return warmup


S = TypeVar("S", bound=TrainingSettings)


class SettingError(UsageError):
    """A setting has a value that it does not take. The text names the option; callers may name what they were given.

    Attributes:
        setting: its name, followed by `.` and the part that is wrong where it has parts.
        reason: what was expected, and what came.
    """

    def __init__(self, setting: str, reason: str):
        super().__init__(f"--{setting.replace('_', '-')}: {reason}")
        self.setting, self.reason = setting, reason


def make_settings(model: type[S], **values: Any) -> S:
    """Build settings from the values that were given, leaving out those that are None.

    Raises:
        SettingError: a value is out of range; the message names the option.
    """
    given = {name: value for name, value in values.items() if value is not None}
    try:
        return parse(model, given, "settings")
    except ExitnasError as error:
        setting, _, reason = str(error).removeprefix("settings: ").partition(": ")
        raise SettingError(setting, reason) from None


def check_kind(where: str, value: Any, annotation: Any) -> None:
    """Refuse what validation would let through or say badly: nothing, true as a number, NaN, options that are none.

    Args:
        where: the file and key, or the option, put in front of the message.
        value: as YAML, JSON or a flag gave it.
        annotation: of the setting.

    Raises:
        UsageError: one line.
    """
    options = get_origin(annotation) is dict
    kinds = (dict,) if options else get_args(annotation) or (annotation,)
    if value is None and NoneType not in kinds:
        raise UsageError(f"{where}: expected a value, got none; leave the key out for the default")
    if options and not isinstance(value, dict):
        raise UsageError(f"{where}: expected options by name, such as {{temperature: 2}}, got {json_kind(value)}")
    if isinstance(value, bool) and bool not in kinds:
        raise UsageError(f"{where}: expected a number or text, got {str(value).lower()}")
    if not _finite(value):
        raise UsageError(f"{where}: expected finite numbers, got {value}")


def _finite(value: Any) -> bool:
    if isinstance(value, dict | list):
        return all(_finite(inner) for inner in (value.values() if isinstance(value, dict) else value))
    return not isinstance(value, float) or isfinite(value)
