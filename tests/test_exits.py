"""The exit built from a genotype: its equation, its shortcut, its parameters and multiply-accumulates by hand."""

from collections.abc import Iterator
from itertools import product

import pytest
import torch
from operation_batch import LENGTHS, B, D, T, batch, scramble
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from exitnas.exits.exit import Exit, build_exits, exit_costs
from exitnas.exits.genotype import ExitGenotype, Genotype
from exitnas.exits.operations import ENCODERS, POOLINGS


@pytest.fixture(autouse=True)
def _own_random_state() -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(11)
        yield


def exit_of(first: str, second: str = "null", pooling: str = "cls", act: str = "tanh") -> ExitGenotype:
    return ExitGenotype(activation_in=act, encoder=(first, second), pooling=pooling, activation_out=act)


def some_exits() -> list[ExitGenotype]:
    """Every encoder operation (first edge) with every pooling, second edges in turn."""
    names = [name for name in ENCODERS if name != "null"]
    pairs = [(name, pooling) for name in names for pooling in POOLINGS]
    return [exit_of(name, ENCODERS.names()[i % len(ENCODERS.names())], pool) for i, (name, pool) in enumerate(pairs)]


def label(genotype: ExitGenotype) -> str:
    return "-".join([*genotype.encoder, genotype.pooling])


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize("genotype", some_exits(), ids=label)
def test_exit_depends_on_real_tokens_of_its_own_sample_alone(genotype: ExitGenotype) -> None:
    exit_ = scramble(Exit(genotype, 12, D, 3))
    hidden, mask = batch(12)
    logits = exit_(hidden, mask)
    assert logits.shape == (B, 3)
    assert logits.dtype == torch.float32
    assert torch.equal(exit_(hidden.masked_fill(~mask[..., None], 1e30), mask), logits)
    for row, length in enumerate(LENGTHS):
        alone = exit_(hidden[row : row + 1, :length], mask[row : row + 1, :length])
        assert torch.allclose(alone[0], logits[row], atol=1e-5)
    reverse = torch.tensor([2, 1, 0])
    assert torch.allclose(exit_(hidden[reverse], mask[reverse])[reverse], logits, atol=1e-5)


def test_exit_equals_its_equation() -> None:
    exit_ = scramble(Exit(exit_of("conv_3", "mha_2", "avg"), 12, D, 3))
    hidden, mask = batch(12)
    x = torch.tanh(hidden @ exit_.down.weight.T + exit_.down.bias)
    x = exit_.encoder[0](x, mask) + exit_.encoder[1](x, mask)
    x = torch.stack([sample[real].mean(0) for sample, real in zip(x, mask, strict=True)])
    expected = torch.tanh(x) @ exit_.classifier.weight.T + exit_.classifier.bias
    assert torch.allclose(exit_(hidden, mask), expected, atol=1e-5)


def on_all_tokens(exit_: Exit, hidden: Tensor, mask: Tensor) -> Tensor:
    """The logits of a cls exit when every step runs on every token and only the classifier drops the others."""
    x = torch.tanh(hidden @ exit_.down.weight.T + exit_.down.bias)
    encoded = torch.stack([operation(x, mask) for operation in exit_.encoder]).sum(0)
    return torch.tanh(encoded[:, 0]) @ exit_.classifier.weight.T + exit_.classifier.bias


PAIRS = [names for names in product(ENCODERS.names(), repeat=2) if names != ("null", "null")]


@pytest.mark.parametrize("names", PAIRS, ids="-".join)
@pytest.mark.parametrize("lengths", [[7, 3, 2, 1], [1]], ids=["padded", "one-token"])
def test_cls_exit_equals_the_computation_on_all_tokens(names: tuple[str, str], lengths: list[int]) -> None:
    exit_ = scramble(Exit(exit_of(*names), 12, D, 2)).double()
    generator = torch.Generator().manual_seed(3)
    hidden = torch.randn(len(lengths), max(lengths), 12, generator=generator, dtype=torch.float64, requires_grad=True)
    mask = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    weights = torch.randn(len(lengths), 2, generator=generator, dtype=torch.float64)
    inputs = [hidden, *exit_.parameters()]
    logits, expected = exit_(hidden, mask), on_all_tokens(exit_, hidden, mask)
    assert torch.allclose(logits, expected, rtol=0, atol=1e-10)
    gradients = torch.autograd.grad((weights * logits).sum(), inputs)
    for gradient, full in zip(gradients, torch.autograd.grad((weights * expected).sum(), inputs), strict=True):
        assert torch.allclose(gradient, full, rtol=0, atol=1e-10)
    low = exit_.float()
    assert torch.allclose(low(hidden, mask), on_all_tokens(low, hidden.float(), mask), rtol=1e-6, atol=2e-6)


