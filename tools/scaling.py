"""What a search costs as it grows: memory of the supernet, seconds of its steps, bytes between devices.

Memory: what autograd keeps for the backward pass is counted tensor by tensor and compared with a closed formula. Time:
the two steps of the search are timed on random encoders of MiniLM's, BERT-base's and BERT-large's shape, the last two
with two layers; their FLOP/s carry over to more layers, rows and devices. Prints the tables of docs/scaling.md.

    OMP_NUM_THREADS=1 python tools/scaling.py --output scaling.json
"""

from dataclasses import asdict, replace

import click
import torch
from scaling_measure import batch_of, counted_bytes, refine_seconds, step_seconds, supernet
from scaling_model import (
    BASE,
    LARGE,
    MINILM,
    SHAPES,
    Device,
    Shape,
    architecture_step_bytes,
    architecture_step_flops,
    architecture_step_seconds,
    parameters,
    retrain_seconds,
    search_seconds,
    weight_step_bytes,
    weight_step_flops,
    weight_step_seconds,
)

from exitnas.files import write_json
from exitnas.settings import RetrainSettings, SearchSettings

Rows = list[list[str]]


def table(title: str, columns: list[str], rows: Rows) -> None:
    """Print a Markdown table."""
    lines = ["| " + " | ".join(row) + " |" for row in [columns, ["---"] * len(columns), *rows]]
    click.echo(f"\n{title}\n\n" + "\n".join(lines))


def memory_table() -> Rows:
    """Counted and predicted bytes of both steps: layers, exit width, tokens and encoder in turn, one row a step."""
    points = [(replace(LARGE, layers=layers), 128) for layers in (6, 12, 24)]
    points += [(replace(LARGE, layers=6, width=width), 128) for width in (16, 64)]
    points += [(replace(LARGE, layers=6), tokens) for tokens in (32, 512)]
    points += [(MINILM, 128), (replace(BASE, layers=6), 128)]
    rows = []
    for shape, tokens in points:
        net = supernet(shape)
        cells = [f"{shape.layers}", f"{shape.hidden}", f"{shape.width}", f"{tokens}"]
        for step, formula in (("weights", weight_step_bytes), ("architecture", architecture_step_bytes)):
            counted, predicted = counted_bytes(net, batch_of(shape, 1, tokens), step), formula(shape, 1, tokens)
            cells += [f"{counted / 1e6:.2f}", f"{predicted / 1e6:.2f}", f"{100 * (predicted / counted - 1):+.1f}%"]
        rows.append(cells)
    return rows


def whole_memory_table(rows: int, tokens: int) -> Rows:
    """Gigabytes of a step: weights, gradients and AdamW's two moments (16 bytes a parameter), and what is kept."""
    found = []
    for name, shape in SHAPES.items():
        fixed, kept = 16 * sum(parameters(shape)) / 1e9, weight_step_bytes(shape, rows, tokens) / 1e9
        architecture = architecture_step_bytes(shape, rows, tokens) / 1e9
        found.append([name, f"{fixed:.2f}", f"{kept:.2f}", f"{architecture:.2f}", f"{fixed + kept:.2f}"])
    return found


Point = tuple[Shape, int, dict[str, float]]


def fitted(few: Point, many: Point, tokens: int, **rest: float) -> Device:
    """The device on which one shape with few and with many rows takes the measured seconds of both steps."""
    (shape, rows, first), (_, more, second) = few, many
    found = {}
    for step, flops, units in (
        ("weights", weight_step_flops, sum(parameters(shape))),
        ("architecture", architecture_step_flops, shape.layers),
    ):
        rate = (flops(shape, more, tokens) - flops(shape, rows, tokens)) / (second[step] - first[step])
        fixed = (second[step] - flops(shape, more, tokens) / rate) / units
        found[step] = rate, max(0.0, fixed)
    (weight_rate, weight_fixed), (architecture_rate, architecture_fixed) = found["weights"], found["architecture"]
    update = second["update"] / sum(parameters(shape))
    return Device(weight_rate, architecture_rate, weight_fixed, architecture_fixed, update, **rest)


def time_table(measured: list[Point], tokens: int, device: Device) -> Rows:
    """Measured seconds of every point, in brackets those predicted for `device`."""
    rows = []
    for shape, batch, found in measured:
        predicted = {
            "weights": weight_step_seconds(shape, batch, tokens, device),
            "update": sum(parameters(shape)) * device.update,
            "architecture": architecture_step_seconds(shape, batch, tokens, device),
        }
        cells = [f"{found[key]:.3f} ({seconds:.3f})" for key, seconds in predicted.items()]
        rows.append([f"{shape.layers} x {shape.hidden}", f"{batch}", *cells])
    return rows


def search_table(device: Device, rows: int, tokens: int, settings: SearchSettings) -> Rows:
    """Hours of a search of BERT-large on 1, 8 and 64 devices by part, and how well the devices are used."""
    one = search_seconds(LARGE, rows, tokens, 1, device, settings)["total"]
    found = []
    for devices in (1, 8, 64):
        parts = search_seconds(LARGE, rows, tokens, devices, device, settings)
        cells = [
            f"{parts[part] / 3600:.3g}" for part in ("weights", "architecture", "update", "communication", "refine")
        ]
        total = parts["total"]
        found.append([f"{devices}", *cells, f"{total / 3600:.3g}", f"{100 * one / total / devices:.0f}%"])
    return found


