"""The contract of every operation an exit may use."""

import pytest
import torch
from torch import nn

from exitnas.exits.operations import ACTIVATIONS, EDGES, ENCODERS, POOLINGS
from exitnas.exits.operations.base import EncoderOperation, Pooling
from tests.operation_batch import LENGTHS, B, D, T, batch, count, scramble


@pytest.mark.parametrize("name", ACTIVATIONS.names())
def test_activation_is_elementwise_without_parameters(name: str) -> None:
    activation = ACTIVATIONS.create(name)
    x, _ = batch()
    assert count(activation) == 0
    assert torch.allclose(activation(x), torch.stack([activation(row) for row in x.flatten()]).view_as(x), atol=1e-6)
    x.requires_grad_()
    activation(x).sum().backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()


@pytest.mark.parametrize("name", ENCODERS.names())
def test_encoder_operation_keeps_the_contract(name: str) -> None:
    operation = scramble(ENCODERS.create(name, D))
    assert isinstance(operation, EncoderOperation)
    x, mask = batch()
    y = operation(x, mask)
    assert y.shape == (B, T, D)
    for garbage in (7.0, -1e30, 1e30):
        other = operation(x.masked_fill(~mask[..., None], garbage), mask)
        assert torch.equal(other[mask], y[mask]), garbage
    for row, length in enumerate(LENGTHS):
        for real in (mask[row : row + 1, :length], None):
            alone = operation(x[row : row + 1, :length], real)
            assert torch.allclose(alone[0], y[row, :length], atol=1e-5)
    macs = operation.macs(T)
    assert type(macs) is int
    assert 0 <= macs <= operation.macs(T + 1)


@pytest.mark.parametrize("name", ENCODERS.names())
def test_encoder_operation_has_finite_gradients(name: str) -> None:
    operation = ENCODERS.create(name, D)
    x, mask = batch()
    x = x.masked_fill(~mask[..., None], 1e4).requires_grad_()
    y = operation(x, mask)
    if not y.requires_grad:
        assert name == "null"
        return
    (y * mask[..., None]).square().sum().backward()
    gradients = [x.grad, *(parameter.grad for parameter in operation.parameters())]
    assert all(gradient is not None and gradient.isfinite().all() for gradient in gradients)
    assert x.grad is not None
    assert torch.equal(x.grad[~mask], torch.zeros_like(x.grad[~mask]))
    assert x.grad[mask].abs().sum() > 0


@pytest.mark.parametrize("name", ENCODERS.names())
def test_encoder_operation_looks_no_further_than_its_reach(name: str) -> None:
    operation = scramble(ENCODERS.create(name, D))
    x, mask = batch()
    mask = torch.ones_like(mask)
    y = operation(x, mask)
    seen = set()  # distances at which a token's output follows a change
    for token in range(T):
        changed = x.clone()
        changed[:, token] += 3.0
        follows = ((operation(changed, mask) - y).abs() > 1e-6).any(-1).any(0)
        seen |= {abs(int(position) - token) for position in follows.nonzero()}
    assert operation.reach is None or max(seen, default=0) <= operation.reach
    furthest = {"conv_1": 0, "conv_3": 1, "conv_5": 2, "skip": 0, "mha_4": T - 1, "mha_pdot": T - 1}
    if name in furthest:
        assert max(seen) == furthest[name]


@pytest.mark.parametrize("name", ENCODERS.names())
def test_kernel_when_given_is_the_operation(name: str) -> None:
    operation = scramble(ENCODERS.create(name, D))
    kernel = operation.kernel()
    if kernel is None:
        assert not name.startswith("conv")
        return
    weight, bias = kernel
    assert weight.shape[:2] == (D, D)
    assert weight.shape[2] % 2 == 1
    x, mask = batch()
    clean = (x * mask[..., None]).transpose(1, 2)
    expected = nn.functional.conv1d(clean, weight, bias, padding=weight.shape[2] // 2).transpose(1, 2)
    assert torch.allclose(operation(x, mask), expected, atol=1e-5)


@pytest.mark.parametrize("name", POOLINGS.names())
def test_pooling_keeps_the_contract(name: str) -> None:
    pooling = scramble(POOLINGS.create(name, D))
    assert isinstance(pooling, Pooling)
    x, mask = batch()
    y = pooling(x, mask)
    assert y.shape == (B, D)
    for garbage in (7.0, -1e30, torch.finfo(torch.float32).max):
        assert torch.equal(pooling(x.masked_fill(~mask[..., None], garbage), mask), y)
    for row, length in enumerate(LENGTHS):
        for real in (mask[row : row + 1, :length], None):
            alone = pooling(x[row : row + 1, :length], real)
            assert torch.allclose(alone[0], y[row], atol=1e-5)
    assert type(pooling.macs(T)) is int
    assert pooling.macs(T) >= 0
    changed = x.clone()
    changed[:, 1] += 50.0
    assert torch.equal(pooling(changed, mask), y) == torch.equal(y, x[:, 0]) == pooling.first_token_only
    x.requires_grad_()
    pooling(x, mask).square().sum().backward()
    gradients = [x.grad, *(parameter.grad for parameter in pooling.parameters())]
    assert all(gradient is not None and gradient.isfinite().all() for gradient in gradients)


def test_edges_draw_from_the_registries_in_the_order_of_the_data() -> None:
    assert list(EDGES) == ["activation_in", "encoder_1", "encoder_2", "pooling", "activation_out"]
    assert EDGES["encoder_1"] is EDGES["encoder_2"] is ENCODERS
    assert ENCODERS.names()[:8] == ["conv_1", "conv_3", "conv_5", "mha_2", "mha_4", "mha_8", "skip", "null"]
