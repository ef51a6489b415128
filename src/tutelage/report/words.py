"""What the numbers say, in sentences for a reader who has never heard of the system. Every sentence is computed; none is written by hand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from tutelage.report.read import FINISHED, MISSING, REFUSED, RunFolder
from tutelage.report.summary import difference
from tutelage.report.text import listed, number, percent, points

Tone = Literal["good", "plain", "warn", "bad"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing a reader should take away."""

    tone: Tone
    title: str
    text: str


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
    ("call", "One text asked of a model. A token is a piece of text of about a word."),
)


def question(run: RunFolder) -> str:
    """What was asked, in one sentence."""
    models = run.about.get("models") or {}
    name = {role: str((models.get(role) or {}).get("name", "")) for role in ("teacher", "student")}
    who = "".join((f", teacher {name['teacher']}" if name["teacher"] else "", f", student {name['student']}" if name["student"] else ""))
    seeds = f"{len(run.seeds)} seed{'s' if len(run.seeds) != 1 else ''}"
    claim = str(run.card.get("claim") or "").rstrip(". ")
    return (
        f"Tested here: {_lower(claim)} (task {run.task.get('name', 'unknown')}{who}, {seeds})."
        if claim
        else f"{run.recipe} on task {run.task.get('name', 'unknown')}{who}, {seeds}."
    )


def findings(run: RunFolder, summary: Mapping[str, Any]) -> list[Finding]:
    """The verdict first, then whatever limits or explains it."""
    found = [verdict(run, summary), *_rival(run, summary), *_control(summary), *_elicited(summary), *_damage(summary)]
    return [*found, *_reliability(run, summary), *_caveats(run, summary)]


def verdict(run: RunFolder, summary: Mapping[str, Any]) -> Finding:
    """Whether the system beat its baseline on the first metric."""
    system, baseline = summary["system"], summary["baseline"]
    if not summary["metrics"]:
        return Finding(tone="warn", title="No result yet", text=f"No arm has been tested so far ({_progress(summary)}).")
    metric = summary["metrics"][0]
    if not system or not baseline or system == baseline:
        best = max((a for a in summary["arms"] if metric in a["metrics"]), key=lambda a: a["metrics"][metric]["mean"])
        return Finding(
            tone="plain",
            title="Measured, nothing compared",
            text=f"The highest mean {metric} is {percent(best['metrics'][metric]['mean'])} ({label(best)}); this recipe names no pair of arms to compare.",
        )
    ours, theirs = arm_of(summary, system), arm_of(summary, baseline)
    missing = [name for name, a in ((system, ours), (baseline, theirs)) if a is None or metric not in a["metrics"]]
    if missing or ours is None or theirs is None:
        return Finding(
            tone="warn",
            title="The claim is untested here",
            text=f"It needs the arms {system} and {baseline}; there is no {metric} of {listed(missing)} ({_progress(summary)}).",
        )
    d = ours["metrics"][metric]["difference"]
    if d is None:
        return Finding(
            tone="warn",
            title="The claim is untested here",
            text=f"{system} and {baseline} have no seed in common that was measured on the same questions in the same way.",
        )
    what = (
        f"In {metric}, {label(ours)} reached {percent(ours['metrics'][metric]['mean'])} and {label(theirs)} "
        f"{percent(theirs['metrics'][metric]['mean'])}: a difference of {points(d['mean'])} points"
    )
    if d["low"] is None:
        return Finding(
            tone="warn",
            title="One measurement, no interval",
            text=f"{what}. With a single seed and no scores per question nothing can be said about chance.",
        )
    interval = f"(95 % interval {points(d['low'])} to {points(d['high'])}, {_over(d)})"
    if d["low"] > 0:
        return Finding(tone="good", title="Yes, here it helped", text=f"{what} {interval}. The interval lies above 0.")
    if d["high"] < 0:
        return Finding(tone="bad", title="No, here it did worse", text=f"{what} {interval}. The interval lies below 0.")
    return Finding(
        tone="plain",
        title="Not shown here",
        text=f"{what} {interval}. The interval includes 0, so this run cannot tell the difference from none. That is not proof that there is none.",
    )


