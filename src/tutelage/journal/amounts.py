"""Amounts of work and the caps on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from operator import attrgetter

from tutelage.errors import SettingsError, did_you_mean
from tutelage.journal.prices import PICODOLLARS

_UNITS = {"k": 10**3, "M": 10**6}


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """An amount of work. One completion, or one scored or embedded sequence, is one call."""

    calls: int = 0
    scored: int = 0
    """Those of `calls` that were texts read inside a fit: by a teacher that is distilled from, say. No cache answers them."""
    prompt_tokens: int = 0
    cached_prompt_tokens: int = 0
    """Those of `prompt_tokens` that an endpoint served from its own prompt cache."""
    completion_tokens: int = 0
    reasoning_tokens: int = 0
    """Those of `completion_tokens` that were hidden reasoning."""
    trained_tokens: int = 0
    """Tokens that a budgeted role was trained on."""
    picodollars: int = 0
    microseconds: int = 0
    """Time inside the model or waiting for it; of concurrent calls, the sum."""

    @property
    def tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens + self.trained_tokens

    @property
    def usd(self) -> float:
        return self.picodollars / PICODOLLARS

    @property
    def seconds(self) -> float:
        return self.microseconds / 1e6

    def __add__(self, other: Usage) -> Usage:
        return Usage(**{f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields(Usage)})

    def __sub__(self, other: Usage) -> Usage:
        return Usage(**{f.name: getattr(self, f.name) - getattr(other, f.name) for f in fields(Usage)})

    def times(self, count: int) -> Usage:
        return Usage(**{f.name: getattr(self, f.name) * count for f in fields(Usage)})

    def as_json(self) -> dict[str, int | float]:
        row: dict[str, int | float] = {
            f.name: getattr(self, f.name) for f in fields(Usage) if f.name not in ("picodollars", "microseconds")
        }
        return row | {"tokens": self.tokens, "usd": self.usd, "seconds": round(self.seconds, 3)}


NOTHING = Usage()
FIELDS = tuple(f.name for f in fields(Usage))
_AS_ROW = attrgetter(*FIELDS)


def total(amounts: Sequence[Usage]) -> Usage:
    """The sum; column by column, since group commits add thousands of them a second."""
    return Usage(**dict(zip(FIELDS, map(sum, zip(*map(_AS_ROW, amounts), strict=True)), strict=True))) if amounts else NOTHING


@lru_cache(maxsize=4096)
def of_calls(calls: int, prompt_tokens: int, completion_tokens: int, cached_prompt_tokens: int = 0, reasoning_tokens: int = 0) -> Usage:
    """One object for equal amounts: making one costs more than finding it, and a busy endpoint needs thousands a second."""
    return Usage(
        calls=calls,
        prompt_tokens=prompt_tokens,
        completion_tokens=completion_tokens,
        cached_prompt_tokens=cached_prompt_tokens,
        reasoning_tokens=reasoning_tokens,
    )


def priced(amount: Usage, picodollars: int) -> Usage:
    """The same amount with its price."""
    return replace(amount, picodollars=picodollars)


def in_words(amount: Usage) -> str:
    """Calls, tokens, and dollars where a price is known: 0 would be a claim."""
    money = f", ${amount.usd:.4f}" if amount.picodollars else ""
    return f"{amount.calls:,} call{'s' * (amount.calls != 1)}, {amount.tokens:,} tokens{money}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """Hard caps on the physical spending of one run over all its attempts; None where there is none. 0 means: from the cache only."""

    calls: int | None = None
    tokens: int | None = None
    picodollars: int | None = None
    minutes: float | None = None
    """Wall-clock time during which at least one process of the run was at work."""

    @classmethod
    def parse(cls, text: str) -> Budget:
        """From `calls=5000,tokens=2M,usd=3.50,minutes=20`; any of the four, in any order."""
        names = ("calls", "tokens", "usd", "minutes")
        seen: dict[str, Decimal] = {}
        for part in filter(None, (p.strip() for p in text.split(","))):
            name, equals, value = (s.strip() for s in part.partition("="))
            if not equals:
                raise SettingsError("budget entry has no value", got=part, fix="write NAME=VALUE, for example calls=5000,usd=2.50")
            if name not in names:
                raise SettingsError("budget names an unknown quantity", got=name, fix=did_you_mean(name, names))
            if name in seen:
                raise SettingsError(f"budget names {name} twice", got=text)
            seen[name] = _amount(name, value)
        if not seen:
            raise SettingsError("budget is empty", got=repr(text), fix="write for example calls=5000,tokens=2M,usd=2.50,minutes=30")
        return cls(
            calls=int(seen["calls"]) if "calls" in seen else None,
            tokens=int(seen["tokens"]) if "tokens" in seen else None,
            picodollars=int(seen["usd"] * PICODOLLARS) if "usd" in seen else None,
            minutes=float(seen["minutes"]) if "minutes" in seen else None,
        )

    @property
    def usd(self) -> float | None:
        return None if self.picodollars is None else self.picodollars / PICODOLLARS

    @property
    def unlimited(self) -> bool:
        return all(cap is None for cap in (self.calls, self.tokens, self.picodollars, self.minutes))

    def describe(self) -> str:
        """As `parse` reads it; empty for no cap at all."""
        parts = (("calls", self.calls), ("tokens", self.tokens), ("usd", self.usd), ("minutes", self.minutes))
        return ",".join(f"{name}={_short(value)}" for name, value in parts if value is not None)


def _short(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{Decimal(str(value)).normalize():f}"


def _amount(name: str, value: str) -> Decimal:
    factor = _UNITS.get(value[-1:], 1)
    try:
        amount = Decimal(value[:-1] if factor > 1 else value) * factor
    except InvalidOperation:
        raise SettingsError(
            f"budget {name} is not a number", got=value, fix=f"write for example {name}=500 (k and M are thousands and millions)"
        ) from None
    if not amount.is_finite() or amount < 0:
        raise SettingsError(f"budget {name} must not be negative", got=value)
    if name in ("calls", "tokens") and amount != int(amount):
        raise SettingsError(f"budget {name} must be a whole number", got=value)
    return amount
