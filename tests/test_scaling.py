"""The cost model of docs/scaling.md against counted bytes, real parameters, and sums by hand."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from exitnas.exits.exit import build_exits, exit_costs
from exitnas.exits.genotype import ExitGenotype, Genotype
from exitnas.settings import RetrainSettings, SearchSettings

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT / "tools"))
import scaling  # noqa: E402
import scaling_model as model  # noqa: E402

SMALL = model.Shape(layers=2, hidden=64, heads=4, inner=256, width=16, vocabulary=100)
SHAPES = {
    "small": SMALL,
    "deeper": replace(SMALL, layers=5),
    "wider exits": replace(SMALL, width=64),
    "wider encoder": replace(SMALL, hidden=128, inner=200, heads=8, width=32),
}
every_shape = pytest.mark.parametrize("name", SHAPES)


@every_shape
@pytest.mark.parametrize(("rows", "tokens"), [(4, 16), (2, 64)])
def test_kept_bytes_are_as_predicted(name: str, rows: int, tokens: int):
    """Within the 15% that docs/scaling.md promises, for both steps."""
    shape = SHAPES[name]
    net, batch = scaling.supernet(shape), scaling.batch_of(shape, rows, tokens)
    counted = scaling.counted_bytes(net, batch, "weights")
    assert model.weight_step_bytes(shape, rows, tokens) == pytest.approx(counted, rel=0.15)
    counted = scaling.counted_bytes(net, batch, "architecture")
    assert model.architecture_step_bytes(shape, rows, tokens) == pytest.approx(counted, rel=0.15)


@every_shape
def test_parameters_are_those_of_the_modules(name: str):
    net = scaling.supernet(SHAPES[name])
    counts = tuple(sum(p.numel() for p in part.parameters()) for part in (net.backbone, net.exits))
    assert model.parameters(SHAPES[name]) == counts
    assert sum(p.numel() for p in net.architecture.parameters()) == SHAPES[name].layers * model.ALPHAS


def test_arithmetic_by_hand():
    """D = 2, F = 3, d = 1, one layer, T = 5: 16 + 12 + 20 for the encoder; 2 down, 29, and 12 * 5 for the exit."""
    tiny = model.Shape(layers=1, hidden=2, heads=1, inner=3, width=1)
    assert model.macs(tiny, 5) == (48, 91, 2)
    assert model.weight_step_flops(tiny, 7, 5) == 6 * 35 * 139
    assert model.architecture_step_flops(tiny, 7, 5) == 35 * (2 * 48 + 6 * 91 - 4 * 2)


def test_all_reduce_by_hand():
    """8 devices, 64 MiB in 2 pieces: 2 * 7/8 of the bytes over the link, and 28 messages."""
    device = model.Device(1.0, 1.0, 0.0, 0.0, 0.0, 0.0, bandwidth=2**20, latency=0.5)
    assert model.all_reduce(8, 64 * 2**20, device) == pytest.approx(2 * 7 / 8 * 64 + 14)
    assert model.all_reduce(1, 64 * 2**20, device) == 0


def test_refinement_by_hand():
    """25 candidates, then 10, 4 and 2, each with twice the steps: 25*25 + 10*50 + 4*100 + 2*200."""
    assert model.refine_steps(SearchSettings(task="mnli")) == 1925
    assert model.refine_steps(SearchSettings(task="mnli", refine=0)) == 0


def test_a_search_by_hand():
    """1000 rows, D1 500, batches of 100: 5 steps an epoch, 4 epochs, 3 of them searching."""
    settings = SearchSettings(task="mnli", batch_size=100, epochs=4, refine=0)
    device = model.Device(1e9, 2e9, 1e-8, 1e-3, 1e-9, 1.0, bandwidth=1e9, latency=0.0)
    parts = model.search_seconds(SMALL, 1000, 10, 4, device, settings)
    count = sum(model.parameters(SMALL))
    assert parts["weights"] == pytest.approx(20 * (model.weight_step_flops(SMALL, 25, 10) / 1e9 + count * 1e-8))
    flops = model.architecture_step_flops(SMALL, 25, 10)
    assert parts["architecture"] == pytest.approx(15 * (flops / 2e9 + 2 * 1e-3))
    assert parts["update"] == pytest.approx(20 * sum(model.parameters(SMALL)) * 1e-9)
    floats = 20 * sum(model.parameters(SMALL)) + 15 * 2 * 31
    assert parts["communication"] == pytest.approx(1.5 * 4 * floats / 1e9)
    assert parts["total"] == pytest.approx(sum(value for name, value in parts.items() if name != "total"))
    one = model.search_seconds(SMALL, 1000, 10, 1, device, settings)
    assert one["communication"] == 0
    assert one["weights"] - 20 * count * 1e-8 == pytest.approx(4 * (parts["weights"] - 20 * count * 1e-8))


@every_shape
def test_found_exits_are_those_of_a_genotype(name: str):
    """Parameters exactly; MACs of a row of 40 tokens to 2%, what is done once a row being left out."""
    shape = SHAPES[name]
    exit_ = ExitGenotype(activation_in="gelu", encoder=("conv_3", "mha_4"), pooling="sa", activation_out="tanh")
    genotype = Genotype(
        backbone="any", layers=shape.layers, hidden_size=shape.hidden, width=shape.width, exits=(exit_,) * shape.layers
    )
    units, macs = model.found_exits(shape, 40)
    assert units == sum(p.numel() for p in build_exits(genotype, model.CLASSES).parameters())
    counted = sum(cost["macs"] for cost in exit_costs(genotype, model.CLASSES, 40))
    assert 40 * macs == pytest.approx(counted, rel=0.02)


def test_retraining_by_hand():
    """1000 rows in batches of 100, 4 epochs, 2 seeds: 80 weight steps, each over all rows' share of the batch."""
    settings = RetrainSettings(task="mnli", batch_size=100, epochs=4, seeds=2)
    device = model.Device(1e9, 2e9, 1e-8, 1e-3, 1e-9, 1.0, bandwidth=1e9, latency=0.0)
    units, macs = model.found_exits(SMALL, 10)
    backbone = model.macs(SMALL, 10)[0]
    step = 6 * 1000 * (backbone + macs) / 1e9 + (model.parameters(SMALL)[0] + units) * 1.1e-8
    assert model.retrain_seconds(SMALL, 1000, 10, device, settings) == pytest.approx(80 * step)


