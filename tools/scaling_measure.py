"""What tools/scaling.py counts and times on random encoders: bytes kept for the backward pass, seconds of the steps."""

from collections.abc import Callable
from time import process_time
from typing import Any

import torch
from scaling_model import CLASSES, Shape
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.nn.utils import clip_grad_norm_
from transformers import BertConfig

from exitnas.backbones.loading import backbone_from_config
from exitnas.exits.exit import Exit
from exitnas.exits.genotype import ExitGenotype
from exitnas.objectives.base import exit_loss, task_losses
from exitnas.search.state import SearchState
from exitnas.search.steps import architecture_step, weight_step
from exitnas.supernet.space import load_space
from exitnas.supernet.supernet import Supernet
from exitnas.training.device import seeded
from exitnas.training.optimizers import architecture_optimizer, differentiating, optimized, weight_optimizer


def supernet(shape: Shape) -> Supernet:
    """A random encoder with BERT's dropout and the mixed exits of space leco, in training mode, the same every time."""
    config = BertConfig(
        vocab_size=shape.vocabulary,
        hidden_size=shape.hidden,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        intermediate_size=shape.inner,
    )
    with seeded(0):
        net = Supernet(backbone_from_config(config), load_space("leco").with_width(shape.width), CLASSES)
    return net.train()


def batch_of(shape: Shape, rows: int, tokens: int) -> dict[str, Tensor]:
    """Random ids; one token is padding, so that masks are in use."""
    ids = torch.randint(1, shape.vocabulary, (rows, tokens), generator=torch.Generator().manual_seed(0))
    mask = torch.ones_like(ids)
    mask[0, -1] = 0
    return {"input_ids": ids, "attention_mask": mask, "labels": torch.arange(rows) % CLASSES}


def counted_bytes(net: Supernet, batch: dict[str, Tensor], step: str) -> int:
    """Bytes of all storages that autograd keeps, each once, parameters left out; `step`: weights or architecture."""
    own = {p.untyped_storage().data_ptr() for p in net.parameters()}
    sizes: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            sizes[storage.data_ptr()] = storage.nbytes()
        return tensor

    weights = [*net.backbone.parameters(), *net.exits.parameters()]
    upper = [*net.architecture.parameters(), net.log_scales]
    inputs = batch["input_ids"], batch["attention_mask"]
    if step == "weights":
        with differentiating(weights, upper), saved_tensors_hooks(note, lambda tensor: tensor):
            states, mask = net.backbone(*inputs)
            loss = task_losses(net.exit_logits(states, mask), batch["labels"]).sum()
    else:
        with torch.no_grad():
            states, mask = net.backbone(*inputs)
        with differentiating(upper, weights), saved_tensors_hooks(note, lambda tensor: tensor):
            loss = task_losses(net.scaled(net.exit_logits(states, mask)), batch["labels"]).sum()
        for state in states:
            note(state)
    assert loss.requires_grad  # all that was kept is still alive, so no address was used twice
    return sum(sizes.values())


def seconds_of(call: Callable[[], Any], repeats: int = 5) -> float:
    """CPU seconds of one thread, the fastest of some calls after one that is not counted.

    On an idle core that is what a clock on the wall shows; on a busy machine it leaves out the time spent waiting.
    """
    call()
    taken = []
    for _ in range(repeats):
        began = process_time()
        call()
        taken.append(process_time() - began)
    return min(taken)


def step_seconds(shape: Shape, rows: int, tokens: int) -> dict[str, float]:
    """Seconds of a weight step without its update, of the update, and of an architecture step."""
    net, batch = supernet(shape), batch_of(shape, rows, tokens)
    weights = weight_optimizer(net.backbone, net.exits, lr=1e-5, exit_lr=1e-5, weight_decay=0.01)
    upper = [*net.architecture.parameters(), net.log_scales]
    state = SearchState(net, weights, architecture_optimizer(upper, lr=1e-3, weight_decay=0), torch.Generator())

    def update() -> None:
        clip_grad_norm_(optimized(weights), 1.0)
        weights.step()

    with seeded(0):
        whole = seconds_of(lambda: weight_step(state, batch, "fp32", 1.0, 1.0))
        updating = seconds_of(update)
        architecture = seconds_of(lambda: architecture_step(state, batch, "fp32", True))
    return {"weights": whole - updating, "update": updating, "architecture": architecture}


def refine_seconds(shape: Shape, rows: int, tokens: int) -> float:
    """Seconds of one step of one candidate exit with a convolution and an attention."""
    genotype = ExitGenotype(activation_in="gelu", encoder=("conv_3", "mha_4"), pooling="sa", activation_out="tanh")
    exit_ = Exit(genotype, shape.hidden, shape.width, CLASSES)
    optimizer = torch.optim.AdamW(exit_.parameters(), fused=True)
    states, mask = torch.randn(rows, tokens, shape.hidden), batch_of(shape, rows, tokens)["attention_mask"].bool()

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        exit_loss(exit_(states, mask), torch.arange(rows) % CLASSES).backward()
        optimizer.step()

    with seeded(0):
        return seconds_of(step)
