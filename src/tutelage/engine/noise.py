"""Random numbers that belong to a row, and the tokens they pick: no answer depends on who else is in the batch.

The noise of a token is a function of (sampling seed, prompt ids, index of the sample, position), and the token is the one at that
quantile of the distribution in the order of ids (inverse transform sampling).
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

_STEP, _MIX_1, _MIX_2 = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


def row_key(seed: int, prompt: Sequence[int], sample: int) -> int:
    """64 bits that stand for one row of a sampled call."""
    body = array("q", [seed & (2**62 - 1), sample, *prompt]).tobytes()
    return int.from_bytes(hashlib.blake2b(body, digest_size=8).digest(), "little")


def uniform(keys: np.ndarray, position: int) -> np.ndarray:
    """One float64 in [0, 1) for each uint64 key: SplitMix64's output function at the key's own counter (Steele, Lea, Flood 2014)."""
    with np.errstate(over="ignore"):
        x = keys + np.uint64(position + 1) * _STEP
        for _ in range(2):
            x = (x ^ (x >> np.uint64(30))) * _MIX_1
            x = (x ^ (x >> np.uint64(27))) * _MIX_2
            x = x ^ (x >> np.uint64(31))
    return (x >> np.uint64(11)).astype(np.float64) * 2.0**-53


def pick(logits: Tensor, *, temperature: float, top_p: float, noise: np.ndarray | None) -> Tensor:
    """One id per row of (rows, vocabulary) logits: the likeliest (the first of equals) at temperature 0, else the one at the noise."""
    if temperature == 0 or noise is None:
        return logits.argmax(-1)
    weights = torch.softmax(logits.float() / temperature, -1)
    if top_p < 1:
        weights = _nucleus(weights, top_p)
    sums = weights.double().cumsum(-1)
    target = torch.from_numpy(noise).to(sums.device).unsqueeze(1) * sums[:, -1:]
    chosen = torch.searchsorted(sums, target, right=True).squeeze(1)
    # Rounding may put the target on the total itself; the last id with any weight is meant then.
    last = weights.shape[1] - 1 - (weights > 0).int().flip(1).argmax(1)
    return torch.minimum(chosen, last)


def _nucleus(weights: Tensor, top_p: float) -> Tensor:
    """The weights of the fewest likeliest ids that reach `top_p`, zero elsewhere; at least one id stays."""
    ordered, ids = weights.sort(dim=-1, descending=True, stable=True)
    before = ordered.cumsum(-1) - ordered
    return torch.zeros_like(weights).scatter_(1, ids, ordered.masked_fill(before >= top_p, 0.0))
