"""The contract of every operation an exit may use, and its values by hand or against few-line versions."""

import math

import pytest
import torch
from torch import Tensor, nn

from exitnas.errors import UsageError
from exitnas.exits.operations import ACTIVATIONS, EDGES, ENCODERS, POOLINGS
from exitnas.exits.operations.base import EncoderOperation, Pooling

B, T, D = 3, 7, 16
LENGTHS = [7, 3, 5]


def batch(width: int = D) -> tuple[Tensor, Tensor]:
    """x [B, T, width] and the mask [B, T] of `LENGTHS`."""
    x = torch.randn(B, T, width, generator=torch.Generator().manual_seed(5))
    return x, torch.arange(T) < torch.tensor(LENGTHS)[:, None]


def scramble(module: nn.Module) -> nn.Module:
    """`module` with parameters that are all different, zero-initialized ones too."""
    generator = torch.Generator().manual_seed(2)
    for parameter in module.parameters():
        parameter.data = 0.4 * torch.randn(parameter.shape, generator=generator)
    return module


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


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


def test_activations_by_hand() -> None:
    x = torch.tensor([-2.0, 0.0, 1.0])
    sigmoid = [1 / (1 + math.exp(-v)) for v in (-2.0, 0.0, 1.0)]
    normal = [0.5 * (1 + math.erf(v / math.sqrt(2))) for v in (-2.0, 0.0, 1.0)]
    expected = {
        "relu": [0.0, 0.0, 1.0],
        "leaky_relu": [-0.02, 0.0, 1.0],
        "tanh": [math.tanh(-2.0), 0.0, math.tanh(1.0)],
        "swish": [-2 * sigmoid[0], 0.0, sigmoid[2]],
        "gelu": [-2 * normal[0], 0.0, normal[2]],
        "null": [-2.0, 0.0, 1.0],
    }
    for name, values in expected.items():
        assert torch.allclose(ACTIVATIONS.create(name)(x), torch.tensor(values), atol=1e-6), name


def test_convolution_by_hand() -> None:
    operation = ENCODERS.create("conv_3", 1)
    operation.convolution.weight.data = torch.tensor([[[10.0, 1.0, 0.1]]])
    operation.convolution.bias.data = torch.tensor([0.5])
    x = torch.tensor([[[1.0], [2.0], [3.0], [99.0]]])
    mask = torch.tensor([[True, True, True, False]])
    # token t: 10 * x[t-1] + x[t] + 0.1 * x[t+1] + 0.5, zeros outside the three real tokens
    assert torch.allclose(operation(x, mask)[0, :3, 0], torch.tensor([1.7, 12.8, 23.5]))


@pytest.mark.parametrize("size", [1, 3, 5])
def test_convolution_is_a_sum_over_shifts(size: int) -> None:
    operation = scramble(ENCODERS.create(f"conv_{size}", D))
    weight, bias = operation.kernel()
    x, mask = batch()
    clean = nn.functional.pad(x * mask[..., None], (0, 0, size // 2, size // 2))
    expected = bias + sum(clean[:, k : k + T] @ weight[:, :, k].T for k in range(size))
    assert torch.allclose(operation(x, mask), expected, atol=1e-5)


@pytest.mark.parametrize("heads", [2, 4, 8])
def test_attention_equals_torch_multihead_attention(heads: int) -> None:
    operation = scramble(ENCODERS.create(f"mha_{heads}", D))
    peer = nn.MultiheadAttention(D, heads, batch_first=True)
    peer.load_state_dict(
        {
            "in_proj_weight": operation.query_key_value.weight,
            "in_proj_bias": operation.query_key_value.bias,
            "out_proj.weight": operation.output.weight,
            "out_proj.bias": operation.output.bias,
        }
    )
    x, mask = batch()
    expected = peer(x, x, x, key_padding_mask=~mask, need_weights=False)[0]
    assert torch.allclose(operation(x, mask), expected, atol=1e-5)


def test_attention_by_hand() -> None:
    operation = ENCODERS.create("mha_2", 2)
    eye = torch.eye(2)
    operation.query_key_value.weight.data = torch.cat([eye, eye, eye])
    operation.query_key_value.bias.data.zero_()
    operation.output.weight.data = eye
    operation.output.bias.data.zero_()
    x = torch.tensor([[[1.0, 2.0], [3.0, -1.0]]])
    # two heads of size 1: token 0 sees scores x0*x over both tokens, scaled by sqrt(1)
    p = 1 / (1 + math.exp(1 * 1 - 1 * 3))
    q = 1 / (1 + math.exp(2 * 2 - 2 * -1))
    expected = torch.tensor([(1 - p) * 1 + p * 3, (1 - q) * 2 + q * -1])
    assert torch.allclose(operation(x, torch.ones(1, 2, dtype=torch.bool))[0, 0], expected, atol=1e-6)


def test_projected_attention_starts_as_attention_and_scores_with_its_matrix() -> None:
    operation = ENCODERS.create("mha_pdot", D)
    peer = ENCODERS.create("mha_4", D)
    peer.load_state_dict({name: value for name, value in operation.state_dict().items() if name != "score"})
    x, mask = batch()
    assert torch.allclose(operation(x, mask), peer(x, mask), atol=1e-6)
    scramble(operation)
    query, key, value = operation.query_key_value(x).split(D, -1)
    heads = []
    for head in range(4):
        part = slice(4 * head, 4 * head + 4)
        score = query[..., part] @ operation.score[head] @ key[..., part].transpose(1, 2) / math.sqrt(4)
        heads.append(score.masked_fill(~mask[:, None], -math.inf).softmax(-1) @ value[..., part])
    assert torch.allclose(operation(x, mask), operation.output(torch.cat(heads, -1)), atol=1e-5)


def test_skip_and_null() -> None:
    x, mask = batch()
    assert torch.equal(ENCODERS.create("skip", D)(x, mask), x)
    assert torch.equal(ENCODERS.create("null", D)(x, mask), torch.zeros_like(x))


def test_poolings_by_hand() -> None:
    x = torch.tensor([[[1.0, -4.0], [3.0, -2.0], [100.0, 100.0]], [[-1.0, 5.0], [8.0, 8.0], [8.0, 8.0]]])
    mask = torch.tensor([[True, True, False], [True, False, False]])
    assert POOLINGS.create("cls", 2)(x, mask).tolist() == [[1.0, -4.0], [-1.0, 5.0]]
    assert POOLINGS.create("max", 2)(x, mask).tolist() == [[3.0, -2.0], [-1.0, 5.0]]
    assert POOLINGS.create("avg", 2)(x, mask).tolist() == [[2.0, -3.0], [-1.0, 5.0]]
    attention = POOLINGS.create("sa", 2)
    assert torch.allclose(attention(x, mask), torch.tensor([[2.0, -3.0], [-1.0, 5.0]]))  # query 0: the average
    attention.query.data = torch.tensor([math.sqrt(2.0), 0.0])  # scores 1 and 3 after the division by sqrt(2)
    p = 1 / (1 + math.exp(1 - 3))
    expected = torch.tensor([[(1 - p) * 1 + p * 3, (1 - p) * -4 + p * -2], [-1.0, 5.0]])
    assert torch.allclose(attention(x, mask), expected, atol=1e-6)


def test_widths_and_kernels_that_cannot_be() -> None:
    with pytest.raises(UsageError, match="width 6 is not divisible into 4 attention heads"):
        ENCODERS.create("mha_4", 6)
    with pytest.raises(UsageError, match="kernel_size must be odd"):
        ENCODERS.get("conv_3")(4, kernel_size=2)
