"""All state of the search loop in one place: beside torch's generators, all that must be saved to go on exactly."""

from dataclasses import dataclass, field
from typing import Any

import torch

from exitnas.settings import SearchSettings
from exitnas.supernet.space import SearchSpace
from exitnas.supernet.supernet import Supernet
from exitnas.training.optimizers import architecture_optimizer, assert_partition, weight_optimizer
from exitnas.training.schedules import decay, geometric
from exitnas.training.setup import Setup


@dataclass
class SearchState:
    """State of a search.

    Attributes:
        supernet: backbone, mixed exits and architecture parameters.
        weights: optimizer of backbone and exits.
        architecture: optimizer of the architecture parameters and of the exits' scales.
        generator: draws splits and orders; dropout draws from torch's global generator, which is not part of this.
        epoch, step: epochs and weight steps completed.
        halves: rows of D1 and D2.
    """

    supernet: Supernet
    weights: torch.optim.AdamW
    architecture: torch.optim.AdamW
    generator: torch.Generator
    epoch: int = 0
    step: int = 0
    halves: tuple[list[int], list[int]] = field(default_factory=lambda: ([], []))

    @classmethod
    def start(cls, setup: Setup, settings: SearchSettings, space: SearchSpace) -> "SearchState":
        """A fresh state; initial weights come from torch's global generator."""
        supernet = Supernet(setup.fresh_backbone(), space, setup.spec.num_labels, settings.relaxation)
        supernet = supernet.to(setup.device).train()
        supernet.architecture.temperature = settings.temperature
        weights = weight_optimizer(
            supernet.backbone,
            supernet.exits,
            lr=settings.lr,
            exit_lr=settings.exit_lr,
            weight_decay=settings.weight_decay,
        )
        upper = [*supernet.architecture.parameters(), supernet.log_scales]
        architecture = architecture_optimizer(upper, lr=settings.arch_lr, weight_decay=settings.arch_weight_decay)
        assert_partition(supernet, weights, architecture)
        return cls(supernet, weights, architecture, torch.Generator().manual_seed(settings.seed))

    def state_dict(self) -> dict[str, Any]:
        """Everything, as tensors and plain values."""
        return {
            "supernet": self.supernet.state_dict(),
            "weights": self.weights.state_dict(),
            "architecture": self.architecture.state_dict(),
            "generator": self.generator.get_state(),
            "epoch": self.epoch,
            "step": self.step,
            "halves": self.halves,
        }

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Go back to what `state_dict` gave."""
        self.supernet.load_state_dict(saved["supernet"])
        self.weights.load_state_dict(saved["weights"])
        self.architecture.load_state_dict(saved["architecture"])
        self.generator.set_state(saved["generator"])
        self.epoch, self.step = saved["epoch"], saved["step"]
        self.halves = (list(saved["halves"][0]), list(saved["halves"][1]))

    def split(self, rows: int, share: float = 0.5) -> None:
        """Draw D1 and D2, by default 1:1 (LECO 6.3)."""
        order = torch.randperm(rows, generator=self.generator).tolist()
        middle = rows_of_d1(rows, share)
        self.halves = (order[:middle], order[middle:])

    def anneal(self, settings: SearchSettings, total: int) -> None:
        """Set what depends on how far the search is: the auxiliary skip-connection and the relaxation's temperature.

        Args:
            total: weight steps of the whole search.
        """
        self.supernet.set_auxiliary_skip(settings.auxiliary_skip * decay(self.step, total))
        end = settings.temperature if settings.temperature_end is None else settings.temperature_end
        self.supernet.architecture.temperature = geometric(self.step, total, settings.temperature, end)


def rows_of_d1(rows: int, share: float) -> int:
    """Size of D1 out of `rows` training rows, two or more: the nearest to `share`, a half up; never 0 nor all."""
    return min(max(int(rows * share + 0.5), 1), rows - 1)
