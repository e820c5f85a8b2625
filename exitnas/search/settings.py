"""Settings of a search."""

from typing import Any, Literal

from pydantic import Field, model_validator

from exitnas.training.settings import TrainingSettings


class SearchSettings(TrainingSettings):
    """Settings of a search, on top of the shared ones."""

    space: str = "leco"
    """Search space: a name or the path of a YAML file."""
    arch_lr: float = Field(default=3e-2, gt=0)
    """Learning rate of the architecture parameters; LECO's 2e-4 leaves every choice near chance."""
    arch_weight_decay: float = Field(default=1e-3, ge=0)
    """Weight decay of the architecture parameters: DARTS's value, decoupled as AdamW (LECO 6.3) has it."""
    arch_warmup_epochs: int = Field(default=1, ge=0)
    """Epochs at the start in which only weights learn, so that untrained operations are not judged; by default 1 of
    two or more."""
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

    @model_validator(mode="before")
    @classmethod
    def _some_epochs_search(cls, values: dict[str, Any]) -> dict[str, Any]:
        epochs = values.get("epochs", cls.model_fields["epochs"].default)
        warmup = values.get("arch_warmup_epochs")
        if warmup is None:
            return {**values, "arch_warmup_epochs": int(epochs != 1)}
        if isinstance(warmup, int) and isinstance(epochs, int) and warmup >= epochs:
            raise ValueError(f"arch_warmup_epochs: {warmup} of {epochs} epochs leave none to search in")
        return values
