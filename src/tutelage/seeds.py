"""Named random streams from one run seed: adding a draw in one step cannot change another."""

from __future__ import annotations

import hashlib
import random


def derive(seed: int, *names: str | int) -> int:
    """A 63-bit seed for the stream `names` of run `seed`. Different names give unrelated streams."""
    text = "\x1f".join([str(seed), *map(str, names)])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def stream(seed: int, *names: str | int) -> random.Random:
    """The random stream `names` of run `seed`."""
    return random.Random(derive(seed, *names))
