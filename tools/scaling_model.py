"""The cost model of docs/scaling.md: bytes, arithmetic and seconds of a search, as closed formulas.

`scaling.py` measures what they need and holds them against what it counts.
"""

from dataclasses import dataclass
from math import ceil

from exitnas.distributed import BUCKET_BYTES
from exitnas.search.refine import CACHE_BYTES, KEEP, ROWS
from exitnas.settings import RetrainSettings, SearchSettings

CLASSES = 3
ALPHAS = 5 + 8 + 8 + 4 + 5  # candidates of a layer in space leco


@dataclass(frozen=True)
class Shape:
    """An encoder and the exits of space leco: E layers, hidden size D, heads, feed-forward size F, exit width d."""

    layers: int
    hidden: int
    heads: int
    inner: int
    width: int = 32
    vocabulary: int = 30522


MINILM = Shape(6, 384, 12, 1536)
BASE = Shape(12, 768, 12, 3072)
LARGE = Shape(24, 1024, 16, 4096)
SHAPES = {"MiniLM-L6": MINILM, "BERT-base": BASE, "BERT-large": LARGE}


def parameters(shape: Shape) -> tuple[int, int]:
    """Parameters of the backbone (without pooler) and of all exits."""
    d, inner, width = shape.hidden, shape.inner, shape.width
    layer = 4 * (d * d + d) + 2 * d * inner + inner + d + 4 * d
    edge = (1 + 3 + 5) * width**2 + 3 * width + 3 * 4 * (width**2 + width)
    exit_ = d * width + width + 2 * edge + width + CLASSES * (width + 1)
    return (shape.vocabulary + 512 + 2 + 2) * d + shape.layers * layer, shape.layers * exit_


def weight_step_bytes(shape: Shape, rows: int, tokens: int) -> int:
    """Bytes autograd keeps in a weight step on a CPU, dropout on, fp32.

    Per token: embeddings 2 D + 2. A layer 10 D + 2 F + 4, and 3 T per head, since dropout of attention takes torch's
    plain path, which keeps the scores' softmax, the noise and their product; fused attention on a GPU keeps none of
    these. An exit 38 d + 28: six attentions keep query, key, value (18 d), their outputs twice (12 d) and a number per
    head (28), the rest are the cells' inputs. Its merged kernels and projections take 29 d^2, whatever the rows.
    """
    d, width = shape.hidden, shape.width
    layer = 10 * d + 2 * shape.inner + 3 * shape.heads * tokens + 4
    per_token = 3 * d + 2 + shape.layers * (layer + 38 * width + 28)
    return 4 * (rows * tokens * per_token + shape.layers * 29 * width**2)


def architecture_step_bytes(shape: Shape, rows: int, tokens: int) -> int:
    """Bytes kept in an architecture step: the hidden states of all layers (D per token), and the exits.

    The backbone runs without gradient and leaves nothing else. An exit keeps 39 d + 28 per token and, since the
    architecture parameters multiply every kernel, 59 d^2.
    """
    per_token = shape.layers * (shape.hidden + 39 * shape.width + 28)
    return 4 * (rows * tokens * per_token + shape.layers * 59 * shape.width**2)


def macs(shape: Shape, tokens: int) -> tuple[int, int, int]:
    """Multiply-accumulates per token, forward: backbone, all exits, and the exits' down-projections among them."""
    d, width = shape.hidden, shape.width
    down = shape.layers * d * width
    backbone = shape.layers * (4 * d * d + 2 * d * shape.inner + 2 * tokens * d)
    return backbone, down + shape.layers * (29 * width**2 + 12 * tokens * width), down


def weight_step_flops(shape: Shape, rows: int, tokens: int) -> int:
    """Two per MAC; the backward pass twice the forward pass."""
    backbone, exits, _ = macs(shape, tokens)
    return 6 * rows * tokens * (backbone + exits)


def architecture_step_flops(shape: Shape, rows: int, tokens: int) -> int:
    """The backbone forward only; the exits as in a weight step but for what is before the first mixed operation."""
    backbone, exits, down = macs(shape, tokens)
    return rows * tokens * (2 * backbone + 6 * exits - 4 * down)


