"""What training minimizes and how: an objective, a loss weighting, a gradient rule, a certainty head or none.

All four compose; what cannot be meant is refused here, with the reason.
"""

from dataclasses import dataclass, field
from typing import Any

import torch

from exitnas.errors import UsageError, require
from exitnas.objectives import OBJECTIVES
from exitnas.objectives.base import Objective
from exitnas.objectives.gradient import GRADIENT_RULES
from exitnas.objectives.gradient.base import GradientRule
from exitnas.objectives.options import build, option_names
from exitnas.objectives.weighting import WEIGHTINGS
from exitnas.objectives.weighting.base import Weighting


@dataclass(frozen=True)
class Parts:
    """What one run of training uses: the objective, and a weighting and a gradient rule with state of their own."""

    objective: Objective
    weighting: Weighting
    gradient: GradientRule

    def state_dict(self) -> dict[str, Any]:
        """What changes in training."""
        return {"weighting": self.weighting.state_dict(), "gradient": self.gradient.state_dict()}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Go back to what `state_dict` gave; of parts of the same plan."""
        self.weighting.load_state_dict(saved["weighting"])
        self.gradient.load_state_dict(saved["gradient"])


@dataclass(frozen=True)
class TrainingPlan:
    """The validated plan of a training run.

    Weighting and gradient rule hold the state of one run, so the plan keeps their names and options and makes new ones
    on demand.

    Raises:
        UsageError: on construction, for unknown names and options, values out of range, senseless combinations.
    """

    objective: Objective
    weighting: str = "uniform"
    weighting_options: dict[str, Any] = field(default_factory=dict)
    gradient: str = "sum"
    gradient_options: dict[str, Any] = field(default_factory=dict)
    lte: bool = False

    def __post_init__(self) -> None:
        self._check_weighting(self.new_weighting())
        self._check_gradient(self.new_gradient())
        if self.lte and self.objective.name == "self_distillation" and not self.objective.trains_every_exit:
            raise UsageError(
                "--lte adds its loss to the exits' task losses, and the second stage of self_distillation has none: "
                "use --objective-option stages=1, or another objective"
            )

    @classmethod
    def from_settings(cls, settings: Any) -> "TrainingPlan":
        """The plan of `exitnas.settings.RetrainSettings`; CLO's lambda_1 is the model's rate unless given."""
        weighting_options = dict(settings.weighting_options)
        if "lr_d1" in option_names(WEIGHTINGS.get(settings.weighting)):
            weighting_options.setdefault("lr_d1", settings.lr or None)
        return cls(
            build(OBJECTIVES, settings.objective, settings.objective_options),
            settings.weighting,
            weighting_options,
            settings.gradient,
            settings.gradient_options,
            settings.lte,
        )

    def new_weighting(self) -> Weighting:
        """A fresh weighting; call its `start` before use."""
        return build(WEIGHTINGS, self.weighting, self.weighting_options)

    def new_gradient(self) -> GradientRule:
        """A fresh gradient rule."""
        return build(GRADIENT_RULES, self.gradient, self.gradient_options)

    def start(self, exits: int, seed: int, device: torch.device | str = "cpu") -> Parts:
        """Fresh parts for a model of E = `exits`; `seed` is for weightings that draw."""
        weighting = self.new_weighting()
        columns = self.objective.columns(exits)
        weighting.start(exits, len(columns), torch.Generator().manual_seed(seed), device)
        return Parts(self.objective, weighting, self.new_gradient())

    def check_task(self, regression: bool) -> None:
        """Refuse an objective that needs a distribution on a regression task."""
        if regression and not self.objective.regression:
            able = ", ".join(name for name in OBJECTIVES if OBJECTIVES.get(name).regression)
            raise UsageError(
                f"objective {self.objective.name!r} compares class distributions, and this task predicts a number: "
                f"use one of {able}"
            )

    def describe(self) -> dict[str, Any]:
        """The plan with every option spelled out, JSON-ready."""
        return {
            "objective": {"name": self.objective.name, **self.objective.options()},
            "weighting": {"name": self.weighting, **self.new_weighting().options()},
            "gradient": {"name": self.gradient, **self.new_gradient().options()},
            "lte": self.lte,
        }

    def _check_weighting(self, weighting: Weighting) -> None:
        kind, name = self.objective.auxiliary, self.objective.name
        if self.weighting == "uniform":
            return
        require(
            kind != "none",
            f"--weighting {self.weighting} weighs the terms of an exit against each other, and {name} gives every exit "
            "one term at a time: use mutual, global_past_future or self_distillation with stages=1, or uniform",
        )
        require(
            not (weighting.learned and kind == "diversity"),
            f"--weighting {self.weighting} would learn to put all weight on the diversity, which is subtracted and has "
            "no bound: use uniform or random with diversity",
        )

    def _check_gradient(self, rule: GradientRule) -> None:
        objective = self.objective
        if rule.needs == "distillation":
            require(
                objective.auxiliary in ("distillation", "imitation"),
                f"--gradient {self.gradient} aligns a distillation gradient with the task's, and {objective.name} "
                "never has both in one step: use mutual, global_past_future or self_distillation with stages=1, or sum",
            )
            require(
                objective.options().get("alpha") is None,
                f"--gradient {self.gradient} has an alpha of its own (eq. 6): leave out the alpha of {objective.name}",
            )
        if rule.needs == "every exit":
            require(
                objective.trains_every_exit,
                f"--gradient {self.gradient} averages the gradients of all exits at every branch, and {objective.name} "
                "trains only some of them at a time: use another objective, or sum",
            )
