"""Optimizers, schedules, devices, seeds and the guard against diverged losses."""

from typing import Any

import pytest
import torch
from torch import nn

from exitnas.backbones.loading import load_backbone
from exitnas.errors import ExitnasError, UsageError
from exitnas.exits.exit import build_exits
from exitnas.training.device import backbone_precision, choose_device, seeded, to_device
from exitnas.training.guard import check_finite
from exitnas.training.optimizers import (
    architecture_optimizer,
    assert_partition,
    differentiating,
    optimized,
    set_learning_rate,
    weight_optimizer,
)
from exitnas.training.schedules import decay, linear


class Model(nn.Module):
    """A backbone and exits, each with weights, biases and a normalization."""

    def __init__(self):
        super().__init__()
        self.backbone = nn.ModuleDict({"dense": nn.Linear(3, 3), "LayerNorm": nn.LayerNorm(3)})
        self.exits = nn.ModuleList([nn.Linear(3, 2)])


def weights_of(model: Any) -> torch.optim.AdamW:
    return weight_optimizer(model.backbone, model.exits, lr=1e-5, exit_lr=1e-3, weight_decay=0.1)


def test_linear_schedule_by_hand():
    factors = [linear(step, 10, 0.2) for step in range(11)]
    assert factors == pytest.approx([0.5, 1.0, 1.0, 7 / 8, 6 / 8, 5 / 8, 4 / 8, 3 / 8, 2 / 8, 1 / 8, 0.0])
    assert [linear(step, 4, 0.0) for step in range(6)] == pytest.approx([1.0, 1.0, 2 / 3, 1 / 3, 0.0, 0.0])
    assert linear(0, 1, 0.1) == 1.0
    assert [decay(step, 10) for step in (0, 2, 4, 8, 10)] == [1.0, 0.75, 0.5, 0.0, 0.0]


def test_weight_groups():
    model = Model()
    optimizer = weights_of(model)
    groups = {group["name"]: group for group in optimizer.param_groups}
    assert set(groups) == {"backbone", "backbone (no decay)", "exits", "exits (no decay)"}
    assert groups["backbone"]["params"] == [model.backbone["dense"].weight]
    assert {id(p) for p in groups["backbone (no decay)"]["params"]} == {
        id(model.backbone["dense"].bias),
        *map(id, model.backbone["LayerNorm"].parameters()),
    }
    assert [group["lr"] for group in optimizer.param_groups] == [1e-5, 1e-5, 1e-3, 1e-3]
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.1, 0.0, 0.1, 0.0]
    assert_partition(model, optimizer)


def test_all_weights_of_a_real_model_are_in_one_group_each(world: Any):
    model = nn.Module()
    model.backbone = load_backbone(str(world.backbone))
    model.exits = build_exits(world.genotype(), 2)
    optimizer = weights_of(model)
    assert_partition(model, optimizer)
    assert sorted(map(id, optimized(optimizer))) == sorted(map(id, model.parameters()))
    names = {id(p): name for name, p in model.named_parameters()}
    for group in optimizer.param_groups:
        plain = group["weight_decay"] == 0
        assert all((names[id(p)].endswith("bias") or "LayerNorm" in names[id(p)]) == plain for p in group["params"])


def test_rates_scale_from_their_base():
    optimizer = weights_of(Model())
    for factor in (0.5, 0.25):
        set_learning_rate(optimizer, factor)
    assert [group["lr"] for group in optimizer.param_groups] == [0.25e-5, 0.25e-5, 0.25e-3, 0.25e-3]


def test_architecture_optimizer_has_the_betas_of_darts():
    group = architecture_optimizer(nn.Linear(2, 2).parameters(), lr=0.1, weight_decay=0.01).param_groups[0]
    assert (group["lr"], group["betas"], group["weight_decay"]) == (0.1, (0.5, 0.999), 0.01)


def test_partition_refuses_overlap_missing_and_foreign():
    model = Model()
    optimizer = weights_of(model)
    with pytest.raises(AssertionError, match="two optimizers"):
        assert_partition(model, optimizer, torch.optim.AdamW(model.exits.parameters()))
    with pytest.raises(AssertionError, match=r"no optimizer updates: backbone.dense.weight"):
        assert_partition(model, torch.optim.AdamW(model.exits.parameters()))
    with pytest.raises(AssertionError, match="outside the model"):
        assert_partition(model, optimizer, torch.optim.AdamW(nn.Linear(2, 2).parameters()))


def test_differentiating_reaches_the_wanted_only_and_restores():
    first, second, third = nn.Linear(2, 2), nn.Linear(2, 2), nn.Linear(2, 2)
    third.bias.requires_grad_(False)
    with differentiating(second.parameters(), [*first.parameters(), *third.parameters()]):
        third(second(first(torch.ones(1, 2)))).sum().backward()
    assert all(p.grad is None for p in [*first.parameters(), *third.parameters()])
    assert all(p.grad is not None for p in second.parameters())
    assert all(p.requires_grad for p in [*first.parameters(), *second.parameters(), third.weight])
    assert not third.bias.requires_grad


def test_differentiating_restores_after_an_error():
    first, second = nn.Linear(2, 2), nn.Linear(2, 2)

    def fail() -> None:
        with differentiating(first.parameters(), second.parameters()):
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError):
        fail()
    assert all(p.requires_grad for p in second.parameters())


def test_seeded_is_reproducible_and_leaves_the_caller_alone():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    with seeded(1):
        one = torch.rand(2)
    with seeded(1):
        again = torch.rand(2)
    with seeded(2):
        other = torch.rand(2)
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    assert torch.equal(torch.rand(3), expected)


def test_devices():
    assert choose_device("cpu") == torch.device("cpu")
    assert choose_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    with pytest.raises(UsageError, match=r"unknown device 'gpu'; known: auto, cpu, cuda"):
        choose_device("gpu")
    batch = to_device({"x": torch.ones(2)}, torch.device("cpu"))
    assert batch["x"].device.type == "cpu"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_no_cuda_is_one_line():
    with pytest.raises(UsageError, match="no CUDA device is visible; use --device cpu or auto"):
        choose_device("cuda")


def test_precision_is_for_what_runs_inside():
    layer, x = nn.Linear(2, 2), torch.ones(1, 2)
    device = torch.device("cpu")
    with backbone_precision(device, "bf16"):
        assert layer(x).dtype == torch.bfloat16
    with backbone_precision(device, "fp32"):
        assert layer(x).dtype == torch.float32
    assert layer(x).dtype == torch.float32
    with pytest.raises(UsageError, match="unknown precision 'fp16'; known: fp32, bf16"):
        backbone_precision(device, "fp16")


def test_a_finite_loss_passes():
    assert check_finite(torch.tensor(2.5, requires_grad=True), torch.ones(2, 1), 0, {}) == 2.5


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_diverged_loss_names_step_exits_and_rates(value: float):
    terms = torch.tensor([[1.0, 1.0], [1.0, value], [1.0, 1.0], [value, value]])
    with pytest.raises(ExitnasError) as caught:
        check_finite(terms.sum(), terms, 17, {"backbone": 5e-5, "exits": 1e-3})
    text = str(caught.value)
    assert text.startswith("step 17: the loss is ")
    assert "at exits 2, 4;" in text
    assert "backbone 5e-05, exits 0.001" in text
    assert "\n" not in text


def test_a_total_that_overflows_is_named_as_such():
    with pytest.raises(ExitnasError, match="every exit's own loss is finite"):
        check_finite(torch.tensor(float("inf")), torch.ones(3), 0, {"lr": 1.0})
