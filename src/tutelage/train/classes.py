"""What the live student of a class head says of rows that it may or may not be trained on: for sources that choose by it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from tutelage.train.batch import Batch
from tutelage.train.feeds import Site
from tutelage.train.step import Measured
from tutelage.train.window import Group

_ASKING = 4
"""A pass that keeps nothing for a backward pass takes this many times the tokens of a training pass."""


def class_log_probs(groups: Sequence[Group], site: Site) -> Tensor:
    """(rows, classes) natural-log class probabilities of all rows, in order, without dropout and without gradients."""
    device, most = site.network.device, site.settings.micro_tokens * _ASKING
    parts: list[list[Group]] = [[]]
    for group in groups:
        if parts[-1] and sum(g.tokens for g in parts[-1]) + group.tokens > most:
            parts.append([])
        parts[-1].append(group)
    with site.network.frozen():
        found = [
            Measured(site.network, Batch(part, device), None, tile_bytes=site.settings.tile_on(device.type)).class_logits
            for part in parts
            if part
        ]
    return torch.cat(found).log_softmax(-1) if found else torch.zeros(0, site.settings.outputs)
