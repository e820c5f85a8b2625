"""What TensorBoard shows of a run, under its `tb/`: scalars, pictures, and settings with final scores.

Tags, the same in every run (`--logdir` of one run or of a folder of runs); cards of a group share what stands before
the first slash, so that 24 layers make 24 closed groups at the end of the board and not 700 cards at its start:

    dev/avg dev/best dev/exit_03                 scores on dev, per evaluation
    entropy/all entropy/pooling ...              of the architecture, per kind of edge (search)
    final/dev_avg final/test_best ...            scores and cost at the end (see `FINAL`)
    gradient/angle gradient/share_above_90       degrees between the gradients of task and distillation, per step
    learning_rate/exits_no_decay ...             of every group of parameters
    loss/weights loss/architecture               mean over the epoch
    loss_weights_exit_03/task ...                learned loss weights (retraining), of the terms the exit has
    probability_layer_03/encoder_1/conv_3        of every candidate (search)
    probability/encoder_1                        picture: the cell over time, a row per layer (search)
    genotype/arg_max                             picture: the exits the architecture stands for now (search)
    genotype/refined                             picture: the exits found, where refining changed some (search)

The custom-scalars board draws the same lines together: all exits in one chart, one chart per edge of each layer, one
per exit with learned loss weights.
Step 0 is the untrained architecture. Pictures need the extra `viz`; without it the scalars go on.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from exitnas.exits.genotype import Genotype
from exitnas.reporting.hparams import session_end, session_start

if TYPE_CHECKING:
    from exitnas.reporting.progress import Reporter


class Scalars:
    """Writes one run of the board. A context manager: left by an error, the run's session is marked as failed.

    Args:
        folder: where the event file goes.
        report: told once, in one line, when a kind of picture cannot be made.
    """

    def __init__(self, folder: Path | str, report: "Reporter | None" = None):
        from torch.utils.tensorboard.writer import FileWriter

        self._writer: Any = FileWriter(str(folder))
        self._report = report
        self._session = self._laid_out = self._closed = False
        self._without: set[str] = set()
        self._steps: list[int] = []
        self._probabilities: list[Any] = []

    def __enter__(self) -> "Scalars":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._session and kind is not None and issubclass(kind, Exception):  # an interruption may be resumed
            self._writer.add_summary(session_end(failed=True))
        self.close()

    def resume(self, step: int, probabilities: list[tuple[int, Any]] | None = None) -> None:
        """Go on after `step` in the folder of a run that was interrupted; what it wrote of later steps is not shown.

        One that ended by an error stays marked as failed on the HPARAMS board, which keeps the first end it reads.

        Args:
            probabilities: step and probabilities of what `architecture` was told until then.
        """
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog

        self._writer.add_event(Event(step=step + 1, session_log=SessionLog(status=SessionLog.START)), step + 1)
        for earlier, cells in probabilities or ():
            self._steps.append(earlier)
            self._probabilities.append(cells)

    def add(self, step: int, values: dict[str, float]) -> None:
        """Scalars by tag, as one event."""
        from tensorboard.compat.proto.summary_pb2 import Summary

        parts = [Summary.Value(tag=tag, simple_value=value) for tag, value in values.items()]
        self._writer.add_summary(Summary(value=parts), step)

    def evaluation(self, step: int, losses: dict[str, float], result: dict[str, Any], rates: dict[str, float]) -> None:
        """What every evaluation has.

        Args:
            losses: mean losses since the last evaluation.
            result: `exits`, `avg` and `best` on dev, as `exitnas.training.evaluation.summarize` gives them.
            rates: name of a group of parameters -> its learning rate.
        """
        exits = {f"dev/exit_{number:02d}": value for number, value in enumerate(result["exits"], start=1)}
        named = {f"learning_rate/{tag_part(name)}": value for name, value in rates.items()}
        means = {f"loss/{name}": value for name, value in losses.items()}
        self.add(step, {**means, **named, "dev/avg": result["avg"], "dev/best": result["best"], **exits})
        self._lay_out({})
        self._writer.flush()

    def loss_weights(self, step: int, matrix: list[list[float]], columns: list[str]) -> None:
        """Learned loss weights `[E][K]`; a weight of 0 is a term the exit does not have, and left out.

        Args:
            columns: names of the K terms.
        """
        values = {
            f"loss_weights_exit_{exit_:02d}/{tag_part(name)}": value
            for exit_, row in enumerate(matrix, start=1)
            for name, value in zip(columns, row, strict=True)
            if value > 0
        }
        self.add(step, values)
        charts = {f"exit {exit_:02d}": f"^loss_weights_exit_{exit_:02d}/" for exit_ in range(1, len(matrix) + 1)}
        self._lay_out({"loss weights": charts})

    def architecture(
        self, step: int, genotype: Genotype, entropy: dict[str, float], *, graph: bool = True, cells: bool = True
    ) -> None:
        """The state of a search.

        Args:
            genotype: what the architecture stands for now, with its probabilities.
            entropy: kind of edge -> entropy of its probabilities over log n.
            graph: draw the genotype.
            cells: draw the probabilities over time.
        """
        probabilities = genotype.probabilities or ()
        values = {f"entropy/{edge}": value for edge, value in entropy.items()}
        for layer, edges in enumerate(probabilities, start=1):
            for edge, candidates in edges.items():
                group = f"probability_layer_{layer:02d}/{edge}"
                values |= {f"{group}/{name}": value for name, value in candidates.items()}
        self.add(step, values)
        charts = {
            f"layer {n:02d}": {edge: f"^probability_layer_{n:02d}/{edge}/" for edge in edges}
            for n, edges in enumerate(probabilities, start=1)
        }
        self._lay_out({"architecture": {"entropy": "^entropy/"}, **charts})
        self._steps.append(step)
        self._probabilities.append(probabilities)
        if graph:
            self.genotype(step, genotype, "arg_max")
        for edge in probabilities[0] if cells else ():
            if len(probabilities[0][edge]) > 1:
                self._picture(f"probability/{edge}", step, "probabilities", partial(self._cell, edge))
        self._writer.flush()

    def genotype(self, step: int, genotype: Genotype, name: str) -> None:
        """A picture of a genotype, `genotype/<name>`."""
        from exitnas.reporting.figures import genotype_png

        title = f"{name.replace('_', '-').capitalize()} exits after step {step}"
        self._picture(f"genotype/{name}", step, "genotypes", lambda: genotype_png(genotype, title))

    def start_session(self, settings: dict[str, Any]) -> None:
        """The settings, for the HPARAMS board; `final` and leaving the context end the session."""
        for summary in session_start(settings):
            self._writer.add_summary(summary)
        self._session = True
        self._writer.flush()

    def final(self, step: int, results: dict[str, dict[str, Any]], costs: list[dict[str, int]]) -> None:
        """The final metrics, named in `exitnas.reporting.hparams.FINAL`; the session ended well.

        Args:
            results: `dev`, `test` -> `avg` and `best`.
            costs: as `exitnas.exits.exit.exit_costs` gives them.
        """
        scores = {f"final/{split}_{name}": found[name] for split, found in results.items() for name in ("avg", "best")}
        sums = {f"final/exit_{name}": sum(cost[name] for cost in costs) for name in ("parameters", "macs")}
        self.add(step, {**scores, **sums})
        self._writer.add_summary(session_end(failed=False))
        self._session = False

    def close(self) -> None:
        """Flush and close the event file; once is enough."""
        if not self._closed:
            self._closed = True
            self._writer.close()

    def _lay_out(self, categories: dict[str, dict[str, str]]) -> None:
        """Name the charts of the custom-scalars board, on the first call: an overview, then `categories`.

        Args:
            categories: title -> chart -> pattern of the tags it shows.
        """
        from torch.utils.tensorboard.summary import custom_scalars

        if self._laid_out:
            return
        self._laid_out = True
        overview = {name: f"^{name}/" for name in ("dev", "loss", "learning_rate")}
        layout = {
            title: {chart: ["Multiline", [pattern]] for chart, pattern in charts.items()}
            for title, charts in {"overview": overview, **categories}.items()
        }
        self._writer.add_summary(custom_scalars(layout))

    def _cell(self, edge: str) -> bytes:
        from exitnas.reporting.figures import probability_png

        return probability_png(edge, self._steps, [[layer[edge] for layer in looked] for looked in self._probabilities])

    def _picture(self, tag: str, step: int, kind: str, make: Callable[[], bytes]) -> None:
        """Write a PNG; where that fails, pictures of its `kind` are given up with one line, whatever the reason."""
        from tensorboard.compat.proto.summary_pb2 import Summary

        if kind in self._without:
            return
        try:
            from exitnas.reporting.figures import png_size

            png = make()
            width, height = png_size(png)
        except Exception as error:  # a picture is not worth a search
            self._without.add(kind)
            if self._report is not None:
                reason = " ".join(str(error).split()) or type(error).__name__
                self._report.warn(f"TensorBoard goes on without pictures of {kind}: {reason}")
            return
        image = Summary.Image(width=width, height=height, colorspace=3, encoded_image_string=png)
        self._writer.add_summary(Summary(value=[Summary.Value(tag=tag, image=image)]), step)


def due(number: int, total: int, at_most: int) -> bool:
    """Whether number `number` of `total` (from 1) is one of at most `at_most` spread evenly; the last always is."""
    return number * at_most // total > (number - 1) * at_most // total


def tag_part(name: str) -> str:
    """`name` as a part of a tag: brackets dropped, blanks as underscores."""
    return name.replace("(", "").replace(")", "").replace(" ", "_")
