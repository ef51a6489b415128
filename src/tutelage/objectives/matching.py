"""Hidden states brought close to the teacher's: one value per token."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def cosine(student: Tensor, teacher: Tensor) -> Tensor:
    """1 - cos of the angle between (tokens, width) states of equal width: Sanh et al. 2019 (DistilBERT), section 3."""
    return 1.0 - F.cosine_similarity(student, teacher, dim=-1)


def projected_mse(student: Tensor, teacher: Tensor, *, projection: Tensor) -> Tensor:
    """Mean square of student @ projection - teacher over the teacher's width: Jiao et al. 2020 (TinyBERT), eq. 8.

    (tokens, width), (tokens, teacher width), projection (width, teacher width).
    """
    return (student @ projection - teacher).square().mean(-1)
