"""Canonical JSON and tagged content ids: the same content has the same id on every machine."""

from __future__ import annotations

import hashlib
import math
from typing import Any

import orjson

from tutelage.errors import InternalError

TAG = "b2"
"""Names the hash: BLAKE2b with a 16-byte digest over canonical JSON. A new tag means new ids, never changed ones."""

DIGEST_BYTES = 16


def _plain(value: Any) -> Any:
    """Containers orjson cannot take (tuples are fine, sets and NaN are not) are refused here, with the value named."""
    if isinstance(value, float) and not math.isfinite(value):
        raise InternalError("canonical JSON has no NaN or infinity", got=value, fix="record the missing value as null")
    raise InternalError(
        "value cannot be written as canonical JSON", got=repr(value)[:200], fix="use records, dicts, lists, text or numbers"
    )


def canonical(value: Any) -> bytes:
    """The one byte string that stands for `value`: sorted keys, no spaces, UTF-8. NaN and infinity become null."""
    return orjson.dumps(value, default=_plain, option=orjson.OPT_SORT_KEYS)


def digest(value: Any) -> bytes:
    """16 bytes that identify `value`; the key of caches."""
    return hashlib.blake2b(canonical(value), digest_size=DIGEST_BYTES).digest()


def content_id(value: Any) -> str:
    """`digest` as text with the tag that says which hash it is, for example `b2-0f3c...`."""
    return f"{TAG}-{digest(value).hex()}"