def _rival(run: RunFolder, summary: Mapping[str, Any]) -> list[Finding]:
    """Another arm, not a control, that did at least as well as the system."""
    system = arm_of(summary, summary["system"])
    metric = summary["metrics"][0] if summary["metrics"] else ""
    if system is None or metric not in system["metrics"]:
        return []
    mine = system["metrics"][metric]["mean"]
    others = [
        a
        for a in summary["arms"]
        if metric in a["metrics"] and not a["control"] and a["name"] not in (summary["system"], summary["baseline"])
    ]
    better = [a for a in others if a["metrics"][metric]["mean"] >= mine]
    if not better:
        return []
    best = max(better, key=lambda a: a["metrics"][metric]["mean"])
    d = difference(run, metric, summary["system"], best["name"])
    text = f"{_upper(label(best))} reached {percent(best['metrics'][metric]['mean'])}, {label(system)} {percent(mine)}"
    if d is not None and d["low"] is not None:
        clear = "a difference beyond chance" if d["high"] < 0 else "within what chance can do"
        text += f" ({points(-d['mean'])} points, 95 % interval {points(-d['high'])} to {points(-d['low'])}, {_over(d)}: {clear})"
    return [Finding(tone="warn", title="Another way did at least as well", text=text + ".")]


def _control(summary: Mapping[str, Any]) -> list[Finding]:
    control = arm_of(summary, summary["control"])
    metric = summary["metrics"][0] if summary["metrics"] else ""
    if control is None or metric not in control["metrics"]:
        return []
    d = control["metrics"][metric]["difference"]
    if d is None or d["low"] is None:
        return []
    interval = f"{points(d['mean'])} points against {d['to']} (95 % interval {points(d['low'])} to {points(d['high'])}, {_over(d)})"
    if d["low"] > 0:
        return [
            Finding(
                tone="bad",
                title="The control helped too",
                text=f"{_upper(label(control))}: {interval}. So what helped is not, or not only, the idea under test.",
            )
        ]
    return [
        Finding(
            tone="good" if d["low"] <= 0 <= d["high"] else "plain",
            title="The control shows no gain, as it should",
            text=f"{_upper(label(control))}: {interval}.",
        )
    ]


def _elicited(summary: Mapping[str, Any]) -> list[Finding]:
    """How much of the gain the untouched student already shows when it sees a worked example."""
    base, system = arm_of(summary, "untouched"), arm_of(summary, summary["system"])
    zero = next((m for m in summary["metrics"] if m.endswith(", 0-shot") and ": " not in m), None)
    if base is None or system is None or zero not in base["metrics"] or zero not in system["metrics"]:
        return []
    shown = [m for m in base["metrics"] if m != zero and m.endswith("-shot") and ": " not in m]
    if not shown:
        return []
    few = max(shown, key=lambda m: base["metrics"][m]["mean"])
    before, within, after = base["metrics"][zero]["mean"], base["metrics"][few]["mean"], system["metrics"][zero]["mean"]
    gain = after - before
    if gain <= 0.02 or within - before <= 0.02:
        return []
    shot = few.rsplit(", ", 1)[1]
    text = (
        f"The untouched student solves {percent(before)} of the questions on its own, and {percent(within)} when it sees worked examples "
        f"({shot}). After teaching it solves {percent(after)} on its own. "
    )
    share = (within - before) / gain
    if share >= 0.95:
        text += "All of that was within its reach before: teaching drew out what it could already do with an example in view, more than it added."
    elif share >= 0.5:
        text += f"About {round(100 * share)} % of the gain was within its reach before: teaching drew out what it could do with an example in view, and added the rest."
    else:
        text += f"About {round(100 * share)} % of the gain was within its reach before; the rest is new."
    return [Finding(tone="plain", title="How much was taught, how much drawn out", text=text)]


def _damage(summary: Mapping[str, Any]) -> list[Finding]:
    """Few-shot accuracy that teaching took away."""
    system = arm_of(summary, summary["system"])
    base = arm_of(summary, "untouched")
    if system is None or base is None:
        return []
    lost = [
        m
        for m in summary["metrics"]
        if not m.endswith(", 0-shot")
        and ": " not in m
        and m in system["metrics"]
        and m in base["metrics"]
        and base["metrics"][m]["mean"] - system["metrics"][m]["mean"] > 0.03
    ]
    return [
        Finding(
            tone="warn",
            title="Something was lost",
            text=f"In {m} the taught student reaches {percent(system['metrics'][m]['mean'])}, the untouched one {percent(base['metrics'][m]['mean'])}: "
            "training on single examples weakened its use of examples in view.",
        )
        for m in lost[:1]
    ]


