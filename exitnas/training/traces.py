"""What objectives leave behind in a run directory beside the scores: learned loss weights, gradient angles."""

from typing import Any

from exitnas.files import read_json, write_json
from exitnas.objectives.gradient.alignment import share_above_90
from exitnas.objectives.gradient.base import GradientRule
from exitnas.objectives.plan import Parts
from exitnas.reporting.tensorboard import Scalars
from exitnas.training.runs import Run

WEIGHTS_FILE = "loss_weights.json"
ANGLES_FILE = "gradient_angles.json"


class Traces:
    """Writes the traces of one seed; those of other seeds in the same files are kept.

    Args:
        columns: names of the K terms, as `Objective.columns` gives them.
    """

    def __init__(self, run: Run, seed: int, scalars: Scalars, columns: list[str]):
        self.run, self.seed, self.scalars, self.columns = run, seed, scalars, columns

    def angle(self, step: int, gradient: GradientRule) -> None:
        """The angle of the last step, to TensorBoard."""
        if gradient.angles and gradient.angles[-1] is not None:
            self.scalars.add(step, {"gradient/angle": gradient.angles[-1]})

    def epoch(self, step: int, parts: Parts) -> dict[str, Any]:
        """Write what there is after an epoch; returns what its line of `history.jsonl` gets on top."""
        weighting, gradient = parts.weighting, parts.gradient
        more: dict[str, Any] = {}
        if weighting.name != "uniform":
            matrix = weighting.matrix().tolist()
            self._merge(WEIGHTS_FILE, {"weighting": weighting.name, "terms": self.columns}, matrix)
            self.scalars.loss_weights(step, matrix, self.columns)
            more["loss_weights"] = matrix
        if gradient.angles:
            share = share_above_90(gradient.angles)
            self._merge(ANGLES_FILE, {"unit": "degrees, one per step"}, gradient.angles)
            more["angles_above_90"] = share
            if share is not None:
                self.scalars.add(step, {"gradient/share_above_90": share})
        return more

    def _merge(self, name: str, header: dict[str, Any], value: Any) -> None:
        if not self.run.writes:
            return
        path = self.run.path / name
        seeds = read_json(path)["seeds"] if path.exists() else {}
        write_json(path, {**header, "seeds": {**seeds, str(self.seed): value}})
