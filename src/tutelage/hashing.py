"""Canonical JSON and tagged content ids: the same content has the same id on every machine."""

from __future__ import annotations

import hashlib
from typing import Any

import orjson

from tutelage.errors import InternalError

TAG = "b2"
"""Names the hash: BLAKE2b with a 16-byte digest over canonical JSON. A new tag means new ids, never changed ones."""

DIGEST_BYTES = 16


def canonical(value: Any) -> bytes:
    """The one byte string that stands for `value`: sorted keys, no spaces, UTF-8. NaN and infinity become null.

    What JSON cannot hold (sets, keys that are not text, whole numbers beyond 64 bits, lone surrogates) is refused.
    """
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    except TypeError as broken:
        raise InternalError(
            f"value cannot be written as canonical JSON: {broken}",
            got=repr(value)[:200],
            fix="use records, dicts with text as keys, lists, text or numbers",
        ) from broken


def digest(value: Any) -> bytes:
    """16 bytes that identify `value`; the key of caches."""
    return hashlib.blake2b(canonical(value), digest_size=DIGEST_BYTES).digest()


def content_id(value: Any) -> str:
    """`digest` as text with the tag that says which hash it is, for example `b2-0f3c...`."""
    return f"{TAG}-{digest(value).hex()}"
