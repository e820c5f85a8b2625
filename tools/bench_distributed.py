"""Two processes against one: time per step, bytes sent per step, and how far the results are apart.

The same steps of search (architecture step and weight step) and of retraining (joint training of mha exits), with one
process and with several on this machine (gloo, `--threads` each), dropout off and as the encoder has it. Without
dropout the architecture probabilities should differ by rounding alone; with it, by what another draw of dropout makes
of them, which `other seed of dropout` measures with one process.

    python tools/bench_distributed.py --task rte --data-dir glue --steps 20 --output bench.json
"""

import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import click
import torch

from exitnas.cli import options
from exitnas.distributed import begin, is_main, part, processes
from exitnas.errors import ExitnasError
from exitnas.exits.genotype import Origin
from exitnas.files import read_json, write_json
from exitnas.modeling.model import MultiExitForSequenceClassification
from exitnas.objectives.base import Step
from exitnas.objectives.plan import TrainingPlan
from exitnas.search.state import SearchState
from exitnas.search.steps import architecture_step, weight_step
from exitnas.settings import RetrainSettings, SearchSettings, make_settings
from exitnas.supernet.discretize import discretize
from exitnas.supernet.space import load_space
from exitnas.training.batches import shuffled
from exitnas.training.device import seeded, to_device
from exitnas.training.optimizers import weight_optimizer
from exitnas.training.setup import Setup, prepare
from exitnas.training.step import train_step


class Meter:
    """Seconds and bytes of every step of a kind; the first step of each kind is left out of the medians."""

    def __init__(self, device: torch.device) -> None:
        self.device, self.sent = device, 0
        self.seconds: dict[str, list[float]] = {}
        self.bytes: dict[str, list[int]] = {}
        original = torch.distributed.all_reduce

        def counted(tensor: torch.Tensor, *given: Any, **named: Any) -> Any:
            self.sent += tensor.numel() * tensor.element_size()
            return original(tensor, *given, **named)

        torch.distributed.all_reduce = counted  # type: ignore[assignment]

    def step(self, kind: str, function: Any) -> None:
        """Run and record one step."""
        self.sent, began = 0, perf_counter()
        function()
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        self.seconds.setdefault(kind, []).append(perf_counter() - began)
        self.bytes.setdefault(kind, []).append(self.sent)

    def result(self) -> dict[str, Any]:
        """Median seconds and bytes handed to the all-reduce, per kind of step."""
        return {
            kind: {"seconds": median(times[1:] or times), "bytes": median(self.bytes[kind][1:] or self.bytes[kind])}
            for kind, times in self.seconds.items()
        }


def search_steps(setup: Setup, settings: SearchSettings, steps: int, noise: int, meter: Meter) -> dict[str, Any]:
    """Some steps of a search; the architecture probabilities and exits that they lead to."""
    with seeded(settings.seed, setup.device):
        state = SearchState.start(setup, settings, load_space(settings.space))
        begin(state.supernet, settings.seed)
        if noise:
            torch.manual_seed(noise)
        state.split(len(setup.train))
        orders = [shuffled(setup.train, half, settings.batch_size, state.generator) for half in state.halves]
        for number in range(steps):
            first, second = (to_device(setup.train.batch(order[number % len(order)]), setup.device) for order in orders)
            meter.step("architecture", lambda batch=second: architecture_step(state, batch, settings.precision, True))
            meter.step("weights", lambda batch=first: weight_step(state, batch, settings.precision, 1.0, settings.clip))
    architecture = state.supernet.architecture
    genotype = discretize(architecture, settings.backbone, setup.backbone.hidden_size, Origin())
    return {
        "alphas": {edge: weight.tolist() for edge, weight in architecture.eval().weights().items()},
        "exits": [exit_.model_dump(mode="json") for exit_ in genotype.exits],
    }


def retrain_steps(setup: Setup, settings: RetrainSettings, steps: int, meter: Meter) -> None:
    """Some steps of joint training of the exits of space `mha`."""
    with seeded(settings.seed, setup.device):
        backbone = setup.fresh_backbone()
        genotype = load_space("mha").only_genotype(
            settings.backbone, backbone.num_layers, backbone.hidden_size, Origin()
        )
        model: Any = MultiExitForSequenceClassification.assemble(backbone, genotype, setup.spec, {}).to(setup.device)
        begin(model, settings.seed)
        model.train()
        parts = TrainingPlan.from_settings(settings).start(len(model.exits), settings.seed, setup.device)
        optimizer = weight_optimizer(
            model.backbone, model.exits, lr=settings.lr, exit_lr=settings.exit_lr, weight_decay=0
        )
        trained = list(model.parameters())
        order = shuffled(
            setup.train, list(range(len(setup.train))), settings.batch_size, torch.Generator().manual_seed(0)
        )
        for number in range(steps):
            batch = to_device(setup.train.batch(order[number % len(order)]), setup.device)
            given = (parts, optimizer, trained, [], Step(number, 0), settings)
            meter.step("retrain", lambda batch=batch, given=given: train_step(model, batch, lambda: batch, *given))


