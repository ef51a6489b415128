"""What tokens cost: list prices from a dated file, overridden by the user's own."""

from __future__ import annotations

import math
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from pathlib import Path

from tutelage.errors import SettingsError, did_you_mean

PICODOLLARS = 10**12
"""Money is counted in whole picodollars: a price per million tokens with six decimals is then exact per token."""
_SHIPPED = Path(__file__).with_name("prices.toml")
_FIELDS = ("input", "output", "cached", "as_of", "also")


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """Picodollars per token of one model."""

    input: int
    output: int
    cached: int
    """Input tokens that the provider served from its prompt cache."""
    as_of: str
    """The day on which the list said so."""

    def picodollars(self, *, prompt_tokens: int, completion_tokens: int, cached_prompt_tokens: int = 0) -> int:
        cached = min(cached_prompt_tokens, prompt_tokens)
        return (prompt_tokens - cached) * self.input + cached * self.cached + completion_tokens * self.output


def in_words(price: Price) -> str:
    """For people, per million tokens."""
    if not (price.input or price.output or price.cached):
        return "free"
    amounts = [f"{_dollars(price.input)} in", f"{_dollars(price.output)} out"]
    if price.cached != price.input:
        amounts.insert(1, f"{_dollars(price.cached)} in from its cache")
    return f"{', '.join(amounts)} per million tokens, list of {price.as_of}"


def _dollars(picodollars: int) -> str:
    """Per million tokens, in cents or exactly."""
    amount = Decimal(picodollars) / 1_000_000
    return f"${amount:.2f}" if amount == round(amount, 2) else f"${amount:f}"


FREE = Price(input=0, output=0, cached=0, as_of="")
"""Models in this process."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    models: Mapping[str, Price] = field(default_factory=dict)

    def of(self, model: str) -> Price | None:
        """The price of a model by its name at the endpoint; None where nobody told us."""
        if model in self.models:
            return self.models[model]
        prefixes = [name for name in self.models if name.endswith("*") and model.startswith(name[:-1])]
        return self.models[max(prefixes, key=len)] if prefixes else None


def load_prices(path: Path | str | None = None) -> Prices:
    """The shipped list, under the file `path` (else the one named in TUTELAGE_PRICES)."""
    own = path if path is not None else os.environ.get("TUTELAGE_PRICES")
    models = _read(_SHIPPED)
    if own:
        models |= _read(Path(own))
    return Prices(models=models)


def _read(path: Path) -> dict[str, Price]:
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as problem:
        raise SettingsError(
            f"price file {path} cannot be read", got=problem.strerror, fix="correct TUTELAGE_PRICES or unset it"
        ) from problem
    except tomllib.TOMLDecodeError as problem:
        raise SettingsError(f"price file {path} is not TOML", got=str(problem)) from problem
    prices = {}
    for name, row in table.get("models", {}).items():
        price = _price(path, name, row)
        prices |= dict.fromkeys((name, *row.get("also", ())), price)
    return prices


def _price(path: Path, name: str, row: object) -> Price:
    where = f"price of {name!r} in {path}"
    if not isinstance(row, dict):
        raise SettingsError(f"{where} is not a table", got=row, fix=f'write [models."{name}"] with input and output')
    for key in row:
        if key not in _FIELDS:
            raise SettingsError(f"{where} has an unknown field", got=key, fix=did_you_mean(key, _FIELDS))
    also = row.get("also", [])
    if not isinstance(also, list) or not all(isinstance(other, str) for other in also):
        raise SettingsError(f"{where}: also is not a list of model names", got=also, fix='write also = ["another-name"]')
    for key in ("input", "output"):
        if key not in row:
            raise SettingsError(f"{where} lacks {key!r}", fix="give dollars per million tokens")
    amounts = {key: _per_token(where, key, row[key]) for key in ("input", "output", "cached") if key in row}
    return Price(
        input=amounts["input"],
        output=amounts["output"],
        cached=amounts.get("cached", amounts["input"]),
        as_of=str(row.get("as_of", "unknown")),
    )


def _per_token(where: str, key: str, value: object) -> int:
    """Dollars per million tokens to picodollars per token."""
    try:
        amount = Decimal(str(value))
    except InvalidOperation:
        raise SettingsError(f"{where}: {key} is not a number", got=value) from None
    scaled = amount * PICODOLLARS / 1_000_000
    if not amount.is_finite() or amount < 0 or scaled != int(scaled):
        raise SettingsError(f"{where}: {key} must be dollars per million tokens, not negative, six decimals at most", got=value)
    return int(scaled)


def usd_range(price: Price, prompt_tokens: tuple[float, float], completion_tokens: tuple[float, float]) -> tuple[float, float]:
    """Dollars for the least and for the most of an expectation; input tokens that a provider might serve from its cache at full price."""
    low, high = (
        price.picodollars(prompt_tokens=math.ceil(prompt), completion_tokens=math.ceil(completion)) / PICODOLLARS
        for prompt, completion in zip(prompt_tokens, completion_tokens, strict=True)
    )
    return low, high
