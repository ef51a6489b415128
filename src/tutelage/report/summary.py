"""The numbers of a run: arms with intervals, paired differences, yields and costs, as plain JSON-ready values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from tutelage.measure import Interval, bootstrap_mean, holm, paired_bootstrap, paired_t, t_interval
from tutelage.records import Scorecard
from tutelage.report.read import FINISHED, ArmRun, RunFolder, read_run, records
from tutelage.report.text import finite

Card = Mapping[str, Any]
"""A scorecard as an event or a record left it: value, n, parsed, shots, fingerprint, by_skill, and scores where they are known."""


def summarise(folder: Path | str | RunFolder, *, baseline: str | None = None) -> dict[str, Any]:
    """The arms table of a run and what stands behind it.

    Keys: `recipe`, `title`, `task`, `identity`, `preset`, `seeds`, `state`, `unfinished` (list of (seed, arm, state)), `metrics` (names,
    the first one is what verdicts are about), `baseline`, `system`, `control`, `arms` (one dict per arm: `name`, `summary`, `control`,
    `states`, `metrics` -> name -> {`mean`, `low`, `high`, `n`, `over`, `values` by seed, `parsed`, `by_skill`, `difference`}, `cost`).
    A `difference` is to the baseline, paired by seed: {`to`, `mean`, `low`, `high`, `n`, `over`, `p_value`, `p_holm`}; None where nothing
    can be compared. With several seeds intervals are Student's t over seeds; with one, or with one and the same measurement under all
    seeds, they are bootstrapped over the test items and say nothing about other seeds (`over` tells which).
    """
    run = folder if isinstance(folder, RunFolder) else read_run(folder)
    card = run.card
    baseline = baseline or card.get("baseline")
    measured = {(r.seed, r.arm): scorecards(r) for r in run.runs.values()}
    metrics = _metric_names(measured.values())
    arms = []
    for arm in run.arms:
        runs = run.of_arm(arm.name)
        mine = {m: estimate({r.seed: c for r in runs if (c := measured[r.seed, r.arm].get(m))}) for m in metrics}
        arms.append(
            {
                "name": arm.name,
                "summary": arm.summary,
                "control": arm.control,
                "states": {r.seed: r.state for r in runs},
                "metrics": {m: found for m, found in mine.items() if found is not None},
                "cost": cost(runs),
            }
        )
    for m in metrics:
        for arm in arms:
            if m in arm["metrics"]:
                arm["metrics"][m]["difference"] = (
                    None
                    if baseline is None or arm["name"] == baseline
                    else difference(run, m, arm["name"], str(baseline), measured=measured)
                )
        tested = [a["metrics"][m]["difference"] for a in arms if m in a["metrics"]]
        tested = [d for d in tested if d is not None and d["p_value"] is not None]
        for d, adjusted in zip(tested, holm([d["p_value"] for d in tested]), strict=True):
            d["p_holm"] = adjusted
    waiting = [(r.seed, r.arm, r.state) for r in run.runs.values() if r.state != FINISHED]
    return {
        "recipe": run.recipe,
        "title": str(run.about.get("title") or card.get("title") or run.recipe),
        "task": str(run.task.get("name", "unknown")),
        "identity": run.about.get("id") or run.about.get("identity"),
        "preset": run.about.get("preset"),
        "seeds": list(run.seeds),
        "state": FINISHED if not waiting else "unfinished",
        "unfinished": waiting,
        "metrics": metrics,
        "baseline": baseline,
        "system": card.get("arm"),
        "control": card.get("control"),
        "arms": arms,
    }


def scorecards(run: ArmRun) -> dict[str, Card]:
    """The scorecards of one arm under one seed by metric name, the student's first. Events serve until the records are written."""
    cards: list[Card] = [asdict(c) for c in records(run, "scorecards") if isinstance(c, Scorecard)]
    if not cards:
        cards = run.of_kind("scorecard")
    named: dict[str, Card] = {}
    for c in sorted(cards, key=lambda c: c.get("name") != "student"):
        if finite(c.get("value")) is not None:
            named[metric_name(c)] = c
    return named


def metric_name(card: Card) -> str:
    """`accuracy, 0-shot` for the student; another model's name stands in front."""
    who = str(card.get("name") or "student")
    plain = f"{card.get('metric') or 'accuracy'}, {card.get('shots') or 0}-shot"
    return plain if who == "student" else f"{who}: {plain}"


def difference(
    run: RunFolder, metric: str, arm: str, other: str, *, measured: Mapping[tuple[int, str], Mapping[str, Card]] | None = None
) -> dict[str, Any] | None:
    """`arm` minus `other` on the seeds that both have, paired; None where they share none or were measured differently.

    Unlike fingerprints (other test items, wording or decoding) are not compared.
    """
    cards = measured or {(r.seed, r.arm): scorecards(r) for r in run.runs.values() if r.arm in (arm, other)}
    ours, theirs = ({s: c for s in run.seeds if (c := cards.get((s, name), {}).get(metric))} for name in (arm, other))
    found = paired(ours, theirs)
    if found is None:
        return None
    gap, over, values = found
    return {
        "to": other,
        "mean": gap.value,
        "low": gap.low,
        "high": gap.high,
        "n": gap.n,
        "over": over,
        "p_value": gap.p_value,
        "p_holm": None,
        "values": values,
    }


