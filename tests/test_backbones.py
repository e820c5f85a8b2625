"""The contract of every backbone family, on tiny random models: it is the stock model, one layer at a time."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor

from exitnas.backbones import ALIASES, BACKBONES, DEFAULT_BACKBONE
from exitnas.backbones.base import Backbone
from exitnas.backbones.loading import backbone_from_config
from exitnas.errors import UsageError

E, D, VOCABULARY = 4, 16, 40

COMMON: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": D,
    "num_hidden_layers": E,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 40,
    "pad_token_id": 1,
    "initializer_range": 0.5,
}
DEBERTA_V3: dict[str, Any] = {
    **COMMON,
    "type_vocab_size": 0,
    "relative_attention": True,
    "position_buckets": 4,
    "max_relative_positions": 40,
    "pos_att_type": ["p2c", "c2p"],
    "share_att_key": True,
    "norm_rel_ebd": "layer_norm",
    "position_biased_input": False,
}
ALBERT: dict[str, Any] = {"embedding_size": 8, "num_hidden_groups": 2, "hidden_dropout_prob": 0.1}
MODERNBERT: dict[str, Any] = {"local_attention": 4, "embedding_dropout": 0.1, "attention_dropout": 0.1}
ROWS: list[tuple[str, str, Callable[[], Any]]] = [
    ("bert", "bert", lambda: transformers.BertConfig(**COMMON)),
    ("roberta", "roberta", lambda: transformers.RobertaConfig(**COMMON)),
    ("xlm-roberta", "xlm-roberta", lambda: transformers.XLMRobertaConfig(**COMMON, type_vocab_size=1)),
    ("albert", "albert", lambda: transformers.AlbertConfig(**COMMON, **ALBERT)),
    (
        "distilbert",
        "distilbert",
        lambda: transformers.DistilBertConfig(
            vocab_size=VOCABULARY, dim=D, n_layers=E, n_heads=2, hidden_dim=24, max_position_embeddings=40
        ),
    ),
    ("electra", "electra", lambda: transformers.ElectraConfig(**COMMON, embedding_size=D)),
    ("electra-narrow", "electra", lambda: transformers.ElectraConfig(**COMMON, embedding_size=8)),
    ("mpnet", "mpnet", lambda: transformers.MPNetConfig(**COMMON)),
    ("deberta-v3", "deberta-v2", lambda: transformers.DebertaV2Config(**DEBERTA_V3)),
    ("deberta-conv", "deberta-v2", lambda: transformers.DebertaV2Config(**{**DEBERTA_V3, "conv_kernel_size": 3})),
    ("deberta-plain", "deberta-v2", lambda: transformers.DebertaV2Config(**COMMON, type_vocab_size=2)),
    ("modernbert", "modernbert", lambda: transformers.ModernBertConfig(**COMMON, **MODERNBERT)),
]
every_row = pytest.mark.parametrize(("family", "build"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS])

LENGTHS = [9, 3, 6]


def make(build: Callable[[], Any]) -> Backbone:
    """A tiny random backbone in eval mode, the same at every call."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return backbone_from_config(build()).eval()


def batch(config: Any, lengths: list[int] = LENGTHS, total: int | None = None) -> tuple[Tensor, Tensor]:
    """Right-padded ids [B, T] and mask [B, T]; sample b has the same ids in every batch."""
    total = total or max(lengths)
    ids = torch.full((len(lengths), total), config.pad_token_id or 0)
    mask = torch.zeros(len(lengths), total, dtype=torch.long)
    for row, length in enumerate(lengths):
        generator = torch.Generator().manual_seed(length)
        ids[row, :length] = torch.randint(2, VOCABULARY, (length,), generator=generator)
        mask[row, :length] = 1
    return ids, mask


def stock_states(backbone: Backbone, **inputs: Tensor) -> tuple[Tensor, ...]:
    """The stock model's own E hidden states; same modules, its own forward."""
    output = backbone.encoder(**inputs, output_hidden_states=True)
    assert torch.equal(output.hidden_states[-1], output.last_hidden_state)
    return output.hidden_states[1:]


def test_every_family_has_a_row():
    assert {family for _, family, _ in ROWS} == set(BACKBONES.names())
    assert DEFAULT_BACKBONE in ALIASES


