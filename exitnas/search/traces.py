"""What a search leaves behind after every evaluation: rates, probabilities and entropy, TensorBoard's pictures."""

from typing import Any

from exitnas.exits.genotype import Genotype, Origin
from exitnas.reporting.tensorboard import Scalars, due
from exitnas.search.state import SearchState
from exitnas.settings import SearchSettings
from exitnas.supernet.discretize import discretize, entropies
from exitnas.training.optimizers import learning_rates

#: At most so many pictures of the genotype and of each cell are logged; TensorBoard itself shows 10 of a kind.
GRAPHS, CELLS = 50, 10


class SearchTraces:
    """Writes the traces of one search.

    Args:
        source: what the genotype's picture says of its origin.
    """

    def __init__(self, state: SearchState, settings: SearchSettings, source: Origin, scalars: Scalars):
        self.state, self.settings, self.source, self.scalars = state, settings, source, scalars

    def start(self, history: list[dict[str, Any]]) -> None:
        """The architecture before the first step, without pictures.

        Args:
            history: what a search to resume has evaluated; the board goes on after it.
        """
        if not history:
            self._architecture(graph=False, cells=False)
            return
        fresh = self._arg_max().probabilities or ()
        earlier = [(0, fresh), *((line["step"], tuple(line["probabilities"])) for line in history)]
        self.scalars.resume(history[-1]["step"], earlier)

    def evaluation(self, losses: dict[str, float], result: dict[str, Any]) -> dict[str, Any]:
        """Write what there is after an evaluation; returns what its line of `history.jsonl` gets on top.

        Args:
            losses: mean losses of the epoch.
            result: scores on dev, as `exitnas.training.evaluation.summarize` gives them.

        Returns:
            `rates`: group of parameters -> learning rate of the last step; `probabilities`: per layer, edge ->
            candidate -> probability; `entropy`: edge, and `all` -> mean over layers.
        """
        epoch, epochs = self.state.epoch, self.settings.epochs
        rates = learning_rates(self.state.weights, self.state.architecture)
        self.scalars.evaluation(self.state.step, losses, result, rates)
        told = self._architecture(graph=due(epoch, epochs, GRAPHS), cells=due(epoch, epochs, CELLS))
        return {"rates": rates, **told}

    def _architecture(self, *, graph: bool, cells: bool) -> dict[str, Any]:
        genotype = self._arg_max()
        probabilities = genotype.probabilities or ()
        entropy = entropies(probabilities)
        self.scalars.architecture(self.state.step, genotype, entropy, graph=graph, cells=cells)
        return {"probabilities": probabilities, "entropy": entropy}

    def _arg_max(self) -> Genotype:
        """The exits the architecture stands for now."""
        supernet = self.state.supernet
        return discretize(supernet.architecture, self.settings.backbone, supernet.backbone.hidden_size, self.source)
