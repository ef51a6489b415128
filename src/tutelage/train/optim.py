"""Optimisers: AdamW on everything, or Muon on hidden matrices with AdamW on the rest."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from tutelage.train.settings import FitSettings

_OTHER = 0.6
"""AdamW's share of Muon's learning rate, from the trials behind the bundled pair (6e-3 and 3.6e-3)."""


def optimisers(module: nn.Module, own: Sequence[nn.Parameter], settings: FitSettings) -> list[torch.optim.Optimizer]:
    """Over the parameters that require a gradient. Each group remembers its own rate as `base_lr`."""
    named = [(n, p) for n, p in module.named_parameters() if p.requires_grad] + [("own", p) for p in own]
    if settings.optimiser == "adamw":
        return [_adamw([p for _, p in named], settings.lr, settings)]
    outer = {id(p) for layer in _outer_layers(module) for p in layer.parameters()} | {id(p) for p in own}
    inner = [p for _, p in named if p.ndim == 2 and id(p) not in outer]
    rest = [p for _, p in named if p.ndim != 2 or id(p) in outer]
    other = settings.lr_other if settings.lr_other is not None else _OTHER * settings.lr
    muon = torch.optim.Muon(inner, lr=settings.lr, weight_decay=settings.weight_decay, adjust_lr_fn="match_rms_adamw")
    for group in muon.param_groups:
        group["base_lr"] = settings.lr
    return [muon, _adamw(rest, other, settings)]


def _outer_layers(module: nn.Module) -> list[nn.Module]:
    return [m for m in module.modules() if isinstance(m, nn.Embedding)] + [
        m for n, m in module.named_modules() if n.endswith(("lm_head", "embed_out", "score"))
    ]


def _adamw(parameters: Sequence[nn.Parameter], lr: float, settings: FitSettings) -> torch.optim.Optimizer:
    matrices, rest = [p for p in parameters if p.ndim >= 2], [p for p in parameters if p.ndim < 2]
    groups = [
        {"params": matrices, "weight_decay": settings.weight_decay, "base_lr": lr},
        {"params": rest, "weight_decay": 0.0, "base_lr": lr},
    ]
    # One kernel per step instead of one per tensor: on small models the step is mostly overhead.
    return torch.optim.AdamW([g for g in groups if g["params"]], lr=lr, betas=settings.betas, eps=settings.eps, fused=True)
