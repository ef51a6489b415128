"""The page of a comparison: the leaderboard, how every recipe was sized, and what could not take part, as HTML, Markdown and JSON.

Everything is read from run folders; unlike measurements are refused by the leaderboard.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from html import escape
from pathlib import Path
from typing import Any

import orjson

from tutelage.journal.folder import write_whole
from tutelage.measure import Interval
from tutelage.report.leaderboard import Row, leaderboard, ranking
from tutelage.report.read import FINISHED, REFUSED, ArmRun, read_run
from tutelage.report.summary import Card, cost, estimate, paired, scorecards
from tutelage.report.text import finite, md, md_table, number, percent, plain

HERE = Path(__file__).parent
BUDGETED = ("teacher", "judge", "reference")
"""Roles whose calls a budget counts."""
OFF_BY = 0.1
"""A plan is called wrong where what was used lies outside its range by more than this share."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entrant:
    """One recipe of a comparison, with the run folder that holds what became of it."""

    name: str
    arm: str
    folder: Path
    sizes: Mapping[str, int] = field(default_factory=dict)
    planned: Mapping[str, tuple[float, float, float]] = field(default_factory=dict)
    """Unit -> (least, assumed, most) per seed."""
    exhausted: bool = False
    """True where a larger size would have asked nothing more."""
    fixed: bool = False
    """True where that is so since its teacher's work has nothing to do with its size."""
    stopped: Mapping[int, str] = field(default_factory=dict)
    """Seed -> what ended it early."""
    ends_early: str = ""
    """Why it may ask less than planned, where its plan is the most."""
    first_size: int | None = None
    """The size that the plan gave, where it met the cap and a smaller one was taken."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What a leaderboard stands under."""

    task: str
    models: Mapping[str, str]
    budget: Mapping[str, float]
    """Unit -> amount, for each recipe and seed."""
    seeds: tuple[int, ...]
    metric: str
    command: str = ""
    left_out: Mapping[str, str] = field(default_factory=dict)
    """Recipe -> why it was not run."""


def standings(comparison: Comparison, entrants: Sequence[Entrant]) -> dict[str, Any]:
    """All numbers of the leaderboard as JSON-ready values, best first: `rows`, `left_out`, `said`, `notes`, and what was compared."""
    runs = {e.name: _runs(e, comparison.seeds) for e in entrants}
    cards = {name: {r.seed: c for r in mine if (c := scorecards(r).get(comparison.metric))} for name, mine in runs.items()}
    rows = [_row(e, runs[e.name], cards[e.name], comparison.seeds) for e in entrants]
    ranked = ranking(rows)
    if ranked and ranked[0].score.value is not None:
        best = ranked[0].name
        ranked = [r if r.name == best or r.score.value is None else replace(r, to_best=_gap(cards[r.name], cards[best])) for r in ranked]
    markdown, html = leaderboard(ranked, metric=comparison.metric)
    by_name = {e.name: e for e in entrants}
    return {
        **{k: v for k, v in asdict(comparison).items() if k != "left_out"},
        "rows": [_as_json(r, by_name[r.name], runs[r.name], cards[r.name], comparison) for r in ranked],
        "left_out": dict(comparison.left_out),
        "said": markdown.splitlines()[-1],
        "markdown": markdown,
        "html": html,
    }


def write_comparison(comparison: Comparison, entrants: Sequence[Entrant], folder: Path) -> dict[str, Any]:
    """Write leaderboard.html, .md and .json into `folder` and return the numbers."""
    found = standings(comparison, entrants)
    markdown, html = found.pop("markdown"), found.pop("html")
    sizing = _sizing_table(found)
    title = f"Recipes compared on {comparison.task}"
    facts = _facts(comparison)
    notes = _notes(found)
    body = [f"# {md(title)}", "", *(f"- {md(line)}" for line in facts), "", markdown, "", "## How they were sized", ""]
    body += [md_table(SIZING_HEAD, sizing, right=(2, 3, 4)), ""]
    body += [f"- {md(line)}" for line in notes]
    if comparison.command:
        body += ["", "```", comparison.command, "```"]
    write_whole(folder / "leaderboard.md", ("\n".join(body) + "\n").encode())
    write_whole(folder / "leaderboard.html", _page(title, facts, html, sizing, notes, comparison.command).encode())
    write_whole(folder / "leaderboard.json", orjson.dumps(found, option=orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS))
    return found


SIZING_HEAD = ("recipe", "sized to", "planned", "used per seed", "share of the budget", "remarks")


def _runs(entrant: Entrant, seeds: Sequence[int]) -> list[ArmRun]:
    run = read_run(entrant.folder)
    return [r for r in run.of_arm(entrant.arm) if r.seed in seeds]