@every_row
def test_layer_by_layer_is_the_stock_model(family: str, build: Callable[[], Any]):
    backbone = make(build)
    assert (backbone.family, backbone.num_layers, backbone.hidden_size) == (family, E, D)
    ids, attention = batch(backbone.config)
    with torch.no_grad():
        states, mask = backbone(ids, attention)
        expected = stock_states(backbone, input_ids=ids, attention_mask=attention)
    assert len(states) == len(expected) == E
    assert mask.dtype == torch.bool
    assert torch.equal(mask, attention.bool())
    for state, stock in zip(states, expected, strict=True):
        assert state.shape == (3, 9, D)
        assert torch.isfinite(state).all()
        torch.testing.assert_close(state[mask], stock[mask], rtol=0, atol=1e-6)
    assert not torch.allclose(states[0], states[1], atol=1e-2)


@every_row
def test_segments_are_used_where_the_model_knows_them(family: str, build: Callable[[], Any]):
    backbone = make(build)
    ids, attention = batch(backbone.config)
    segments = torch.zeros_like(ids)
    segments[:, 2:] = 1
    has_segments = getattr(backbone.config, "type_vocab_size", 0) == 2
    if family != "deberta-v2":
        assert has_segments == (family in {"bert", "roberta", "albert", "electra"})
    with torch.no_grad():
        states, mask = backbone(ids, attention, segments)
        plain, _ = backbone(ids, attention)
        if has_segments:
            extra = {"token_type_ids": segments}
            assert not torch.allclose(states[-1][mask], plain[-1][mask], atol=1e-3)
        else:
            extra = {}
        expected = stock_states(backbone, input_ids=ids, attention_mask=attention, **extra)
    torch.testing.assert_close(states[-1][mask], expected[-1][mask], rtol=0, atol=1e-6)


@every_row
def test_every_parameter_receives_a_gradient(family: str, build: Callable[[], Any]):
    backbone = make(build).train()
    ids, attention = batch(backbone.config)
    states, mask = backbone(ids, attention)
    probe = torch.randn(D, generator=torch.Generator().manual_seed(0))
    sum((state[mask] @ probe).square().sum() for state in states).backward()
    for name, parameter in backbone.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name


@every_row
def test_dropout_is_the_stock_models(family: str, build: Callable[[], Any]):
    backbone = make(build)
    ids, attention = batch(backbone.config)
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        still, mask = backbone(ids, attention)
        backbone.train()
        torch.manual_seed(5)
        dropped, _ = backbone(ids, attention)
        torch.manual_seed(5)
        stock = stock_states(backbone, input_ids=ids, attention_mask=attention)
    assert not torch.allclose(dropped[-1][mask], still[-1][mask], atol=1e-2)
    torch.testing.assert_close(dropped[-1][mask], stock[-1][mask], rtol=0, atol=1e-6)


@every_row
def test_a_sample_does_not_depend_on_its_batch(family: str, build: Callable[[], Any]):
    backbone = make(build).double()  # so that rounding, another with every kernel, hides nothing
    ids, attention = batch(backbone.config, total=14)
    with torch.no_grad():
        together, _ = backbone(ids, attention)
        for row, length in enumerate(LENGTHS):
            alone, mask = backbone(*batch(backbone.config, [length]))
            assert mask.all()
            for in_batch, state in zip(together, alone, strict=True):
                torch.testing.assert_close(in_batch[row, :length], state[0], rtol=0, atol=1e-9)


@every_row
def test_the_rest_of_a_batch_can_go_on_alone(family: str, build: Callable[[], Any]):
    backbone = make(build).double()  # so that rounding, another with every kernel, hides nothing
    ids, attention = batch(backbone.config)
    keep = torch.tensor([2, 1])
    with torch.no_grad():
        states, _ = backbone(ids, attention)
        hidden, context = backbone.embed(ids, attention)
        hidden = backbone.layer(1, backbone.layer(0, hidden, context), context).index_select(0, keep)
        context = context.select(keep)
        assert torch.equal(context.mask, attention.bool()[keep])
        for index in range(2, E):
            hidden = backbone.layer(index, hidden, context)
            real = context.mask
            torch.testing.assert_close(hidden[real], states[index][keep][real], rtol=0, atol=1e-9)


