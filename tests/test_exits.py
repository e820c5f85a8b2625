"""The exit built from a genotype: its equation, its shortcut, its parameters and multiply-accumulates by hand."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from exitnas.exits.exit import Exit, build_exits, exit_costs
from exitnas.exits.genotype import ExitGenotype, Genotype
from exitnas.exits.operations import ENCODERS, POOLINGS

B, T, D = 3, 7, 16
LENGTHS = [7, 3, 5]


@pytest.fixture(autouse=True)
def _own_random_state() -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(11)
        yield


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


@pytest.mark.parametrize(("names", "short"), [
    (("conv_1", "skip"), True), (("skip", "null"), True), (("null", "conv_1"), True),
    (("conv_3", "null"), False), (("conv_1", "mha_2"), False),
])  # fmt: skip
def test_first_token_shortcut_equals_the_full_computation(names: tuple[str, str], short: bool) -> None:
    exit_ = scramble(Exit(exit_of(*names), 12, D, 2))
    assert exit_.first_token_only is short
    hidden, mask = batch(12)
    logits = exit_(hidden, mask)
    exit_.first_token_only = False
    assert torch.allclose(exit_(hidden, mask), logits, atol=1e-6)
    assert not Exit(exit_of(*names, pooling="avg"), 12, D, 2).first_token_only


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
    # the first token alone: down 12*16, conv_1 16*16, classifier 16*3; however long the input
    short = Exit(exit_of("conv_1", "skip"), 12, D, 3)
    assert short.macs(10) == short.macs(500) == 192 + 256 + 48
    # no down-projection: the classifier 12*3
    assert Exit(exit_of("skip", act="null"), 12, None, 3).macs(10) == 36


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