def work(request: dict[str, Any]) -> None:
    """What every process does; the first writes the result."""
    common = request["settings"]
    setup = prepare(make_settings(SearchSettings, **common))
    if not request["dropout"]:
        for module in setup.backbone.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
    meter = Meter(setup.device)
    found = search_steps(setup, make_settings(SearchSettings, **common), request["steps"], request["noise"], meter)
    retrain_steps(setup, make_settings(RetrainSettings, **common), request["steps"], meter)
    if is_main():
        write_json(request["output"], {**found, "processes": processes(), "steps": meter.result()})
    part()


def launch(count: int, threads: int, **request: Any) -> dict[str, Any]:
    """Run `work` in `count` processes and return what they found."""
    with TemporaryDirectory() as folder:
        request["output"] = f"{folder}/result.json"
        Path(folder, "request.json").write_text(json.dumps(request))
        torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(count)]
        paths = os.pathsep.join([str(Path(__file__).parent.parent), os.environ.get("PYTHONPATH", "")])
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "PYTHONPATH": paths}
        done = subprocess.run(
            [*torchrun, __file__, "--request", f"{folder}/request.json"], env=environment, check=False
        )
        if done.returncode:
            raise ExitnasError(f"{count} processes failed with exit code {done.returncode}; see their messages above")
        return read_json(request["output"])


def apart(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Largest difference of the architecture probabilities, and whether the exits are the same."""
    pairs = [(torch.tensor(one["alphas"][edge]), torch.tensor(other["alphas"][edge])) for edge in one["alphas"]]
    return {
        "largest_difference": max(float((a - b).abs().max()) for a, b in pairs),
        "same_exits": one["exits"] == other["exits"],
        "layers_alike": sum(a == b for a, b in zip(one["exits"], other["exits"], strict=True)),
    }


def bench(processes_: int, threads: int, steps: int, output: str | None, **settings: Any) -> None:
    """Measure, print and write."""
    result: dict[str, Any] = {"settings": settings, "count": processes_, "threads": threads, "number_of_steps": steps}
    for dropout in (False, True):
        request = {"settings": settings, "steps": steps, "dropout": dropout, "noise": 0}
        one, several = launch(1, threads, **request), launch(processes_, threads, **request)
        name = "with dropout" if dropout else "without dropout"
        result[name] = {"one": one["steps"], "several": several["steps"], **apart(one, several)}
        if dropout:
            result["other seed of dropout"] = apart(one, launch(1, threads, **{**request, "noise": 12345}))
    result["machine"] = {"cores": os.cpu_count(), "processor": platform.processor(), "torch": torch.__version__}
    click.echo(
        f"{'step':14s} {'1 process':>10s} {f'{processes_} processes':>12s} {'speed-up':>9s} {'MB per step':>12s}"
    )
    for kind, alone in result["with dropout"]["one"].items():
        shared = result["with dropout"]["several"][kind]
        ratio = alone["seconds"] / shared["seconds"]
        sent = shared["bytes"] / 1e6
        click.echo(f"{kind:14s} {alone['seconds']:8.3f} s {shared['seconds']:10.3f} s {ratio:8.2f}x {sent:12.3f}")
    for name in ("without dropout", "with dropout", "other seed of dropout"):
        found = result[name]
        same = "the same exits" if found["same_exits"] else f"{found['layers_alike']} layers alike"
        click.echo(f"{name}: probabilities differ by at most {found['largest_difference']:.2g}, {same}")
    if output:
        write_json(output, result)


@click.command()
@click.option("--task", default="rte", show_default=True)
@click.option("--backbone", default="minilm-l6", show_default=True)
@options.data_dir
@options.limit_train
@click.option("--batch-size", type=int, default=32, show_default=True)
@click.option("--precision", default="fp32", show_default=True)
@click.option("--device", default="cpu", show_default=True)
@click.option("--seed", type=int, default=42, show_default=True)
@click.option("--processes", "processes_", type=int, default=2, show_default=True)
@click.option("--threads", type=int, default=1, show_default=True, help="Of each process.")
@click.option("--steps", type=int, default=20, show_default=True)
@click.option("--output", help="JSON file to write.")
@click.option("--request", hidden=True)
def main(request: str | None, **values: Any) -> None:
    """Compare several processes with one."""
    try:
        if request is not None:
            work(read_json(request))
        else:
            bench(**values)
    except ExitnasError as error:
        raise click.ClickException(str(error)) from None


if __name__ == "__main__":
    main()
