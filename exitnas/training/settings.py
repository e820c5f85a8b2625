"""Settings that search and retraining share, validated when made."""

from typing import Any, Literal, TypeVar

from pydantic import Field

from exitnas.errors import ExitnasError, UsageError
from exitnas.schema import Frozen, parse

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
    """Rows per step."""
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


S = TypeVar("S", bound=TrainingSettings)


def make_settings(model: type[S], **values: Any) -> S:
    """Build settings from the values that were given, leaving out those that are None.

    Raises:
        UsageError: a value is out of range; the message names the option.
    """
    given = {name: value for name, value in values.items() if value is not None}
    try:
        return parse(model, given, "settings")
    except ExitnasError as error:
        option, _, reason = str(error).removeprefix("settings: ").partition(": ")
        raise UsageError(f"--{option.replace('_', '-')}: {reason}") from None