def paired(ours: Mapping[int, Card], theirs: Mapping[int, Card]) -> tuple[Interval, str, dict[int, float]] | None:
    """Scorecards by seed, ours minus theirs on the seeds that both have: the interval, what it is over (`seeds` or `items`) and the
    differences by seed. None where they share no seed that was measured in the same way.

    With several seeds it is the paired t interval over seeds; with one it is bootstrapped over the test items.
    """
    both = [seed for seed in ours if seed in theirs and ours[seed].get("fingerprint") == theirs[seed].get("fingerprint")]
    if not both:
        return None
    values = {seed: ours[seed]["value"] - theirs[seed]["value"] for seed in both}
    found, over = paired_t(list(values.values())), "seeds"
    if len(both) == 1:
        mine, other = ours[both[0]].get("scores"), theirs[both[0]].get("scores")
        if mine and len(mine) == len(other or ()):
            found, over = paired_bootstrap(mine, other or ()), "items"
    # Shares differ by 1 at most, whatever the t distribution says.
    low, high = (None if end is None else min(1.0, max(-1.0, end)) for end in (found.low, found.high))
    return replace(found, low=low, high=high), over, values


def estimate(cards: Mapping[int, Card]) -> dict[str, Any] | None:
    """Mean and interval of one arm's scorecards by seed, as `summarise` gives them; None where there are none."""
    if not cards:
        return None
    values = [float(c["value"]) for c in cards.values()]
    # A student that is left as it is, tested on the same questions under every seed, is one measurement and not several.
    different = {(c.get("model"), c.get("fingerprint"), c["value"]) for c in cards.values()}
    found: Interval
    if len(different) > 1:
        found, over = t_interval(values), "seeds"
    else:
        scores = next(iter(cards.values())).get("scores") or ()
        found, over = (bootstrap_mean(scores), "items") if scores else (t_interval(values[:1]), "seeds")
    parsed = [p for c in cards.values() if (p := finite(c.get("parsed"))) is not None]
    skills: dict[str, list[float]] = {}
    for c in cards.values():
        for skill, value in (c.get("by_skill") or {}).items():
            skills.setdefault(str(skill), []).append(float(value))
    return {
        "mean": sum(values) / len(values),
        # A share cannot leave [0, 1], whatever the t distribution says.
        "low": None if found.low is None else max(0.0, found.low),
        "high": None if found.high is None else min(1.0, found.high),
        "n": len(values),
        "items": sum(int(c.get("n") or 0) for c in cards.values()),
        "over": over,
        "values": dict(zip(cards, values, strict=True)),
        "parsed": sum(parsed) / len(parsed) if parsed else None,
        "by_skill": {s: sum(v) / len(v) for s, v in skills.items()},
        "difference": None,
    }


def _metric_names(measured: Any) -> list[str]:
    names: dict[str, tuple[bool, int, str]] = {}
    for cards in measured:
        for name, c in cards.items():
            names[name] = (c.get("name") not in (None, "", "student"), int(c.get("shots") or 0), name)
    return sorted(names, key=lambda n: names[n])


COST_KEYS = ("calls", "scored", "prompt_tokens", "completion_tokens", "physical_calls", "seconds", "usd")


def cost(runs: Sequence[ArmRun]) -> dict[str, Any]:
    """What an arm cost, as means over the seeds that left cost events or fits: `roles` -> role -> calls, those of them scored in
    training, tokens, seconds; `training` -> role -> examples, tokens, steps, seconds."""
    told = [r for r in runs if r.of_kind("cost") or r.of_kind("fit") or r.state == FINISHED]
    roles: dict[str, dict[str, float]] = {}
    training: dict[str, dict[str, float]] = {}
    for r in told:
        for event in r.of_kind("cost"):
            into = roles.setdefault(str(event.get("role", "unknown")), dict.fromkeys(COST_KEYS, 0.0))
            for key in COST_KEYS:
                into[key] += (finite(event.get(key)) or 0.0) / len(told)
        for event in r.of_kind("fit"):
            into = training.setdefault(str(event.get("role", "unknown")), dict.fromkeys(("examples", "tokens", "steps", "seconds"), 0.0))
            for key in into:
                into[key] += (finite(event.get(key)) or 0.0) / len(told)
    return {"seeds": len(told), "roles": roles, "training": training}


def yields(runs: Sequence[ArmRun]) -> list[dict[str, Any]]:
    """Every step's asked, parsed and kept, summed over the runs, with what was dropped and why, steps in their first order."""
    steps: dict[str, dict[str, Any]] = {}
    for r in runs:
        for event in r.of_kind("yield"):
            name = str(event.get("step", "unknown"))
            into = steps.setdefault(name, {"step": name, "asked": 0, "parsed": 0, "kept": 0, "dropped": {}, "runs": 0})
            into["runs"] += 1
            for key in ("asked", "parsed", "kept"):
                into[key] += int(finite(event.get(key)) or 0)
            for reason, count in (event.get("dropped") or {}).items():
                into["dropped"][reason] = into["dropped"].get(reason, 0) + int(finite(count) or 0)
    for into in steps.values():
        into["dropped"] = {k: v for k, v in sorted(into["dropped"].items(), key=lambda kv: (-kv[1], kv[0])) if v}
    return list(steps.values())
