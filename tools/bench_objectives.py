"""How long a training step of every objective takes, relative to joint training on the same batch.

One model, one batch; rounds are interleaved (every plan in turn, joint among them), each timing is the mean of
`--steps` steps so that a whole cycle of CLO-v2 is in it, and the median over rounds of the ratio to the same round's
joint step is reported. Plans that need a second batch (D2) get one of the same shape.

    python tools/bench_objectives.py --backbone minilm-l6 --batch-size 32 --tokens 72 --rounds 7
"""

import platform
from dataclasses import dataclass
from statistics import median
from time import perf_counter
from typing import Any

import click
import torch

from exitnas.errors import ExitnasError
from exitnas.exits.genotype import Genotype, Origin
from exitnas.files import write_json
from exitnas.modeling.model import MultiExitForSequenceClassification
from exitnas.objectives.base import Stage, Step
from exitnas.objectives.plan import TrainingPlan
from exitnas.settings import RetrainSettings
from exitnas.supernet.space import load_space
from exitnas.tasks import get_task
from exitnas.training.device import choose_device, seeded
from exitnas.training.fit import stage_optimizer
from exitnas.training.optimizers import optimized
from exitnas.training.step import train_step

#: Plan -> its settings, and the ratio to joint it should stay within (None: no target).
PLANS: dict[str, tuple[dict[str, Any], float | None]] = {
    "joint": ({}, None),
    "weighted": ({"objective": "weighted"}, 1.05),
    "mutual": ({"objective": "mutual"}, 1.05),
    "diversity": ({"objective": "diversity"}, 1.05),
    "global_past_future": ({"objective": "global_past_future"}, None),
    "self_distillation, one stage": ({"objective": "self_distillation", "objective_options": {"stages": 1}}, None),
    "self_distillation": ({"objective": "self_distillation"}, None),
    "two_stage": ({"objective": "two_stage"}, None),
    "alternating": ({"objective": "alternating"}, None),
    "alternating + lte": ({"objective": "alternating", "lte": True}, None),
    "joint + lte": ({"lte": True}, None),
    "joint + equilibrium": ({"gradient": "equilibrium"}, None),
    "mutual + ga_soft": ({"objective": "mutual", "gradient": "ga_soft"}, 1.9),
    "mutual + ga_hard": ({"objective": "mutual", "gradient": "ga_hard"}, 1.9),
    "mutual + ga_soft per tensor": (
        {"objective": "mutual", "gradient": "ga_soft", "gradient_options": {"scope": "tensor"}},
        1.9,
    ),
    "mutual + random": ({"objective": "mutual", "weighting": "random"}, None),
    "mutual + slo": ({"objective": "mutual", "weighting": "slo"}, None),
    "mutual + blo": ({"objective": "mutual", "weighting": "blo"}, None),
    "mutual + clo_v1": ({"objective": "mutual", "weighting": "clo_v1"}, 1.8),
    "mutual + clo_v2 (C = 4)": (
        {"objective": "mutual", "weighting": "clo_v2", "weighting_options": {"cycle": 4}},
        1.3,
    ),
}


@dataclass
class Contestant:
    """One stage of one plan on the shared model."""

    plan: TrainingPlan
    parts: Any
    settings: RetrainSettings
    number: int
    stage: Stage
    optimizer: torch.optim.Optimizer


class Bench:
    """A model, two batches, and every stage of every plan."""

    def __init__(self, model: Any, batches: list[dict[str, torch.Tensor]], values: dict[str, Any]):
        self.model, self.batches, self.head = model, batches, model.certainty
        self.contestants: dict[str, Contestant] = {}
        self.targets: dict[str, float | None] = {}
        for name, (settings, target) in PLANS.items():
            made = RetrainSettings(**{**values, **settings})
            plan = TrainingPlan.from_settings(made)
            stages = plan.objective.stages()
            for number, stage in enumerate(stages):
                label = name if len(stages) == 1 else f"{name}, stage {number + 1}"
                model.certainty = self.head if plan.lte else None
                optimizer = stage_optimizer(model, stage, made)
                parts = plan.start(len(model.exits), 0, batches[0]["input_ids"].device)
                self.contestants[label] = Contestant(plan, parts, made, number, stage, optimizer)
                self.targets[label] = target

    def seconds(self, label: str, steps: int) -> float:
        """Mean seconds of a step over `steps` steps."""
        it = self.contestants[label]
        self.model.certainty = self.head if it.plan.lte else None
        trained = optimized(it.optimizer)
        chosen = {id(p) for p in trained}
        frozen = [p for p in self.model.parameters() if id(p) not in chosen]
        first, second = self.batches
        began = perf_counter()
        for step in range(steps):
            where = Step(step, 0, it.number)
            train_step(self.model, first, lambda: second, it.parts, it.optimizer, trained, frozen, where, it.settings)
        if first["input_ids"].device.type == "cuda":
            torch.cuda.synchronize()
        it.optimizer.zero_grad(set_to_none=True)
        return (perf_counter() - began) / steps