def _reliability(run: RunFolder, summary: Mapping[str, Any]) -> list[Finding]:
    notes = (
        [n for r in run.of_arm(str(summary["system"])) if isinstance(n := r.note("reliability"), Mapping)]
        if arm_of(summary, summary["system"])
        else []
    )
    verdicts = [str(n.get("verdict")) for n in notes]
    if not verdicts:
        return []
    noisy = sum(v == "noise" for v in verdicts)
    if noisy:
        return [
            Finding(
                tone="bad",
                title="The student's preference was noise",
                text=f"In {noisy} of {len(verdicts)} seeds the preference scores would have come out otherwise on other probes; see the section on preference.",
            )
        ]
    if all(v == "reliable" for v in verdicts):
        return []
    return [
        Finding(
            tone="warn",
            title="The student's preference was only partly reliable",
            text="Some of what it seemed to prefer is chance; see the section on preference.",
        )
    ]


def _caveats(run: RunFolder, summary: Mapping[str, Any]) -> list[Finding]:
    out = []
    if summary["preset"] == "toy":
        out.append(Finding(tone="warn", title="A toy run", text="It shows that every part works. Its numbers mean nothing."))
    refused = [(r.seed, r.arm, r.refusal) for r in run.runs.values() if r.state == REFUSED]
    if refused:
        seed, arm, why = refused[0]
        more = f" {len(refused) - 1} more ended the same way." if len(refused) > 1 else ""
        out.append(Finding(tone="warn", title="A quality gate stopped an arm", text=f"{arm}, seed {seed}: {why}.{more}"))
    open_ = [(s, a) for s, a, state in summary["unfinished"] if state != REFUSED]
    if open_:
        out.append(
            Finding(
                tone="warn",
                title="Not finished",
                text=f"{_progress(summary)}; numbers will change. The command at the end of this page continues the run.",
            )
        )
    if len(summary["seeds"]) == 1:
        out.append(
            Finding(
                tone="plain",
                title="One seed",
                text="Intervals cover the choice of test questions only. Another seed may tell another story; run at least three.",
            )
        )
    return out


def reliability_in_words(note: Mapping[str, Any]) -> list[str]:
    """The reliability note as sentences, from the general to the particular."""
    out = []
    overall, within = note.get("overall") or {}, note.get("within_skill") or {}
    finest = note.get("within_skill_and_style") or {}
    if within.get("corrected") is not None:
        out.append(
            f"If the same training examples were scored again on other probes, the two scores would agree at {within['corrected']:.2f} among "
            f"examples of the same skill (1 is perfect, 0 is chance)"
            + (f", and at {overall['corrected']:.2f} over all examples" if overall.get("corrected") is not None else "")
            + f". Verdict: {note.get('verdict', 'unknown')}."
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
            f"Among examples of the same skill written in the same way the agreement is {left:.2f}: "
            + (
                "beyond form, the score knows little about the single example."
                if left < 0.5
                else "the score also tells single examples apart."
            )
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
    """An arm's one-line summary with its name."""
    said = str(arm["summary"] or "").rstrip(".")
    return f"{said} ({arm['name']})" if said else str(arm["name"])


def _over(found: Mapping[str, Any]) -> str:
    return f"paired over {found['n']} seeds" if found["over"] == "seeds" else f"one seed, over {number(found['n'])} test questions"


def _progress(summary: Mapping[str, Any]) -> str:
    states = [state for _, _, state in summary["unfinished"]]
    total = len(summary["arms"]) * len(summary["seeds"])
    done = total - len(states)
    waiting = sum(s == MISSING for s in states)
    return f"{done} of {total} arm-by-seed runs {FINISHED}" + (f", {waiting} {MISSING}" if waiting else "")


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:] if text[1:2].islower() or text[1:2] == " " else text


def _upper(text: str) -> str:
    return text[:1].upper() + text[1:]