def _row(entrant: Entrant, runs: Sequence[ArmRun], cards: Mapping[int, Card], seeds: Sequence[int]) -> Row:
    spent = cost([r for r in runs if r.state == FINISHED])
    # A mean over other seeds than the rest's would be ranked by luck.
    found = estimate(cards) if all(seed in cards for seed in seeds) else None
    score = Interval(value=None, n=0, level=0.95, method="t")
    if found is not None:
        score = Interval(value=found["mean"], low=found["low"], high=found["high"], n=found["n"], level=0.95, method=found["over"])
    prints = {str(c.get("fingerprint")) for c in cards.values()}
    elapsed = [s for r in runs for e in r.of_kind("elapsed") if (s := finite(e.get("seconds"))) is not None]
    used = _used(runs)
    taught = spent["training"].get("student", {}).get("tokens")
    return Row(
        name=entrant.name,
        score=score,
        teacher_calls=used["calls"][0] if used else None,
        teacher_tokens=used["tokens"][0] if used else None,
        training_tokens=taught if taught is not None else (0.0 if spent["seeds"] else None),
        elapsed_s=sum(elapsed) / len(elapsed) if elapsed else None,
        fingerprint=" ".join(sorted(prints)),
    )


def _used(runs: Sequence[ArmRun]) -> dict[str, tuple[float, float]] | None:
    """Unit -> (mean, most) over the seeds that came to an end; what was asked for, the cache not subtracted."""
    ended = [r for r in runs if r.state in (FINISHED, REFUSED)]
    if not ended:
        return None
    rows: dict[str, list[float]] = {"calls": [], "tokens": [], "usd": []}
    for r in ended:
        costs = [e for e in r.of_kind("cost") if e.get("role") in BUDGETED]
        rows["calls"].append(sum(finite(e.get("calls")) or 0.0 for e in costs))
        rows["tokens"].append(sum((finite(e.get("prompt_tokens")) or 0.0) + (finite(e.get("completion_tokens")) or 0.0) for e in costs))
        rows["usd"].append(sum(finite(e.get("usd")) or 0.0 for e in costs))
    return {unit: (sum(v) / len(v), max(v)) for unit, v in rows.items()}


def _gap(ours: Mapping[int, Card], best: Mapping[int, Card]) -> Interval | None:
    found = paired(ours, best)
    return None if found is None else found[0]


def _as_json(row: Row, entrant: Entrant, runs: Sequence[ArmRun], cards: Mapping[int, Card], comparison: Comparison) -> dict[str, Any]:
    used = _used(runs)
    shares = {unit: used[unit][0] / amount for unit, amount in comparison.budget.items() if used is not None and amount}
    trained = cost(runs)["training"]
    return {
        "name": row.name,
        "arm": entrant.arm,
        "folder": str(entrant.folder),
        "score": asdict(row.score),
        "values": {seed: float(c["value"]) for seed, c in cards.items()},
        "to_best": None if row.to_best is None else asdict(row.to_best),
        "teacher": None if used is None else {unit: {"mean": mean, "most": most} for unit, (mean, most) in used.items()},
        "training_tokens": {role: t["tokens"] for role, t in trained.items()},
        "elapsed_s": row.elapsed_s,
        "fingerprint": row.fingerprint,
        "sizes": dict(entrant.sizes),
        "planned": dict(entrant.planned),
        "share": shares,
        "remarks": _remarks(entrant, runs, cards, used, comparison),
    }


def _remarks(
    entrant: Entrant,
    runs: Sequence[ArmRun],
    cards: Mapping[int, Card],
    used: Mapping[str, tuple[float, float]] | None,
    comparison: Comparison,
) -> list[str]:
    said = []
    lacking = [seed for seed in comparison.seeds if seed not in cards]
    if cards and lacking:
        mean = percent(sum(float(c["value"]) for c in cards.values()) / len(cards))
        said.append(f"not ranked: measured under {len(cards)} of {len(comparison.seeds)} seeds only ({mean})")
    if entrant.first_size is not None:
        lead, size = next(iter(entrant.sizes.items()))
        said.append(f"its plan was too hopeful: at {lead}={entrant.first_size} it met the cap, so it was run again at {lead}={size}")
    asks = any(amount for _, _, amount in entrant.planned.values())
    if entrant.sizes and not asks:
        said.append("asks these models' teacher nothing, so no budget bears on its size, which is the preset's unless it was set")
    elif entrant.sizes and entrant.fixed:
        said.append("its teacher's work does not grow with its size, which is the preset's unless it was set")
    elif entrant.sizes and entrant.exhausted:
        said.append("the task has no more to ask about: a larger budget would change nothing")
    for unit in comparison.budget:
        if used is None or unit not in entrant.planned:
            continue
        least, _, most = entrant.planned[unit]
        mean = used[unit][0]
        if entrant.ends_early and mean < least:
            said.append(f"its plan is the most ({_span(least, most)} {unit}, {number(round(mean))} used): {entrant.ends_early}")
        elif mean > most * (1 + OFF_BY) or mean < least * (1 - OFF_BY):
            said.append(f"the plan was wrong: {_span(least, most)} {unit} planned, {number(round(mean))} used")
    ended = [r for r in runs if r.state in (FINISHED, REFUSED)]
    for role in BUDGETED[1:]:
        calls = sum(finite(e.get("calls")) or 0.0 for r in ended for e in r.of_kind("cost") if e.get("role") == role)
        if calls:
            said.append(f"{number(round(calls / len(ended)))} of its teacher calls are those of its {role}")
    scored = sum(finite(e.get("scored")) or 0.0 for r in ended for e in r.of_kind("cost") if e.get("role") in BUDGETED)
    if scored:
        said.append(f"{number(round(scored / len(ended)))} of its teacher calls are texts scored in training")
    refused = {r.seed: r.refusal for r in runs if r.state == REFUSED}
    said += [f"seed {seed} was stopped by a quality gate: {why}" for seed, why in refused.items()]
    said += [f"seed {seed} was stopped: {why}" for seed, why in entrant.stopped.items()]
    waiting = [r.seed for r in runs if r.state not in (FINISHED, REFUSED) and r.seed not in entrant.stopped]
    if waiting:
        said.append(f"not finished: seeds {', '.join(map(str, waiting))}")
    return said


