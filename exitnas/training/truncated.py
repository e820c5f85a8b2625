"""The baseline a practitioner would use instead of early exit: the first k layers of the encoder, fine-tuned alone."""

from pathlib import Path
from typing import Any

import numpy as np

from exitnas.errors import UsageError, require
from exitnas.exits.genotype import Genotype
from exitnas.reporting.progress import Reporter
from exitnas.settings import RetrainSettings
from exitnas.training.retrain import retrain
from exitnas.training.runs import Run


def first_layers(genotype: Genotype, layers: int) -> Genotype:
    """The genotype of the first `layers` layers, 1..E, with the exits it has there; what chose them is left out.

    Raises:
        UsageError: `layers` is out of range.
    """
    require(
        1 <= layers <= genotype.layers,
        f"--layers: expected 1..{genotype.layers}, the layers of backbone {genotype.backbone}, got {layers}",
    )
    values = genotype.model_dump(exclude={"probabilities"})
    return Genotype(**{**values, "layers": layers, "exits": genotype.exits[:layers], "probabilities": None})


def read_layers(text: str) -> list[int]:
    """The layer counts of `"3"` or `"1,2,3"`, in that order, each once.

    Raises:
        UsageError: not whole numbers separated by commas.
    """
    try:
        counts = [int(part) for part in text.split(",")]
    except ValueError:
        raise UsageError(f"--layers: expected whole numbers separated by commas, such as 1,2,3, got {text!r}") from None
    return list(dict.fromkeys(counts))


def train_truncated(
    settings: RetrainSettings, genotype: Genotype, layers: int, run: Run, report: Reporter
) -> dict[str, Any]:
    """Train the first `layers` layers of the backbone with the exit after the last of them; writes a model directory.

    Objective `last`: the exits below are built but never trained, and the model's stored policy runs the last one only.

    Args:
        settings: `backbone` names the whole encoder; `objective` and `layers` are set here.
        genotype: of the whole encoder; its exit at layer `layers` is the classifier.

    Returns:
        `run, model, task, metric, split, layers, of_layers, score` (the last exit's on test, the mean over seeds),
        `std` (sample deviation of that, None for one seed), `seeds` with dev and test score of each, `costs` of the
        classifier, `seconds`.

    Raises:
        UsageError: `layers` is out of range.
        ExitnasError: as `retrain`.
    """
    cut = first_layers(genotype, layers)
    chosen = settings.model_copy(update={"objective": "last", "layers": layers})
    summary = retrain(chosen, cut, run, report)
    if "of_layers" in summary:  # a complete run, resumed
        return summary
    seeds = [
        {"seed": one["seed"], "dev": one["dev"]["exits"][-1], "test": one["test"]["exits"][-1]}
        for one in summary["seeds"]
    ]
    scores = [one["test"] for one in seeds]
    result = {
        **{name: summary[name] for name in ("run", "model", "task", "metric", "split")},
        "layers": layers,
        "of_layers": genotype.layers,
        "score": float(np.mean(scores)),
        "std": float(np.std(scores, ddof=1)) if len(scores) > 1 else None,
        "seeds": seeds,
        "costs": summary["costs"][-1],
        "seconds": summary["seconds"],
    }
    run.write_summary(result)
    return result


def folders(output: Path, layers: list[int], *, nested: bool) -> dict[int, Path]:
    """Where each baseline goes: `output` itself for a single one, `output/layers-k` where `nested` or for several."""
    if len(layers) == 1 and not nested:
        return {layers[0]: output}
    return {count: output / f"layers-{count}" for count in layers}