@dataclass(frozen=True)
class Device:
    """What one device does and how devices are connected.

    Attributes:
        weight_rate, architecture_rate: FLOP/s of the two steps, apart from what does not grow with rows:
        weight_fixed: seconds of a weight step per parameter (making gradients).
        architecture_fixed: seconds of an architecture step per layer (starting many small operations).
        update: seconds per parameter of clipping and AdamW.
        refine_step: seconds of one step of one candidate of the refinement.
        bandwidth: bytes per second between neighbours of the ring.
        latency: seconds per message.
    """

    weight_rate: float
    architecture_rate: float
    weight_fixed: float
    architecture_fixed: float
    update: float
    refine_step: float
    bandwidth: float
    latency: float


def weight_step_seconds(shape: Shape, rows: int, tokens: int, device: Device) -> float:
    """Forward and backward pass on one device, without clipping and AdamW."""
    flops = weight_step_flops(shape, rows, tokens)
    return flops / device.weight_rate + sum(parameters(shape)) * device.weight_fixed


def architecture_step_seconds(shape: Shape, rows: int, tokens: int, device: Device) -> float:
    """The whole step on one device; its update is small."""
    flops = architecture_step_flops(shape, rows, tokens)
    return flops / device.architecture_rate + shape.layers * device.architecture_fixed


def all_reduce(devices: int, size: int, device: Device) -> float:
    """Seconds of a ring all-reduce of `size` bytes in pieces of `BUCKET_BYTES`, not overlapped with anything."""
    messages = 2 * (devices - 1) * ceil(size / BUCKET_BYTES)
    return 2 * (devices - 1) / devices * size / device.bandwidth + messages * device.latency


def refine_steps(settings: SearchSettings) -> int:
    """Steps of all candidates of one layer: successive halving as `exitnas.search.refine.compete` does it."""
    left, steps, total = settings.refine + 1, settings.refine_steps, 0
    while settings.refine:
        total += left * steps
        if left <= 2:
            break
        left, steps = max(2, round(KEEP * left)), 2 * steps
    return total


def search_seconds(
    shape: Shape, train_rows: int, tokens: int, devices: int, device: Device, settings: SearchSettings
) -> dict[str, float]:
    """Seconds of a search by part: `weights, architecture, update, communication, refine, total`."""
    steps = ceil(train_rows * settings.d1_share / settings.batch_size) * settings.epochs
    searching = steps * (settings.epochs - settings.arch_warmup_epochs) // settings.epochs
    rows = ceil(settings.batch_size / devices)
    weights = sum(parameters(shape))
    kept = min(ROWS, int(CACHE_BYTES / (2 * tokens * shape.hidden * shape.layers)))
    cached = 2 * kept * tokens * macs(shape, tokens)[0] / device.weight_rate
    parts = {
        "weights": steps * weight_step_seconds(shape, rows, tokens, device),
        "architecture": searching * architecture_step_seconds(shape, rows, tokens, device),
        "update": steps * weights * device.update,
        "communication": steps * all_reduce(devices, 4 * weights, device)
        + searching * all_reduce(devices, 4 * shape.layers * (ALPHAS + 1), device),
        "refine": cached + ceil(shape.layers / devices) * refine_steps(settings) * device.refine_step,
    }
    return {**parts, "total": sum(parts.values())}


def found_exits(shape: Shape, tokens: int) -> tuple[int, int]:
    """Parameters and forward MACs per token of all exits of a genotype.

    Every exit is taken to have a convolution over 3 tokens, an attention of any number of heads and self-attentive
    pooling: more than most that are found, and little beside the encoder.
    """
    d, width = shape.hidden, shape.width
    units = d * width + width + 3 * width**2 + width + 4 * (width**2 + width) + width + CLASSES * (width + 1)
    macs_per_token = d * width + 7 * width**2 + 2 * tokens * width + 2 * width
    return shape.layers * units, shape.layers * macs_per_token


def retrain_seconds(shape: Shape, train_rows: int, tokens: int, device: Device, settings: RetrainSettings) -> float:
    """Seconds of retraining on one device: every epoch passes over all rows, where one of a search passes over D1."""
    steps = ceil(train_rows / settings.batch_size) * settings.epochs * settings.seeds
    units, exit_macs = found_exits(shape, tokens)
    weights = parameters(shape)[0] + units
    flops = 6 * settings.batch_size * tokens * (macs(shape, tokens)[0] + exit_macs)
    return steps * (flops / device.weight_rate + weights * (device.weight_fixed + device.update))
