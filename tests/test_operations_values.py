"""What operations compute: values by hand, or against few-line versions."""

import math

import pytest
import torch
from torch import nn

from exitnas.errors import UsageError
from exitnas.exits.operations import ACTIVATIONS, ENCODERS, POOLINGS
from tests.operation_batch import D, T, batch, scramble


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