@pytest.mark.parametrize(("names", "pooling", "read"), [
    (("conv_1", "skip"), "cls", 1), (("skip", "null"), "cls", 1), (("null", "conv_3"), "cls", 2),
    (("conv_5", "conv_3"), "cls", 3), (("conv_1", "mha_2"), "cls", None), (("conv_1", "skip"), "avg", None),
])  # fmt: skip
def test_an_exit_projects_only_the_tokens_it_needs(names: tuple[str, str], pooling: str, read: int | None) -> None:
    exit_ = Exit(exit_of(*names, pooling=pooling), 12, D, 2)
    assert exit_.tokens_read == read
    seen: list[int] = []
    exit_.down.register_forward_hook(lambda module, inputs, output: seen.append(output.shape[1]))
    exit_(*batch(12))
    assert seen == [T if read is None else read]


def test_exit_computes_in_its_own_precision() -> None:
    exit_ = Exit(exit_of("mha_2", pooling="avg"), 12, D, 2)
    hidden, mask = batch(12)
    low = hidden.bfloat16()
    assert exit_(low, mask).dtype == torch.float32
    assert torch.equal(exit_(low, mask), exit_(low.float(), mask))


@pytest.mark.parametrize(("genotype", "width", "parameters"), [
    # 768*32+32 down, 32*32+32 convolution, 32*2+2 classifier
    (exit_of("conv_1"), 32, 25_730),
    # 768*64+64 down, 4*(64*64+64) attention, 64*2+2 classifier: the 66k of LECO 6.4
    (exit_of("mha_4"), 64, 65_986),
    # 768*2+2
    (exit_of("skip", act="null"), None, 1_538),
])  # fmt: skip
def test_parameters_on_a_768_wide_encoder(genotype: ExitGenotype, width: int | None, parameters: int) -> None:
    assert count(Exit(genotype, 768, width, 2)) == parameters
    whole = Genotype(backbone="b", layers=2, hidden_size=768, width=width, exits=(genotype,) * 2)
    assert [cost["parameters"] for cost in exit_costs(whole, 2, 10)] == [parameters] * 2


def test_macs_by_hand() -> None:
    # 10 tokens: down 10*12*16, conv_3 10*3*16*16, mha_2 4 projections 4*10*16*16 + scores and values 2*10*10*16,
    # average 10*16, classifier 16*3
    full = Exit(exit_of("conv_3", "mha_2", "avg"), 12, D, 3)
    assert full.macs(10) == 1920 + 7680 + (10240 + 3200) + 160 + 48
    # conv_3 at the first token: down 2*12*16, two taps 2*16*16, classifier 16*3; one token is all there may be
    near = Exit(exit_of("conv_3"), 12, D, 3)
    assert near.macs(10) == near.macs(2) == 384 + 512 + 48
    assert near.macs(1) == 192 + 256 + 48
    # mha_4 at the first token: down 10*12*16; query, its way back through the key projection, value and output 4*16*16;
    # four heads times scores and weighted sum over 10 tokens 4*2*10*16; classifier 16*3
    assert Exit(exit_of("mha_4"), 12, D, 3).macs(10) == 1920 + 1024 + 1280 + 48
    # mha_pdot adds four matrices of 4*4; conv_3 next to attention still takes two taps
    assert Exit(exit_of("mha_pdot", "conv_3"), 12, D, 3).macs(10) == 1920 + (1024 + 1280 + 64) + 512 + 48
    # the first token alone: down 12*16, conv_1 16*16, classifier 16*3; however long the input
    short = Exit(exit_of("conv_1", "skip"), 12, D, 3)
    assert short.macs(10) == short.macs(500) == 192 + 256 + 48
    # no down-projection: the classifier 12*3
    assert Exit(exit_of("skip", act="null"), 12, None, 3).macs(10) == 36


@pytest.mark.parametrize("name", [name for name in ENCODERS if name != "null"])
def test_macs_at_the_first_token_are_those_torch_counts(name: str) -> None:
    exit_ = Exit(exit_of(name), 12, D, 3)
    hidden, mask = batch(12)
    # With gradient: without it, attention trades arithmetic for fewer steps, which is not what is counted.
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        exit_(hidden, mask)
    assert counter.get_total_flops() == 2 * B * exit_.macs(T)


def test_build_exits_follows_torch_generator_and_costs_draw_nothing() -> None:
    genotype = Genotype(backbone="b", layers=2, hidden_size=12, width=D, exits=(exit_of("conv_1"), exit_of("mha_2")))
    torch.manual_seed(4)
    one = build_exits(genotype, 2)
    torch.manual_seed(4)
    state = torch.random.get_rng_state()
    costs = exit_costs(genotype, 2, 10)
    assert torch.equal(torch.random.get_rng_state(), state)
    two = build_exits(genotype, 2)
    assert len(one) == 2
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))
    assert [cost["parameters"] for cost in costs] == [count(exit_) for exit_ in one]
    assert [cost["macs"] for cost in costs] == [exit_.macs(10) for exit_ in one]  # type: ignore[operator]


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
@pytest.mark.parametrize("name", ["mha_2", "conv_3", "skip"])
def test_an_exit_can_be_quantized(name: str) -> None:
    exit_ = Exit(exit_of(name), 12, D, 3).eval()
    hidden, mask = batch(12)
    small = torch.ao.quantization.quantize_dynamic(exit_, {nn.Linear}, dtype=torch.qint8)
    with torch.inference_mode():
        assert torch.allclose(small(hidden, mask), exit_(hidden, mask), atol=0.05)
