"""A trained model opened for evaluation or prediction, with the data and settings it was trained with."""

from dataclasses import dataclass
from typing import Any

from exitnas.errors import UsageError, require
from exitnas.exits.exit import exit_costs
from exitnas.inference.evaluate import Evaluation, applicable
from exitnas.modeling.saving import load_model
from exitnas.tasks import get_task
from exitnas.tasks.data import TaskData
from exitnas.tasks.loading import load_task
from exitnas.training.batches import encode
from exitnas.training.device import choose_device


def open_model(
    path: str,
    *,
    batch_size: int | None = None,
    max_length: int | None = None,
    device: str | None = None,
    precision: str | None = None,
) -> tuple[Any, Any, dict[str, Any]]:
    """Model on its device in eval mode, tokenizer, and the settings in force; those not given are the model's own.

    Raises:
        UsageError: no model at `path`, or a setting out of range.
    """
    require(batch_size is None or batch_size >= 1, f"--batch-size: expected at least 1, got {batch_size}")
    require(max_length is None or max_length >= 4, f"--max-length: expected at least 4, got {max_length}")
    where = choose_device(device or "auto")
    model: Any
    model, tokenizer = load_model(path)
    used = {
        "batch_size": batch_size or 32,
        "max_length": _length(model, max_length),
        "precision": precision or "fp32",
    }
    return model.to(where), tokenizer, used


def _length(model: Any, given: int | None) -> int:
    """Longest row in tokens: as given or as in training, at most what the encoder has positions for."""
    wanted = given or model.config.read_record().max_length
    return min(wanted, model.backbone.max_tokens or 100_000)


@dataclass(frozen=True)
class Session:
    """A model with its task's data.

    Attributes:
        model: in eval mode.
        data: dev and test rows as in training.
        settings: `batch_size, max_length, precision` in force.
    """

    model: Any
    tokenizer: Any
    data: TaskData
    settings: dict[str, Any]

    @classmethod
    def open(
        cls,
        path: str,
        *,
        task: str | None = None,
        data_dir: str | None = None,
        limit_eval: int | None = None,
        offline: bool | None = None,
        **values: Any,
    ) -> "Session":
        """Open a model and load its data: task, data folder, limit and split seed default to those of training.

        Raises:
            UsageError: the task's labels are not the model's, or there is no model at `path`.
            ExitnasError: the data cannot be loaded.
        """
        model, tokenizer, used = open_model(path, **values)
        trained = model.config.read_task()
        saved = model.config.read_record().data
        spec = trained if task is None else get_task(task)
        data = load_task(
            spec,
            data_dir=data_dir or saved.data_dir,
            offline=bool(offline),
            split_seed=saved.split_seed,
            limit_eval=saved.limit_eval if limit_eval is None else limit_eval,
        )
        if (data.spec.labels, data.spec.regression) != (trained.labels, trained.regression):
            raise UsageError(
                f"--task {data.spec.name}: its labels {_labels(data.spec)} are not those the model was trained for "
                f"({trained.name}: {_labels(trained)})"
            )
        return cls(model, tokenizer, data, used)

    def evaluation(self) -> Evaluation:
        """All exits' logits on dev and test, computed once."""
        dev, test = (
            (encode(split, self.tokenizer, self.settings["max_length"], self.data.spec.regression), split)
            for split in (self.data.dev, self.data.test)
        )
        return Evaluation(
            self.model,
            self.data.spec,
            dev,
            test,
            batch_size=self.settings["batch_size"],
            precision=self.settings["precision"],
        )

    def policies(self) -> list[str]:
        """The policies this model can run."""
        return applicable(self.model, self.data.spec)

    def costs(self, tokens: int) -> list[dict[str, int]]:
        """Parameters and MACs per exit, for a row of `tokens` tokens."""
        return exit_costs(self.model.config.read_genotype(), self.data.spec.num_labels, tokens)


def _labels(spec: Any) -> str:
    return "regression" if spec.regression else ", ".join(spec.labels or ())
