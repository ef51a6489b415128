"""Words for a reader who has never heard of the system: the question, the glossary, the paper beside here, reliability in sentences."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tutelage.measure.reliability import NOISE_BELOW, RELIABLE_FROM
from tutelage.report.read import RunFolder
from tutelage.report.summary import difference
from tutelage.report.text import listed, percent, points, ratio

GLOSSARY: tuple[tuple[str, str], ...] = (
    ("student", "The small model that is to learn."),
    ("teacher", "The larger model that writes the training examples."),
    ("arm", "One way of teaching that was tried. All arms of a run share data, models and random seeds and differ in one thing."),
    ("baseline", "The arm that the system is compared with."),
    ("control", "An arm in which the idea was broken on purpose. If it does as well as the real one, the idea is not what helped."),
    ("seed", "A number from which all chance in a run is drawn. Several seeds show how much of a result is luck."),
    ("0-shot, 1-shot", "How many solved examples the model sees in front of a test question."),
    (
        "accuracy",
        "Share of test questions answered right. An answer that cannot be read counts as wrong and is also counted apart, as unreadable.",
    ),
    (
        "95 % interval",
        "The range in which the true mean lies if such intervals are right 95 times in 100. An interval of a difference that contains 0 "
        "means: this run cannot tell the two apart.",
    ),
    ("points", "Percentage points: from 40 % to 43 % is 3 points."),
    ("p (Holm)", "Chance of a difference at least this large if there were none, corrected for the number of arms compared."),
    ("probe", "A question with a known answer on which the student is tried while it looks at one training example."),
    (
        "preference",
        "How many probes the student gets right with a training example in view. The student is never asked what it likes; "
        "it shows what helps.",
    ),
    ("pair", "Two texts for the same request of which the student's preference says which one is better."),
    ("alignment", "Training the teacher on such pairs, so that it writes more like the preferred texts (here with DPO)."),
    ("technique or style", "The way a solution is written down, asked for by one of several prompts."),
    ("rationale", "The worked steps that lead to an answer."),
    (
        "call",
        "One text asked of a model, or one text that it scored: that it read while another model was trained by its judgement. A token is "
        "a piece of text of about a word.",
    ),
)


def question(run: RunFolder) -> str:
    """What was asked, in a sentence or two."""
    models = run.about.get("models") or {}
    named = [f"{role} {name}" for role in ("teacher", "student") if (name := (models.get(role) or {}).get("name"))]
    seeds = f"{len(run.seeds)} seed{'s' if len(run.seeds) != 1 else ''}"
    tried = f"ried on task {run.task.get('name', 'unknown')}" + (f" with {listed(named)}" if named else "") + f", {seeds}."
    claim = str(run.card.get("claim") or "").rstrip(". ")
    return f"The claim under test: {_lower(claim)}. T{tried}" if claim else f"{run.recipe}, t{tried}"


def reliability_in_words(note: Mapping[str, Any]) -> list[str]:
    """The reliability note as sentences, from the general to the particular."""
    out = []
    overall, within = note.get("overall") or {}, note.get("within_skill") or {}
    finest = note.get("within_skill_and_style") or {}
    if within.get("corrected") is not None:
        out.append(
            "If the same drafts were scored again on other probes, the two scores would agree at "
            f"{ratio(within['corrected'])} among drafts of the same skill (1 is perfect, 0 is chance)"
            + (f", and at {ratio(overall['corrected'])} over all drafts" if overall.get("corrected") is not None else "")
            + f". Verdict: {note.get('verdict', 'unknown')}"
            + f" (below {NOISE_BELOW:.2f} counts as noise, from {RELIABLE_FROM:.2f} as reliable)."
        )
    elif note.get("reason"):
        out.append(f"{note['reason']} Verdict: {note.get('verdict', 'unknown')}.")
    both = (note.get("by_skill_and_style") or {}).get("share")
    style = (note.get("by_style") or {}).get("share")
    skill = (note.get("by_skill") or {}).get("share")
    if both is not None:
        parts = [f"the way of writing alone for {percent(style)}"] if style is not None else []
        parts += [f"the skill alone for {percent(skill)}"] if skill is not None else []
        out.append(
            f"Skill and way of writing together account for {percent(both)} of the differences between scores"
            + (f" ({listed(parts)})." if parts else ".")
        )
    if finest.get("corrected") is not None:
        left = finest["corrected"]
        out.append(
            f"Among drafts of the same skill written in the same way the agreement is {ratio(left)}: "
            + ("beyond form, the score knows little about the single draft." if left < 0.5 else "the score also tells single drafts apart.")
        )
    return out


def claim_row(run: RunFolder, summary: Mapping[str, Any], claim: Mapping[str, Any]) -> dict[str, Any]:
    """One published number beside ours, and in words whether they point the same way."""
    arms = tuple(claim.get("arms") or ())
    metric = str(claim.get("metric") or "")
    row = {
        "what": claim.get("what", ""),
        "published": claim.get("published", ""),
        "where": claim.get("where", ""),
        "metric": metric,
        "ours": "–",
        "says": "not tested in this run",
    }
    if len(arms) != 2:
        return row
    row["arms"] = f"{arms[0]} minus {arms[1]}"
    if metric not in summary["metrics"]:
        return row
    d = difference(run, metric, arms[0], arms[1])
    if d is None:
        return row
    row["ours"] = f"{points(d['mean'])} points"
    if d["low"] is None:
        row["says"] = "one measurement, no interval"
        return row
    row["ours"] += f" ({points(d['low'])} to {points(d['high'])})"
    if d["low"] > 0:
        row["says"] = "same direction"
    elif d["high"] < 0:
        row["says"] = "opposite direction"
    else:
        row["says"] = "cannot be told from 0 here"
    return row


def arm_of(summary: Mapping[str, Any], name: str | None) -> dict[str, Any] | None:
    return next((a for a in summary["arms"] if a["name"] == name), None)


def label(arm: Mapping[str, Any]) -> str:
    """An arm's name with its one-line summary."""
    said = str(arm["summary"] or "").rstrip(".")
    return f"{arm['name']} ({said})" if said else str(arm["name"])


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:] if text[1:2].islower() or text[1:2] == " " else text
