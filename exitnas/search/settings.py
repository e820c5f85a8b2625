"""Settings of a search."""

from typing import Literal

from pydantic import Field

from exitnas.training.settings import TrainingSettings


class SearchSettings(TrainingSettings):
    """Settings of a search, on top of the shared ones."""

    space: str = "leco"
    """Search space: a name or the path of a YAML file."""
    arch_lr: float = Field(default=2e-2, gt=0)
    """Learning rate of the architecture parameters. LECO's 2e-4 with some 1,200 steps leaves every choice near chance."""
    arch_weight_decay: float = Field(default=1e-3, ge=0)
    """Weight decay of the architecture parameters, as in DARTS."""
    arch_warmup_epochs: int = Field(default=1, ge=0)
    """Epochs at the start in which only weights learn, so that untrained operations are not judged."""
    split: Literal["epoch", "fixed"] = "epoch"
    """Draw D1 and D2 anew every epoch (LECO 6.3), or once."""
