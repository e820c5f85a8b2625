"""Multiply-accumulates of backbone layers and exits, counted on one sample."""

from typing import Any

import torch


def model_macs(model: Any, tokens: int) -> tuple[list[float], list[float]]:
    """MACs per sample of `tokens` tokens: `(per backbone layer, per exit)`, E numbers each.

    Matrix products and convolutions of the backbone are counted by torch's `FlopCounterMode` (half its FLOPs), the
    embedding's share in the first layer; look-ups, normalizations and activations count as nothing.
    """
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    device = next(model.parameters()).device
    ids = torch.zeros(1, tokens, dtype=torch.long, device=device)
    layers = []
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
        with FlopCounterMode(display=False) as counter:
            hidden, context = model.backbone.embed(ids, torch.ones_like(ids), torch.zeros_like(ids))
        embedding = counter.get_total_flops() / 2
        for index in range(model.backbone.num_layers):
            with FlopCounterMode(display=False) as counter:
                hidden = model.backbone.layer(index, hidden, context)
            layers.append(counter.get_total_flops() / 2 + (embedding if index == 0 else 0.0))
    return layers, [float(exit_.macs(tokens)) for exit_ in model.exits]
