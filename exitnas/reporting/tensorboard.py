"""TensorBoard scalars of a run, under its `tb/`."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from exitnas.supernet.architecture import Architecture


class Scalars:
    """Writes scalars; `close` when done.

    Tags: `loss/weights`, `loss/architecture`, `dev/exit_03`, `dev/avg`, `dev/best`,
    `architecture/layer_03/encoder_1/conv_3`; retraining adds its loss weights and gradient angles.
    """

    def __init__(self, folder: Path | str):
        from torch.utils.tensorboard import SummaryWriter

        self._writer: Any = SummaryWriter(str(folder))

    def add(self, step: int, **values: float) -> None:
        """One scalar per keyword; a double underscore in a name becomes a slash."""
        for name, value in values.items():
            self._writer.add_scalar(name.replace("__", "/"), value, step)

    def exits(self, step: int, split: str, scores: list[float], avg: float, best: float) -> None:
        """The score of every exit, their average and the best."""
        for number, value in enumerate(scores, start=1):
            self._writer.add_scalar(f"{split}/exit_{number:02d}", value, step)
        self._writer.add_scalar(f"{split}/avg", avg, step)
        self._writer.add_scalar(f"{split}/best", best, step)

    def architecture(self, step: int, architecture: "Architecture") -> None:
        """The probability of every operation of every layer."""
        for layer, edges in enumerate(architecture.probabilities(), start=1):
            for edge, candidates in edges.items():
                for name, value in candidates.items():
                    self._writer.add_scalar(f"architecture/layer_{layer:02d}/{edge}/{name}", value, step)

    def close(self) -> None:
        """Flush and close the event file."""
        self._writer.close()
