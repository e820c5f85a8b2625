"""The first token alone: what a head that pools nothing else asks of an encoder operation."""

import pytest
import torch
from torch import Tensor, nn

from exitnas.exits.operations import ENCODERS
from exitnas.exits.operations.base import EncoderOperation
from tests.operation_batch import B, D, T, batch, scramble


@pytest.mark.parametrize("name", ENCODERS.names())
def test_first_token_is_that_of_forward(name: str) -> None:
    operation = scramble(ENCODERS.create(name, D))
    x, mask = batch()
    first = operation.first_token(x, mask)
    assert first.shape == (B, D)
    assert torch.allclose(first, operation(x, mask)[:, 0], rtol=1e-5, atol=1e-5)
    assert torch.equal(operation.first_token(x.masked_fill(~mask[..., None], 1e30), mask), first)
    for real in (mask[:, :1], None):
        alone = operation.first_token(x[:, :1], real)
        assert torch.allclose(alone, operation(x[:, :1], mask[:, :1])[:, 0], rtol=1e-5, atol=1e-5)
    everyone = operation.first_token(x, torch.ones_like(mask))
    assert torch.allclose(operation.first_token(x, None), everyone, rtol=1e-5, atol=1e-5)
    within = T if operation.reach is None else operation.reach + 1
    assert torch.equal(operation.first_token(x[:, :within], mask[:, :within]), first)
    assert type(operation.first_token_macs(T)) is int
    assert 0 <= operation.first_token_macs(T) <= operation.macs(T)


@pytest.mark.parametrize("name", [name for name in ENCODERS.names() if name.startswith("mha")])
@pytest.mark.parametrize("guard", [torch.no_grad, torch.inference_mode])
def test_the_first_token_without_gradient_follows_the_parameters(name: str, guard: type) -> None:
    """The folded projections are those of the parameters of the moment: trained, loaded or replaced."""
    operation = scramble(ENCODERS.create(name, D))
    x, mask = batch()

    def agrees() -> bool:
        with guard():
            folded = operation.first_token(x, mask)
        return torch.allclose(folded, operation(x, mask)[:, 0].detach(), rtol=1e-5, atol=1e-5)

    assert agrees()
    held = operation._folded
    assert agrees()
    assert operation._folded is held
    optimizer = torch.optim.SGD(operation.parameters(), lr=0.01)
    operation.first_token(x, mask).square().sum().backward()
    optimizer.step()
    assert agrees()
    assert operation._folded is not held
    operation.load_state_dict({key: 0.3 * torch.ones_like(value) for key, value in operation.state_dict().items()})
    assert agrees()
    scramble(operation)
    assert agrees()
    for parameter in operation.parameters():
        parameter.data.mul_(1.5)  # unseen by the version, so train() and eval() forget
    operation.eval()
    assert agrees()
    assert "_folded" not in "".join(operation.state_dict())


def test_an_attention_made_under_inference_mode_keeps_nothing() -> None:
    with torch.inference_mode():
        operation = scramble(ENCODERS.create("mha_2", D))
        x, mask = batch()
        for factor in (1.0, 2.0):
            operation.load_state_dict({key: factor * value for key, value in operation.state_dict().items()})
            assert torch.allclose(operation.first_token(x, mask), operation(x, mask)[:, 0], rtol=1e-5, atol=1e-5)


class Neighbours(EncoderOperation):
    """Sum of a token and its real neighbours; it says nothing of first tokens."""

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        padded = nn.functional.pad(x * mask[..., None], (0, 0, 1, 1))
        return padded[:, :-2] + padded[:, 1:-1] + padded[:, 2:]

    def macs(self, tokens: int) -> int:
        return 3 * tokens


@pytest.mark.parametrize(("reach", "macs"), [(None, 21), (1, 6), (2, 9)])
def test_an_operation_gets_its_first_token_without_saying_how(reach: int | None, macs: int) -> None:
    operation = Neighbours(D)
    operation.reach = reach
    x, mask = batch()
    assert torch.allclose(operation.first_token(x, mask), x[:, 0] + x[:, 1])
    assert operation.first_token_macs(T) == macs
    assert operation.first_token_macs(1) == 3
