"""Exit architectures without the backbone's noise: several multi-exit heads trained side by side on one backbone.

Retraining two genotypes gives two backbones, and on a small task those differ more than the exits do. Here all
genotypes read the same hidden states: the backbone is trained by the mean of their joint losses, every exit by its own.

    python experiments/shared_backbone.py --task mrpc --data-dir glue --output runs/shared-mrpc \
        mha "32 tanh mha_4 null cls tanh" "32 tanh conv_3 skip max tanh" runs/mrpc/search-leco

A genotype is a space of one point, the path of a genotype or of a search, or six words: width, activation, two encoder
operations, pooling, activation, for all layers. Writes `results.json` and `results.md`.
"""

from pathlib import Path
from typing import Any

import click
import torch
from torch import nn
from torch.nn.utils import clip_grad_norm_

from exitnas.cli.genotypes import load_genotype
from exitnas.errors import ExitnasError
from exitnas.exits.exit import build_exits
from exitnas.exits.genotype import ExitGenotype, Genotype, Origin
from exitnas.files import write_json, write_text
from exitnas.objectives.base import task_losses
from exitnas.reporting.progress import Reporter
from exitnas.settings import RetrainSettings, make_settings
from exitnas.supernet.space import load_space, space_names
from exitnas.training.batches import shuffled
from exitnas.training.device import seeded, to_device
from exitnas.training.evaluation import all_logits, exit_scores, forward
from exitnas.training.guard import check_finite
from exitnas.training.optimizers import optimized, set_learning_rate, weight_optimizer
from exitnas.training.schedules import linear
from exitnas.training.setup import Setup, prepare


class SharedBackbone(nn.Module):
    """One backbone, and after every layer the exits of K genotypes; logits are listed genotype by genotype."""

    def __init__(self, backbone: Any, genotypes: list[Genotype], num_labels: int, seed: int):
        super().__init__()
        self.backbone = backbone
        self.exits = nn.ModuleList()
        for genotype in genotypes:
            torch.manual_seed(seed)
            self.exits.append(build_exits(genotype, num_labels))

    def exit_logits(self, states: list[torch.Tensor], mask: torch.Tensor) -> list[torch.Tensor]:
        """K * E logits `[B, C]` from the hidden states of every layer."""
        states = [hidden.float() for hidden in states]
        return [exit_(hidden, mask) for exits in self.exits for exit_, hidden in zip(exits, states, strict=True)]


@click.command()
@click.argument("genotypes", nargs=-1, required=True)
@click.option("--task", required=True)
@click.option("--backbone", default="minilm-l6", show_default=True)
@click.option("--data-dir")
@click.option("--limit-train", type=int)
@click.option("--epochs", type=int, default=3, show_default=True)
@click.option("--lr", type=float)
@click.option("--exit-lr", type=float)
@click.option("--seeds", type=int, default=1, show_default=True)
@click.option("--precision", default="bf16", show_default=True)
@click.option("--output", type=Path, required=True)
def main(genotypes: tuple[str, ...], output: Path, **values: Any) -> None:
    """Train and compare; scores of the last epoch, no checkpoint is chosen."""
    report = Reporter()
    try:
        settings = make_settings(RetrainSettings, **values)
        setup = prepare(settings)
        points = [read(name, setup) for name in genotypes]
        scores: list[dict[str, list[list[float]]]] = []
        for seed in range(settings.seed, settings.seed + settings.seeds):
            scores.append(train(setup, settings, points, seed, report))
            write_json(output / "results.json", {"genotypes": list(genotypes), "settings": values, "seeds": scores})
            write_text(output / "results.md", table(genotypes, scores))
    except ExitnasError as error:
        raise click.ClickException(str(error)) from None
    click.echo(table(genotypes, scores))


def read(name: str, setup: Setup) -> Genotype:
    """The genotype that `name` means for the backbone of `setup`."""
    backbone = setup.backbone
    place = setup.settings.backbone, backbone.num_layers, backbone.hidden_size
    if name in space_names():
        return load_space(name).only_genotype(*place, Origin())
    words = name.split()
    if len(words) != 6:
        return load_genotype(name)
    exit_ = ExitGenotype(
        activation_in=words[1], encoder=(words[2], words[3]), pooling=words[4], activation_out=words[5]
    )
    return Genotype(
        backbone=place[0], layers=place[1], hidden_size=place[2], width=int(words[0]), exits=(exit_,) * place[1]
    )


def train(
    setup: Setup, settings: RetrainSettings, genotypes: list[Genotype], seed: int, report: Reporter
) -> dict[str, list[list[float]]]:
    """Scores of every exit of every genotype `[K][E]` on dev and on test."""
    with seeded(seed, setup.device):
        model = SharedBackbone(setup.fresh_backbone(), genotypes, setup.spec.num_labels, seed).to(setup.device)
        torch.manual_seed(seed)
        optimizer = weight_optimizer(
            model.backbone,
            model.exits,
            lr=settings.lr,
            exit_lr=settings.exit_lr,
            weight_decay=settings.weight_decay,
        )
        generator = torch.Generator().manual_seed(seed)
        everything, step = list(range(len(setup.train))), 0
        total = -(-len(everything) // settings.batch_size) * settings.epochs
        for epoch in range(1, settings.epochs + 1):
            model.train()
            order = shuffled(setup.train, everything, settings.batch_size, generator)
            for rows in report.track(order, f"seed {seed} epoch {epoch}/{settings.epochs}", len(order)):
                batch = to_device(setup.train.batch(rows), setup.device)
                set_learning_rate(optimizer, linear(step, total, settings.warmup))
                losses = task_losses(forward(model, batch, settings.precision), batch["labels"])
                # AdamW ignores the scale of a gradient, so an exit learns as it would alone.
                loss = losses.sum() / len(genotypes)
                check_finite(loss, losses, step, {"lr": settings.lr, "exit-lr": settings.exit_lr})
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                clip_grad_norm_(optimized(optimizer), settings.clip)
                optimizer.step()
                step += 1
        found = {}
        for name in ("dev", "test"):
            encoded, split = setup.split(name)
            logits = all_logits(model, encoded, settings.batch_size, setup.device, settings.precision)
            parts = logits.split(setup.backbone.num_layers, dim=1)
            found[name] = [exit_scores(part, split, setup.spec) for part in parts]
    return found


def table(genotypes: tuple[str, ...], scores: list[dict[str, list[list[float]]]]) -> str:
    """A Markdown table of AVG on dev and test and of every exit on test, mean over seeds."""
    lines = ["| exits | AVG on dev | AVG on test | per exit on test, first layer first |", "|---|---|---|---|"]
    for index, name in enumerate(genotypes):
        mean = {split: torch.tensor([seed[split][index] for seed in scores]).mean(0) * 100 for split in ("dev", "test")}
        exits = " ".join(f"{value:.1f}" for value in mean["test"].tolist())
        lines.append(f"| {name} | {mean['dev'].mean():.2f} | {mean['test'].mean():.2f} | {exits} |")
    return "\n".join(lines) + f"\n\n{len(scores)} seed(s)\n"


if __name__ == "__main__":
    main()