def test_a_trial_of_a_study_is_a_search_and_a_retraining():
    device = model.Device(1e12, 1e12, 0.0, 0.0, 0.0, 0.0, bandwidth=1e9, latency=0.0)
    search, retrain = SearchSettings(task="mnli", refine=0), RetrainSettings(task="mnli")
    row = scaling.study_table(device, 10_000, 40, search, retrain, 64)[0]
    hours = model.search_seconds(model.LARGE, 10_000, 40, 1, device, search)["total"] / 3600
    hours += model.retrain_seconds(model.LARGE, 10_000, 40, device, retrain) / 3600
    assert float(row[1]) + float(row[2]) == pytest.approx(hours, rel=0.01)
    assert [float(cell) for cell in row[3:]] == pytest.approx(
        [64 * hours / 24, 8 * hours / 24, hours / 24, hours / 36], rel=0.01
    )


def test_what_two_points_say_about_a_device():
    """Seconds made from a device's own formulas give that device back."""
    made = model.Device(3e9, 2e9, 1e-8, 1e-3, 2e-9, 1.0, bandwidth=1e9, latency=0.0)
    points = []
    for rows in (4, 16):
        seconds = {
            "weights": model.weight_step_seconds(SMALL, rows, 10, made),
            "architecture": model.architecture_step_seconds(SMALL, rows, 10, made),
            "update": sum(model.parameters(SMALL)) * made.update,
        }
        points.append((SMALL, rows, seconds))
    found = scaling.fitted(*points, 10, refine_step=1.0, bandwidth=1e9, latency=0.0)
    assert vars(found) == pytest.approx(vars(made))


@pytest.mark.slow
def test_the_tool_prints_its_tables(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """On shapes small enough for a test; the tables of BERT-large come from the same functions."""
    for name in ("LARGE", "BASE", "MINILM"):
        monkeypatch.setattr(scaling, name, SMALL)
    monkeypatch.setattr(scaling, "SHAPES", {"small": SMALL})
    result: Any = CliRunner().invoke(scaling.main, ["--batch-size", "8", "--output", str(tmp_path / "out.json")])
    assert result.exception is None, result.exception
    titles = [
        line for line in result.stdout.splitlines() if line and not line.startswith(("|", "fitted", "parameters"))
    ]
    assert len(titles) == 7
    assert (tmp_path / "out.json").is_file()


def test_the_page_names_the_command_and_all_assumptions():
    text = (ROOT / "docs" / "scaling.md").read_text(encoding="utf-8")
    assert "python tools/scaling.py" in text
    options = {option for p in scaling.main.params for option in p.opts if option != "--output"}
    assert {option for option in options if option not in text} == set()