def tiny_encoder() -> Any:
    """A random encoder of three small layers, to try the tool out."""
    from transformers import BertConfig

    from exitnas.backbones.loading import backbone_from_config

    return backbone_from_config(
        BertConfig(vocab_size=200, hidden_size=32, num_hidden_layers=3, num_attention_heads=4, intermediate_size=64)
    )


def bench(
    backbone: str,
    genotype: str | None,
    batch_size: int,
    tokens: int,
    rounds: int,
    steps: int,
    output: str | None,
    **values: Any,
) -> None:
    """Print seconds of a step and their ratio to joint training, with the targets."""
    from exitnas.backbones.loading import load_backbone

    device = choose_device(values["device"])
    with seeded(0):
        encoder = tiny_encoder() if backbone == "tiny" else load_backbone(backbone)
        found = (
            load_space("linear").only_genotype(backbone, encoder.num_layers, encoder.hidden_size, Origin())
            if genotype is None
            else Genotype.load(genotype)
        )
        model: Any = MultiExitForSequenceClassification.assemble(encoder, found, get_task("mrpc"), {}, certainty=True)
        model = model.to(device).train()
        ids = torch.randint(100, encoder.config.vocab_size, (2, batch_size, tokens))
        labels = torch.randint(0, 2, (2, batch_size))
        batches = [
            {
                "input_ids": ids[i].to(device),
                "attention_mask": torch.ones_like(ids[i]).to(device),
                "labels": labels[i].to(device),
            }
            for i in range(2)
        ]
        bench = Bench(model, batches, {"task": "mrpc", "exit_lr": values["lr"], **values})
        measured: dict[str, list[float]] = {label: [] for label in bench.contestants}
        for number in range(rounds + 1):
            for label in bench.contestants:
                seconds = bench.seconds(label, steps)
                if number:  # the first round warms up
                    measured[label].append(seconds)
    rows = []
    for label, seconds in measured.items():
        ratio = median(one / other for one, other in zip(seconds, measured["joint"], strict=True))
        target = bench.targets[label]
        verdict = "" if target is None else f"at most {target:.2f}: {'held' if ratio <= target else 'MISSED'}"
        click.echo(f"{label:32s} {1000 * median(seconds):9.1f} ms {ratio:6.2f} x joint  {verdict}")
        rows.append({"plan": label, "seconds": seconds, "ratio": ratio, "target": target})
    if output:
        about = {"torch": torch.__version__, "threads": torch.get_num_threads(), "machine": platform.machine()}
        shape = {"backbone": backbone, "batch_size": batch_size, "tokens": tokens, "rounds": rounds, "steps": steps}
        write_json(output, {**about, **shape, "rows": rows})


@click.command()
@click.option("--backbone", default="minilm-l6", show_default=True, help="`tiny` is a random encoder to try the tool.")
@click.option("--genotype", help="genotype.json of the exits.  [linear exits]")
@click.option("--batch-size", type=click.IntRange(2), default=32, show_default=True)
@click.option("--tokens", type=click.IntRange(2), default=72, show_default=True)
@click.option("--rounds", type=click.IntRange(1), default=7, show_default=True)
@click.option("--steps", type=click.IntRange(1), default=4, show_default=True)
@click.option("--lr", type=float, default=1e-6, show_default=True, help="Small, so that no step changes the next.")
@click.option("--device", default="auto", show_default=True)
@click.option("--precision", default="fp32", show_default=True)
@click.option("--output", help="JSON file to write.")
def main(**values: Any) -> None:
    """Print seconds of a step and their ratio to joint training, with the targets."""
    try:
        bench(**values)
    except ExitnasError as error:
        raise click.ClickException(str(error)) from None


if __name__ == "__main__":
    main()
