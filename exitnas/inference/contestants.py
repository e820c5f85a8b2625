"""Who takes part in a speed measurement: the stock model, early exit that lets nobody leave, policies, baselines."""

import inspect
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForSequenceClassification

from exitnas.backbones.base import Backbone
from exitnas.backbones.loading import quiet
from exitnas.errors import UsageError
from exitnas.inference.predict import default_policy
from exitnas.inference.session import Session, open_model
from exitnas.inference.speed import Batch, Contestant, early_exit, measure_speed
from exitnas.inference.tradeoff import measure
from exitnas.machine import describe_machine
from exitnas.policies.base import Policy, make_policy
from exitnas.tasks.spec import TaskSpec
from exitnas.training.batches import Encoded, encode
from exitnas.training.device import seeded
from exitnas.training.evaluation import all_outputs

STOCK = "stock transformers model"


def stock_model(backbone: Backbone, num_labels: int) -> Any:
    """transformers' own sequence classifier over the backbone's weights, in eval mode on the backbone's device.

    The encoder's weights are the backbone's own tensors, not a copy, so that neither side finds warmer caches; the
    classification head is random, which is nothing to the time.
    """
    device = next(backbone.parameters()).device
    config = deepcopy(backbone.config)
    config.num_labels = num_labels
    with quiet(), seeded(0):
        model: Any = AutoModelForSequenceClassification.from_config(
            config, attn_implementation=backbone.config._attn_implementation
        )
    model = model.to(device).eval()
    encoder = getattr(model, model.base_model_prefix)
    _, unexpected = encoder.load_state_dict(backbone.encoder.state_dict(), strict=False, assign=True)
    assert not unexpected, f"the stock model has no place for {unexpected}"
    return model


def stock(backbone: Backbone, num_labels: int, data: Encoded, name: str = STOCK) -> Contestant:
    """The stock model, called as `model(**batch)`: what a user without early exit runs."""
    model = stock_model(backbone, num_labels)
    wanted = set(inspect.signature(model.forward).parameters) & {"input_ids", "attention_mask", "token_type_ids"}
    layers = backbone.num_layers

    @torch.inference_mode()
    def answer(batch: Batch) -> Tensor:
        logits = model(**{key: value for key, value in batch.items() if key in wanted}).logits
        return torch.full(logits.shape[:1], layers, device=logits.device)

    return Contestant(name, answer, data, "stock")


def nobody_leaves(num_labels: int) -> Policy:
    """A policy that reads every exit, decides after each, and lets nobody go: what looking costs when it is in vain.

    Classes: entropy below the smallest number above 0. A number: two predictions less than 1e-30 apart.
    """
    if num_labels == 1:
        return make_policy("patience", {"patience": 1, "tau": 1e-30})
    return make_policy("entropy", {"threshold": 5e-324})


def describe(policy: Policy) -> str:
    """A policy with its parameters in a few words, for tables and pictures."""
    given = {name: value for name, value in policy.parameters().items() if value is not None and value is not False}
    shown = (f"{name}={value:.4g}" if isinstance(value, float) else f"{name}={value}" for name, value in given.items())
    return " ".join([policy.name, *shown])


@dataclass(frozen=True)
class Baseline:
    """A model measured beside the one evaluated, on the same rows.

    Attributes:
        name: its run directory.
        model: in eval mode.
        policy: the one stored with it, or its last exit.
        data: the rows as its own tokenizer cuts them.
        score: the task's metric on the split, under `policy`.
    """

    name: str
    model: Any
    policy: Policy
    data: Encoded
    score: float

    def record(self) -> dict[str, Any]:
        """`name, layers, policy, parameters, score` as JSON values."""
        layers = self.model.backbone.num_layers
        policy = {"policy": self.policy.name, "parameters": self.policy.parameters()}
        return {"name": self.name, "layers": layers, **policy, "score": self.score}


def check_task(path: str, spec: TaskSpec, wanted: TaskSpec) -> None:
    """Refuse a baseline that was trained for another task.

    Raises:
        UsageError: its name, labels or text columns differ.
    """
    if (spec.name, spec.labels, spec.text_columns) != (wanted.name, wanted.labels, wanted.text_columns):
        raise UsageError(
            f"--baseline {path}: was trained for task {spec.name}, the model for {wanted.name}; "
            f"train it with `exitnas baseline truncated --task {wanted.name}`"
        )


def open_baseline(path: str, session: Session, split: str = "test") -> Baseline:
    """A trained model to measure beside `session.model`, with its score on the session's rows of `split`.

    Raises:
        UsageError: no model at `path`, or one of another task.
        ExitnasError: its files are damaged.
    """
    device = next(session.model.parameters()).device
    wanted = session.data.spec
    model, tokenizer, used = open_model(path, max_length=session.settings["max_length"], device=device.type)
    spec = model.config.read_task()
    check_task(path, spec, wanted)
    rows = getattr(session.data, split)
    data = encode(rows, tokenizer, used["max_length"], spec.regression)
    policy = default_policy(model)
    precision = session.settings["precision"]
    logits, certainty = all_outputs(model, data, session.settings["batch_size"], device, precision)
    needed = certainty if "certainty" in policy.needs else None
    score = measure(policy, logits, rows.labels, wanted.metric, rows.parts, certainty=needed).score
    return Baseline(path, model, policy, data, score)


def speed_report(
    session: Session,
    data: Encoded,
    policies: Sequence[Policy],
    baselines: Sequence[Baseline] = (),
    *,
    batch_sizes: Sequence[int] = (1, 32),
    samples: int = 64,
    rounds: int = 3,
) -> dict[str, Any]:
    """What `exitnas evaluate --speed --json` adds.

    Args:
        data: the session's rows of a split, tokenized.
        samples: rows run at batch 1; larger batches run `samples` or eight batches, whichever is more.

    Returns:
        `speed`: a list of `Speed` as dictionaries, batch size by batch size, the stock model first; `baselines`; and
        under `machine` what `describe_machine` tells.
    """
    model, labels = session.model, session.data.spec.num_labels
    device, precision = next(model.parameters()).device, session.settings["precision"]
    contestants = [
        stock(model.backbone, labels, data),
        early_exit("nobody leaves", model, data, nobody_leaves(labels), "nobody leaves"),
        *(early_exit(describe(policy), model, data, policy) for policy in policies),
        *(early_exit(b.name, b.model, b.data, b.policy, "baseline") for b in baselines),
    ]
    rows = []
    for size in dict.fromkeys(batch_sizes):
        count = samples if size == 1 else max(samples, 8 * size)
        found = measure_speed(contestants, device, batch_size=size, samples=count, rounds=rounds, precision=precision)
        rows += [asdict(speed) for speed in found]
    return {
        "speed": rows,
        "baselines": [baseline.record() for baseline in baselines],
        "machine": describe_machine(device, precision),
    }
