"""A table of recipes that were compared on one task at one budget, best first, in Markdown and HTML."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from tutelage.errors import SettingsError
from tutelage.measure import Interval, holm
from tutelage.report.text import md_table, number, p_value, percent, plain, points, seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One recipe (or arm) of a comparison."""

    name: str
    score: Interval
    """Mean over seeds of a share in [0, 1]."""
    to_best: Interval | None = None
    """Paired difference to the best row (this minus best); None for the best itself or where nothing could be paired."""
    teacher_calls: float | None = None
    teacher_tokens: float | None = None
    training_tokens: float | None = None
    elapsed_s: float | None = None
    fingerprint: str = ""
    """Unlike fingerprints were measured differently and are refused."""


HEAD = (
    "",
    "recipe",
    "mean",
    "95 % interval",
    "difference to best, points",
    "p (Holm)",
    "teacher calls",
    "teacher tokens",
    "training tokens",
    "time",
)


def leaderboard(rows: Sequence[Row], *, metric: str = "accuracy") -> tuple[str, str]:
    """The table as (Markdown, HTML fragment), rows sorted by mean, rows without one last.

    The sentence under it says in words which rows cannot be told from the best.
    """
    measured = [r for r in rows if r.score.value is not None]
    if len({r.fingerprint for r in measured}) > 1:
        raise SettingsError(
            "rows of a leaderboard were measured differently",
            got=", ".join(f"{r.name}: {r.fingerprint}" for r in measured),
            fix="compare scores of the same test questions, shots, wording and decoding",
        )
    ranked = ranking(rows)
    tested = [r for r in ranked if r.to_best is not None and r.to_best.p_value is not None]
    adjusted = dict(zip((r.name for r in tested), holm([r.to_best.p_value for r in tested if r.to_best and r.to_best.p_value is not None])))
    table = [_cells(place, r, adjusted.get(r.name)) for place, r in enumerate(ranked, 1)]
    said = in_words(ranked, metric=metric)
    markdown = f"{md_table(HEAD, table, right=(0, 2, 3, 4, 5, 6, 7, 8, 9))}\n\n{said}"
    cells = "".join("<tr>" + "".join(f"<td>{escape(c)}</td>" for c in row) + "</tr>\n" for row in table)
    head = "".join(f'<th scope="col">{escape(h)}</th>' for h in HEAD)
    html = f'<div class="scroll"><table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{cells}</tbody></table></div>\n<p>{escape(said)}</p>'
    return markdown, html


def ranking(rows: Sequence[Row]) -> list[Row]:
    """Best first; rows without a score last, equal ones by name."""
    return sorted(rows, key=lambda r: (r.score.value is None, -(r.score.value or 0.0), r.name))


def in_words(ranked: Sequence[Row], *, metric: str = "accuracy") -> str:
    """Which rows differ from the best beyond chance, after correction for how many were compared."""
    measured = [r for r in ranked if r.score.value is not None]
    if not measured:
        return "Nothing has been measured yet."
    best = measured[0]
    tested = [r for r in measured[1:] if r.to_best is not None and r.to_best.p_value is not None]
    adjusted = holm([r.to_best.p_value for r in tested if r.to_best and r.to_best.p_value is not None])
    worse = [r.name for r, p in zip(tested, adjusted, strict=True) if p < 0.05]
    level = [r.name for r, p in zip(tested, adjusted, strict=True) if p >= 0.05]
    lead = f"{plain(best.name)} has the highest mean {metric} ({percent(best.score.value)})."
    if not tested:
        return f"{lead} No difference could be tested."
    if not worse:
        return f"{lead} None of the others differs from it significantly (p < 0.05 after Holm's correction)."
    said = f"{lead} Significantly below it: {', '.join(map(plain, worse))}."
    return said + (f" Not to be told from it: {', '.join(map(plain, level))}." if level else "")


def _cells(place: int, row: Row, adjusted: float | None) -> list[str]:
    gap = row.to_best
    difference = "–" if gap is None or gap.value is None else points(gap.value)
    if gap is not None and gap.low is not None and gap.high is not None:
        difference += f" ({points(gap.low)} to {points(gap.high)})"
    score = row.score
    interval = "none" if score.low is None or score.high is None else f"{percent(score.low)[:-2]} to {percent(score.high)}"
    counts = [number(None if v is None else round(v)) for v in (row.teacher_calls, row.teacher_tokens, row.training_tokens)]
    return [str(place), plain(row.name), percent(score.value), interval, difference, p_value(adjusted), *counts, seconds(row.elapsed_s)]