def study_table(
    device: Device, rows: int, tokens: int, settings: SearchSettings, retraining: RetrainSettings, trials: int
) -> Rows:
    """Hours of a trial's search and retraining, and days of a study, one trial per device at a time.

    In the last column half of the trials are pruned after a third of their time.
    """
    found = []
    for name, share in (("all rows", 1.0), ("a tenth of the rows", 0.1)):
        used = int(rows * share)
        hours = [search_seconds(LARGE, used, tokens, 1, device, settings)["total"] / 3600]
        hours += [retrain_seconds(LARGE, used, tokens, device, retraining) / 3600]
        days = sum(hours) / 24
        cells = [name, *(f"{each:.3g}" for each in hours), f"{trials * days:.3g}"]
        cells += [f"{-(-trials // devices) * days:.3g}" for devices in (8, 64)]
        found.append([*cells, f"{-(-trials // 64) * days * (0.5 + 0.5 / 3):.3g}"])
    return found


@click.command()
@click.option("--rows", default=391_702, show_default=True, help="Training rows: MNLI's less 1k for dev.")
@click.option("--tokens", default=40, show_default=True, help="Mean tokens per row.")
@click.option("--batch-size", default=256, show_default=True, help="Rows per step over all devices.")
@click.option("--epochs", default=10, show_default=True)
@click.option("--trials", default=1000, show_default=True)
@click.option("--gbit", default=10.0, show_default=True, help="Network between CPUs, Gbit/s.")
@click.option("--tflops", default=100.0, show_default=True, help="Assumed accelerator: sustained TFLOP/s.")
@click.option("--accelerator-gbit", default=200.0, show_default=True, help="Assumed accelerator: link, Gbit/s.")
@click.option("--memory-gbytes", default=2000.0, show_default=True, help="Assumed accelerator: memory, GB/s.")
@click.option("--output", help="JSON file to write.")
def main(
    rows: int, tokens: int, batch_size: int, epochs: int, trials: int, gbit: float, tflops: float,
    accelerator_gbit: float, memory_gbytes: float, output: str | None,
) -> None:  # fmt: skip
    """Count, measure and print the tables of docs/scaling.md."""
    torch.set_num_threads(1)
    settings = SearchSettings(task="mnli", batch_size=batch_size, epochs=epochs)
    retraining = RetrainSettings(task="mnli", batch_size=batch_size, epochs=epochs)
    memory = memory_table()
    kinds = ("counted", "predicted", "error")
    both = [f"{step} step: {kind}" for step in ("weight", "architecture") for kind in kinds]
    table("Kept for the backward pass, MB a row", ["E", "D", "d", "T", *both], memory)
    columns = ["encoder", "parameters", "weight step", "architecture step", "peak"]
    table("GB at 32 rows of 128 tokens", columns, whole_memory_table(32, 128))
    two, four = replace(LARGE, layers=2), replace(LARGE, layers=4)
    points = [(two, 4), (two, 16), (two, 8), (four, 8), (replace(BASE, layers=2), 8), (MINILM, 8)]
    measured = [(shape, batch, step_seconds(shape, batch, tokens)) for shape, batch in points]
    rest = {
        "refine_step": refine_seconds(LARGE, batch_size, tokens),
        "bandwidth": gbit / 8e-9,
        "latency": 5e-5,
    }
    cpu = fitted(measured[0], measured[1], tokens, **rest)
    columns = ["E x D", "rows", "weight step", "update", "architecture step"]
    table("Seconds of a step (predicted from the first two rows)", columns, time_table(measured, tokens, cpu))
    click.echo(f"\nfitted: {cpu}\nparameters of BERT-large and its exits: {parameters(LARGE)}")
    rate, memory_rate = tflops * 1e12, memory_gbytes * 1e9
    gpu = Device(rate, rate, 8 / memory_rate, 1e-3, 28 / memory_rate, 3e-3, accelerator_gbit / 8e-9, 2e-5)
    columns = ["devices", "weights", "architecture", "update", "communication", "refinement", "hours", "use"]
    for name, device in (("one CPU thread a device, measured", cpu), ("an accelerator, assumed", gpu)):
        table(f"Hours of a search, {name}", columns, search_table(device, rows, tokens, settings))
        parts = ["data", "search, hours", "retraining, hours", "1 device", "8", "64", "64, half pruned"]
        studies = study_table(device, rows, tokens, settings, retraining, trials)
        table(f"Days of {trials} trials, {name}", parts, studies)
    if output:
        steps = [{"shape": asdict(shape), "rows": batch, **found} for shape, batch, found in measured]
        write_json(output, {"memory": memory, "steps": steps, "fitted": asdict(cpu), "torch": torch.__version__})


if __name__ == "__main__":
    main()