@every_row
def test_batches_of_different_lengths_can_be_merged_before_any_layer(family: str, build: Callable[[], Any]):
    backbone = make(build).double()  # so that rounding, another with every kernel, hides nothing
    ids, attention = batch(backbone.config, [9, 3, 6, 4])
    with torch.no_grad():
        states, mask = backbone(ids, attention)
        for after in (0, 2):
            parts = []
            for lengths, total in (([9], 9), ([3, 6], 7), ([4], 4)):
                hidden, context = backbone.embed(*batch(backbone.config, lengths, total))
                for index in range(after):
                    hidden = backbone.layer(index, hidden, context)
                parts.append((hidden, context.mask))
            hidden, context = backbone.merge(parts)
            assert hidden.shape == (4, 9, D)
            assert torch.equal(context.mask, mask)
            for index in range(after, E):
                hidden = backbone.layer(index, hidden, context)
            torch.testing.assert_close(hidden[mask], states[-1][mask], rtol=0, atol=1e-9)


@every_row
def test_no_value_is_read_on_a_device(family: str, build: Callable[[], Any]):
    """On the meta device every read of a value, which on a GPU would synchronize, is an error."""
    backbone = make(build).to("meta")
    ids, attention = (value.to("meta") for value in batch(backbone.config))
    hidden, context = backbone.embed(ids, attention, torch.zeros_like(ids))
    for index in range(E):
        hidden = backbone.layer(index, hidden, context)
    assert backbone.merge([(hidden, context.mask)] * 2)[0].shape == (6, 9, D)
    with pytest.raises(RuntimeError, match="meta"):
        bool(context.mask.all())


@every_row
def test_bf16_autocast_stays_near_fp32(family: str, build: Callable[[], Any]):
    backbone = make(build)
    ids, attention = batch(backbone.config)
    with torch.no_grad():
        exact, mask = backbone(ids, attention)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            rough, _ = backbone(ids, attention)
            stock = stock_states(backbone, input_ids=ids, attention_mask=attention)
    torch.testing.assert_close(rough[-1][mask], stock[-1][mask], rtol=0, atol=1e-6)
    error = (rough[-1][mask] - exact[-1][mask]).abs().mean() / exact[-1][mask].abs().mean()
    assert 0 < error < 0.1


@every_row
def test_too_long_inputs_are_refused_and_the_longest_are_not(family: str, build: Callable[[], Any]):
    backbone = make(build)
    limit = {"roberta": 38, "xlm-roberta": 38, "mpnet": 38}.get(family, 40)
    if family == "deberta-v2" and not backbone.config.position_biased_input:
        assert backbone.max_tokens is None
        with torch.no_grad():
            states, _ = backbone(*batch(backbone.config, [50]))
        assert torch.isfinite(states[-1]).all()
        return
    assert backbone.max_tokens == limit
    with torch.no_grad():
        backbone(*batch(backbone.config, [limit]))
    with pytest.raises(UsageError, match=f"at most {limit} tokens were expected, {limit + 1} came"):
        backbone(*batch(backbone.config, [limit + 1]))


def test_debertas_convolution_is_among_the_rows():
    build = next(build for name, _, build in ROWS if name == "deberta-conv")
    assert make(build).encoder.encoder.conv is not None


def test_albert_counts_a_group_of_inner_layers_as_one_layer():
    backbone = make(lambda: transformers.AlbertConfig(**COMMON, num_hidden_groups=3, inner_group_num=2))
    ids, attention = batch(backbone.config)
    with torch.no_grad():
        states, mask = backbone(ids, attention)
        stock = stock_states(backbone, input_ids=ids, attention_mask=attention)
    assert len(states) == E
    assert len(stock) == 2 * E
    for index, state in enumerate(states):
        torch.testing.assert_close(state[mask], stock[2 * index + 1][mask], rtol=0, atol=1e-6)


def test_building_from_a_config_leaves_the_config_alone():
    config = transformers.BertConfig(**COMMON)
    before = config._attn_implementation
    assert backbone_from_config(config).config._attn_implementation == "sdpa"
    assert config._attn_implementation == before


def test_a_decoder_is_refused():
    with pytest.raises(UsageError, match="an encoder was expected"):
        backbone_from_config(transformers.BertConfig(**COMMON, is_decoder=True))


def test_an_unsupported_architecture_is_refused():
    with pytest.raises(UsageError, match=r"unknown backbone family 'gpt2'.*known: bert, roberta"):
        backbone_from_config(transformers.GPT2Config(n_layer=1))
