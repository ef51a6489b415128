"""Terms that compare the vectors of a window with one another."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def supervised_contrast(vectors: Tensor, labels: Tensor, *, temperature: float) -> Tensor:
    """(sequences,) for each anchor the mean over the other sequences of its label of -log of their share in the softmax over all other
    sequences, cosines over `temperature` (Khosla et al. 2020, Eq. 2); 0 for an anchor whose label stands alone."""
    unit = F.normalize(vectors if vectors.dtype == torch.float64 else vectors.float(), dim=-1)
    self_mask = torch.eye(len(unit), dtype=torch.bool, device=unit.device)
    log_shares = (unit @ unit.T / temperature).masked_fill(self_mask, -torch.inf).log_softmax(-1)
    positive = (labels[:, None] == labels[None]) & ~self_mask
    return -log_shares.masked_fill(~positive, 0.0).sum(-1) / positive.sum(-1).clamp(min=1)
