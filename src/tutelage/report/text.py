"""Numbers and model text made fit for a page: rounding in one place, invisible characters made visible, Markdown that stays text."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Sequence

LONGEST_SHOWN = 1500
"""Characters of one model text on a page."""

_BIDI = frozenset("\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u061c")


def percent(value: float | None) -> str:
    """A share as percent with one decimal; an en dash for nothing."""
    return "–" if value is None else f"{100 * value:.1f} %"


def points(value: float | None) -> str:
    """A difference of shares in percentage points, always signed."""
    if value is None:
        return "–"
    shown = f"{100 * value:+.1f}"
    return "0.0" if float(shown) == 0 else shown.replace("-", "−")


def ratio(value: float | None) -> str:
    """A correlation or another bare number with two decimals."""
    return "–" if value is None else f"{value:.2f}".replace("-", "−")


def number(value: float | None) -> str:
    """A count or amount with thin spaces between thousands."""
    if value is None:
        return "–"
    if isinstance(value, float) and not value.is_integer():
        return f"{value:.1f}" if abs(value) < 1000 else f"{value:,.0f}".replace(",", "\u202f")
    return f"{int(value):,}".replace(",", "\u202f")


def seconds(value: float | None) -> str:
    """A duration a person would say."""
    if value is None:
        return "–"
    if value < 10:
        return f"{value:.1f} s"
    if value < 120:
        return f"{value:.0f} s"
    return f"{value / 60:.0f} min" if value < 7200 else f"{value / 3600:.1f} h"


def p_value(value: float | None) -> str:
    if value is None:
        return "–"
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def plain(text: object, *, longest: int | None = None) -> str:
    """Text with every invisible or direction-changing character made visible, cut at `longest` characters with a note of how many follow.

    A model may write control characters, or marks that make a browser show letters in another order; a reader must see them.
    """
    whole = str(text)
    cut = whole if longest is None or len(whole) <= longest else whole[:longest]
    shown = "".join(_visible(c) for c in cut)
    return shown if len(cut) == len(whole) else f"{shown} … [{number(len(whole) - len(cut))} more characters]"


def _visible(c: str) -> str:
    if c in "\n\t":
        return c
    if c == "\r":
        return "␍"
    if ord(c) < 32:
        return chr(0x2400 + ord(c))
    if c in _BIDI or unicodedata.category(c) in ("Cc", "Cs", "Co", "Cn", "Zl", "Zp") or c in "\u200b\u2060\ufeff\u00ad":
        return f"⟨U+{ord(c):04X}⟩"
    return c


_MD_SPECIAL = re.compile(r"([\\`*\[\]<>|~#]|(?<!\w)_|_(?!\w))")


_MD_LINE_START = re.compile(r"^(\d*)([-+=.)])(?=\s|$|[-=])")


def md(text: object) -> str:
    """One line of Markdown that shows `text` and nothing else: no emphasis, links, HTML, table cells or headings of its own."""
    flat = re.sub(r"[ \t\n]+", " ", plain(text)).strip()
    escaped = _MD_SPECIAL.sub(r"\\\1", flat).replace("&", "&amp;")
    # List markers and rules work at the start of a line only.
    return _MD_LINE_START.sub(lambda m: f"{m[1]}\\{m[2]}", escaped)


def md_block(text: object) -> str:
    """A fenced block; the fence is longer than any run of backticks inside."""
    shown = plain(text, longest=LONGEST_SHOWN)
    longest = max((len(run) for run in re.findall(r"`+", shown)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{shown}\n{fence}"


def md_table(header: Sequence[str], rows: Sequence[Sequence[object]], *, right: Sequence[int] = ()) -> str:
    """A Markdown table; cells are escaped. `right` names the columns (from 0) that align right."""
    lines = [[md(h) for h in header], *[[md(c) for c in row] for row in rows]]
    rule = ["---:" if i in right else "---" for i in range(len(header))]
    return "\n".join("| " + " | ".join(line) + " |" for line in [lines[0], rule, *lines[1:]])


def listed(words: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}" if words else ""


def metric_words(metric: str) -> str:
    """`accuracy, 0-shot` as a newcomer would say it."""
    what, comma, shots = metric.rpartition(", ")
    count = shots.removesuffix("-shot")
    if not comma or not count.isdigit():
        return metric
    seen = {"0": "no example", "1": "one example"}.get(count, f"{count} examples")
    return f"{what[:1].upper()}{what[1:]} with {seen} in view ({shots})"


def finite(value: object) -> float | None:
    """A number out of JSON; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)