def _sizing_table(found: Mapping[str, Any]) -> list[list[str]]:
    unit = next(iter(found["budget"]))
    table = []
    for row in found["rows"]:
        sizes = ", ".join(f"{name}={value}" for name, value in row["sizes"].items()) or "asks no teacher"
        planned = row["planned"].get(unit)
        used = row["teacher"][unit]["mean"] if row["teacher"] else None
        share = row["share"].get(unit)
        table.append(
            [
                plain(row["name"]),
                sizes,
                "–" if not planned or not row["sizes"] else f"{_span(planned[0], planned[2])} {unit}",
                "–" if used is None else f"{_amount(unit, used)} {unit}",
                "–" if share is None else f"{100 * share:.0f} %",
                plain("; ".join(row["remarks"])),
            ]
        )
    for name, why in found["left_out"].items():
        table.append([plain(name), "not run", "–", "–", "–", plain(why)])
    return table


def _amount(unit: str, value: float) -> str:
    return f"{value:.4f}" if unit == "usd" else number(round(value))


def _span(low: float, high: float) -> str:
    return number(round(low)) if round(low) == round(high) else f"{number(round(low))} to {number(round(high))}"


def _facts(c: Comparison) -> list[str]:
    amounts = ", ".join(f"{_amount(unit, amount)} {unit}" for unit, amount in c.budget.items())
    return [
        f"Task: {c.task}. " + ", ".join(f"{role}: {name}" for role, name in c.models.items()),
        f"Teacher budget for each recipe and seed: {amounts}. Every recipe was sized to it before it was run, and could not exceed it.",
        f"Seeds: {', '.join(map(str, c.seeds))}, the same for all. Measured: {c.metric}.",
    ]


def _notes(found: Mapping[str, Any]) -> list[str]:
    notes = [
        "Intervals are 95 % over seeds (with one seed: over test questions) and not corrected; p-values are, by Holm's method.",
        "The row with the highest mean was found by looking at the means, so differences to it are a little flattering.",
        "Teacher work is what was asked for, per seed; answers from the cache count in full. Time is that of the finishing attempt.",
    ]
    teachers = {row["name"]: tokens for row in found["rows"] if (tokens := row["training_tokens"].get("teacher"))}
    if teachers:
        said = ", ".join(f"{name} {number(round(tokens))}" for name, tokens in teachers.items())
        notes.append(f"Training the teacher is in no budget of calls. Tokens that it was trained on, per seed: {said}.")
    return notes


def _page(title: str, facts: Sequence[str], table: str, sizing: Sequence[Sequence[str]], notes: Sequence[str], command: str) -> str:
    css = (HERE / "style.css").read_text(encoding="utf-8")
    head = "".join(f'<th scope="col">{escape(h)}</th>' for h in SIZING_HEAD)
    rows = "".join("<tr>" + "".join(f"<td>{escape(c)}</td>" for c in row) + "</tr>\n" for row in sizing)
    again = f'<section id="again"><h2>Run it again</h2><pre>{escape(command)}</pre></section>' if command else ""
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; img-src data:">
<meta name="generator" content="tutelage">
<link rel="icon" href="data:,">
<title>{escape(title)}</title>
<style>{css}</style>
</head>
<body>
<header>
<p class="overline">Comparison at equal cost</p>
<h1>{escape(title)}</h1>
{"".join(f'<p class="asked">{escape(line)}</p>' for line in facts)}
</header>
<main>
<section id="board"><h2>Leaderboard</h2>
{table}
</section>
<section id="sizing"><h2>How they were sized</h2>
<div class="scroll" tabindex="0" role="region" aria-label="How they were sized"><table>
<thead><tr>{head}</tr></thead>
<tbody>
{rows}</tbody></table></div>
<ul>{"".join(f"<li>{escape(line)}</li>" for line in notes)}</ul>
</section>
{again}
</main>
</body>
</html>
"""
