"""The supernet: mixed operations against the plain sum, and batches that do not leak."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor, nn

from exitnas.backbones.loading import backbone_from_config
from exitnas.exits.exit import Exit
from exitnas.exits.genotype import Genotype, Origin
from exitnas.exits.operations import ACTIVATIONS, EDGES, ENCODERS, POOLINGS
from exitnas.supernet.architecture import Architecture
from exitnas.supernet.cells import MixedActivation, MixedEncoder, MixedPooling
from exitnas.supernet.discretize import discretize
from exitnas.supernet.space import SearchSpace, load_space
from exitnas.supernet.supernet import SuperExit, Supernet

B, T, WIDTH, HIDDEN = 3, 7, 16, 12
LENGTHS = [7, 3, 5]
LECO, APPENDIX = load_space("leco"), load_space("leco-appendix")


@pytest.fixture(autouse=True)
def _own_random_state() -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(17)
        yield


def batch(width: int = WIDTH) -> tuple[Tensor, Tensor]:
    x = torch.randn(B, T, width, generator=torch.Generator().manual_seed(5))
    return x, torch.arange(T) < torch.tensor(LENGTHS)[:, None]


def scramble(module: nn.Module) -> Any:
    """`module` with parameters that are all different, zero-initialized ones too."""
    generator = torch.Generator().manual_seed(2)
    for parameter in module.parameters():
        parameter.data = 0.4 * torch.randn(parameter.shape, generator=generator)
    return module


def random_weights(count: int, seed: int) -> Tensor:
    return torch.randn(count, generator=torch.Generator().manual_seed(seed)).softmax(0).requires_grad_()


def small(space: SearchSpace, **changes: Any) -> SearchSpace:
    return space.model_copy(update={"width": WIDTH, **changes})


def architecture(space: SearchSpace, **alphas: Any) -> Architecture:
    """One layer; `alphas` maps an edge to candidate -> alpha, unnamed ones are 0."""
    made = Architecture(space, 1)
    for edge, values in alphas.items():
        for name, value in values.items():
            made.alphas[edge].data[0, space.candidates(edge).index(name)] = value
    return made


# ---- mixed operations ----

EDGE_PAIRS = {
    "leco": (LECO.encoder_1, LECO.encoder_2),
    "appendix": (APPENDIX.encoder_1, APPENDIX.encoder_2),
    "uneven": (("mha_8", "conv_3", "mha_2"), ("null", "mha_8", "skip", "conv_5")),
    "convolutions": (("conv_5", "conv_1"), ("conv_1",)),
    "attentions": (("mha_4",), ("mha_4", "mha_2")),
    "others": (("skip", "mha_pdot"), ("null",)),
    "one": (("skip",), ("null",)),
}


@pytest.mark.parametrize("auxiliary_skip", [0.0, 0.7])
@pytest.mark.parametrize("edges", EDGE_PAIRS.values(), ids=EDGE_PAIRS)
def test_mixed_encoder_equals_one_candidate_after_another(
    edges: tuple[tuple[str, ...], ...], auxiliary_skip: float
) -> None:
    mixed = scramble(MixedEncoder(edges, WIDTH))
    mixed.auxiliary_skip = auxiliary_skip
    x, mask = batch()
    direction = torch.randn(B, T, WIDTH) * mask[..., None]
    results = []
    for compute in (mixed.forward, mixed.candidate_by_candidate):
        inputs = x.clone().requires_grad_()
        weights = [random_weights(len(names), seed) for seed, names in enumerate(edges)]
        y = compute(inputs, mask, weights)
        sources = [inputs, *weights, *mixed.parameters()]
        # an edge of null alone has no gradient in one of the two, a gradient of zero in the other
        gradients = torch.autograd.grad((y * direction).sum(), sources, allow_unused=True)
        results.append(
            (y, [g if g is not None else torch.zeros_like(s) for g, s in zip(gradients, sources, strict=True)])
        )
    (fast, fast_gradients), (plain, plain_gradients) = results
    assert torch.allclose(fast[mask], plain[mask], atol=1e-5)
    assert len(fast_gradients) == 1 + len(edges) + len(list(mixed.parameters()))
    for one, other in zip(fast_gradients, plain_gradients, strict=True):
        assert torch.allclose(one, other, atol=1e-5, rtol=1e-4)
    assert fast_gradients[0].abs().sum() > 0


@pytest.mark.parametrize("name", ENCODERS.names())
def test_mixed_encoder_with_one_hot_weights_is_the_operation(name: str) -> None:
    mixed = scramble(MixedEncoder((tuple(ENCODERS.names()), ("null", "skip")), WIDTH))
    x, mask = batch()
    index = ENCODERS.names().index(name)
    one_hot = nn.functional.one_hot(torch.tensor(index), len(ENCODERS.names())).float()
    y = mixed(x, mask, [one_hot, torch.tensor([1.0, 0.0])])
    expected = mixed.edges[0][index](x, mask)
    assert torch.allclose(y[mask], expected[mask], atol=1e-5)


def test_mixed_encoder_of_nothing_is_zero() -> None:
    x, mask = batch()
    mixed = MixedEncoder((("null",), ("null",)), WIDTH)
    assert torch.equal(mixed(x, mask, [torch.ones(1), torch.ones(1)]), torch.zeros_like(x))


def test_mixed_encoder_sees_no_padding() -> None:
    mixed = scramble(MixedEncoder(EDGE_PAIRS["appendix"], WIDTH))
    x, mask = batch()
    weights = [random_weights(len(names), seed) for seed, names in enumerate(EDGE_PAIRS["appendix"])]
    y = mixed(x, mask, weights)
    assert torch.allclose(mixed(x.masked_fill(~mask[..., None], 1e6), mask, weights)[mask], y[mask], atol=1e-5)
    for row, length in enumerate(LENGTHS):
        alone = mixed(x[row : row + 1, :length], mask[row : row + 1, :length], weights)
        assert torch.allclose(alone[0], y[row, :length], atol=1e-5)


def test_mixed_activation_and_pooling_are_weighted_sums() -> None:
    x, mask = batch()
    names = tuple(ACTIVATIONS.names())
    weights = random_weights(len(names), 1)
    expected = sum(w * ACTIVATIONS.create(name)(x) for w, name in zip(weights, names, strict=True))
    assert torch.allclose(MixedActivation(names)(x, weights), expected, atol=1e-6)
    mixed = scramble(MixedPooling(tuple(POOLINGS.names()), WIDTH))
    weights = random_weights(len(POOLINGS.names()), 2)
    parts = [w * operation(x, mask) for w, operation in zip(weights, mixed.operations, strict=True)]
    assert torch.allclose(mixed(x, mask, weights), sum(parts), atol=1e-6)


# ---- the super-exit and its discretized exit ----


def copy_exit(super_exit: SuperExit, space: SearchSpace, genotype: Genotype) -> Exit:
    """The exit of the first layer of `genotype`, with the parameters the super-exit has for its operations."""
    choice = genotype.exits[0]
    exit_ = Exit(choice, HIDDEN, space.width, 3)
    if space.width is not None:
        exit_.down.load_state_dict(super_exit.down.state_dict())
    exit_.classifier.load_state_dict(super_exit.classifier.state_dict())
    exit_.pooling.load_state_dict(super_exit.pooling.operations[space.pooling.index(choice.pooling)].state_dict())
    kept = [
        super_exit.encoder.edges[edge][space.candidates(f"encoder_{edge + 1}").index(name)]  # type: ignore[index]
        for edge, name in enumerate(choice.encoder)
        if name != "null"
    ]
    for mine, theirs in zip(exit_.encoder, kept, strict=True):
        mine.load_state_dict(theirs.state_dict())
    return exit_


@pytest.mark.parametrize("picks", [
    ("tanh", "conv_3", "mha_4", "avg", "gelu"), ("null", "null", "mha_2", "sa", "relu"),
    ("swish", "conv_1", "skip", "cls", "null"), ("leaky_relu", "mha_pdot", "null", "max", "leaky_relu"),
])  # fmt: skip
@pytest.mark.parametrize("width", [WIDTH, None])
def test_super_exit_with_one_hot_weights_is_the_discretized_exit(picks: tuple[str, ...], width: int | None) -> None:
    space = small(
        APPENDIX, width=width, encoder_1=("conv_1", "conv_3", "mha_2", "mha_pdot", "null"),
        encoder_2=("mha_4", "mha_2", "skip", "null"),
    )  # fmt: skip
    by_edge = dict(zip(EDGES, picks, strict=True))
    made = architecture(space, **{edge: {name: 500.0} for edge, name in by_edge.items()})
    weights = {edge: weight[0] for edge, weight in made.weights().items()}
    assert all(weight.max() == 1.0 for weight in weights.values())
    genotype = discretize(made, "tiny", HIDDEN, Origin())
    assert {edge: genotype.exits[0].operation(edge) for edge in EDGES} == by_edge
    super_exit = scramble(SuperExit(space, HIDDEN, 3))
    hidden, mask = batch(HIDDEN)
    exit_ = copy_exit(super_exit, space, genotype)
    assert torch.allclose(super_exit(hidden, mask, weights), exit_(hidden, mask), atol=1e-5)


# ---- the whole supernet ----


def tiny_supernet(space: SearchSpace = LECO) -> Supernet:
    """Three layers of hidden size 12 in eval mode, with uneven architecture parameters."""
    config = transformers.BertConfig(
        vocab_size=30, hidden_size=HIDDEN, num_hidden_layers=3, num_attention_heads=2, intermediate_size=20,
        max_position_embeddings=20, initializer_range=0.5,
    )  # fmt: skip
    net = Supernet(backbone_from_config(config), small(space), 3).eval()
    for alpha in net.architecture.alphas.values():
        alpha.data.normal_()
    return net


def run(net: Supernet, ids: Tensor, mask: Tensor) -> Tensor:
    """Logits [E, B, C]."""
    states, mask = net.backbone(ids, mask.long())
    return torch.stack(net.exit_logits(states, mask))


def test_supernet_answers_do_not_depend_on_the_batch() -> None:
    net = tiny_supernet(APPENDIX)
    mask = torch.arange(T) < torch.tensor(LENGTHS)[:, None]
    ids = torch.randint(1, 30, (B, T))
    with torch.no_grad():
        logits = run(net, ids, mask)
        assert logits.shape == (3, B, 3)
        wide = nn.functional.pad(ids, (0, 6), value=9), nn.functional.pad(mask, (0, 6))
        assert torch.allclose(run(net, *wide), logits, atol=1e-5)
        assert torch.allclose(run(net, ids.masked_fill(~mask, 4), mask), logits, atol=1e-5)
        turned = torch.tensor([2, 0, 1])
        assert torch.allclose(run(net, ids[turned], mask[turned]), logits[:, turned], atol=1e-5)
        for row, length in enumerate(LENGTHS):
            alone = run(net, ids[row : row + 1, :length], mask[row : row + 1, :length])
            assert torch.allclose(alone[:, 0], logits[:, row], atol=1e-5)
    assert (logits[:, 0] - logits[:, 1]).abs().max() > 1e-2


def test_every_layer_has_its_own_exit_and_row_of_parameters() -> None:
    net = tiny_supernet()
    ids, mask = torch.randint(1, 30, (B, T)), torch.ones(B, T, dtype=torch.bool)
    before = run(net, ids, mask).detach()
    for edge in EDGES:
        net.architecture.alphas[edge].data[1].neg_()
    after = run(net, ids, mask).detach()
    same = [torch.equal(a, b) for a, b in zip(before, after, strict=True)]
    assert same == [True, False, True]


@pytest.mark.parametrize("part", ["architecture", "exits", "backbone"])
def test_gradients_reach_every_part_and_are_finite(part: str) -> None:
    net = tiny_supernet()
    mask = torch.arange(T) < torch.tensor(LENGTHS)[:, None]
    run(net, torch.randint(1, 30, (B, T)), mask).square().sum().backward()
    parameters: Callable[[], Any] = getattr(net, part).named_parameters
    for name, parameter in parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


def test_parameters_of_the_three_parts_add_up() -> None:
    net = tiny_supernet()
    parts = [sum(p.numel() for p in part.parameters()) for part in (net.backbone, net.exits, net.architecture)]
    assert sum(parts) + net.log_scales.numel() == sum(p.numel() for p in net.parameters())
    # per exit: down, two edges of 1+3+5 kernels and three attentions each, sa query, classifier
    edge = (1 + 3 + 5) * WIDTH**2 + 3 * WIDTH + 3 * 4 * (WIDTH**2 + WIDTH)
    assert parts[1] == 3 * (HIDDEN * WIDTH + WIDTH + 2 * edge + WIDTH + 3 * WIDTH + 3)
    assert parts[2] == 3 * 30


def test_the_auxiliary_skip_adds_the_input_once_per_edge() -> None:
    """DARTS- (Chu et al. 2021), eq. 5: beta * x beside the candidates."""
    mixed = scramble(MixedEncoder((("conv_3", "null"), ("mha_2", "skip")), WIDTH))
    x, mask = batch()
    weights = [random_weights(2, 0), random_weights(2, 1)]
    before = mixed(x, mask, weights)
    mixed.auxiliary_skip = 0.25
    assert torch.allclose(mixed(x, mask, weights)[mask], (before + 0.5 * x)[mask], atol=1e-6)
