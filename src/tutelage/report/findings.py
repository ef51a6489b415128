"""What a reader should take away: the verdict, and whatever limits or explains it. Every sentence follows from the numbers by rule."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from tutelage.report.omitted import rows_left_out, work_left_out
from tutelage.report.read import FINISHED, MISSING, REFUSED, RunFolder
from tutelage.report.summary import difference
from tutelage.report.text import listed, metric_words, number, percent, points
from tutelage.report.words import arm_of, label

UNTOUCHED = "untouched"
"""The arm in which the student is left as it is, by the convention of all recipes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    tone: Literal["good", "plain", "warn", "bad"]
    title: str
    text: str


def findings(run: RunFolder, summary: Mapping[str, Any]) -> list[Finding]:
    """The verdict first."""
    return [
        verdict(summary),
        *_rival(run, summary),
        *_control(summary),
        *_elicited(summary),
        *_lost(run, summary),
        *_noisy_preference(run, summary),
        *_caveats(run, summary),
    ]


def verdict(summary: Mapping[str, Any]) -> Finding:
    """Whether the system beat its baseline on the first metric: only when the whole interval of the paired difference lies above 0."""
    system, baseline = summary["system"], summary["baseline"]
    if not summary["metrics"]:
        return Finding(tone="warn", title="No result yet", text=f"No arm has been tested so far ({_progress(summary)}).")
    metric = summary["metrics"][0]
    if not system or not baseline or system == baseline:
        best = max((a for a in summary["arms"] if metric in a["metrics"]), key=lambda a: a["metrics"][metric]["mean"])
        reached = f"{metric_words(metric)}: {percent(best['metrics'][metric]['mean'])} for {label(best)}."
        return Finding(tone="plain", title="Measured, nothing compared", text=f"{reached} This recipe names no two arms to compare.")
    ours, theirs = arm_of(summary, system), arm_of(summary, baseline)
    missing = [name for name, a in ((system, ours), (baseline, theirs)) if a is None or metric not in a["metrics"]]
    if missing or ours is None or theirs is None:
        why = f"It needs the arms {system} and {baseline}; {listed(missing)} has no result ({_progress(summary)})."
        return Finding(tone="warn", title="The claim is untested here", text=why)
    d = ours["metrics"][metric]["difference"]
    if d is None:
        why = f"{system} and {baseline} share no seed that was measured on the same questions in the same way."
        return Finding(tone="warn", title="The claim is untested here", text=why)
    what = (
        f"{metric_words(metric)}: {percent(ours['metrics'][metric]['mean'])} for {label(ours)}, "
        f"{percent(theirs['metrics'][metric]['mean'])} for {label(theirs)}. The difference is {points(d['mean'])} points"
    )
    if d["low"] is None:
        why = f"{what}. With a single seed and no scores per question nothing can be said about chance."
        return Finding(tone="warn", title="One measurement, no interval", text=why)
    interval = _interval(d)
    if d["low"] > 0:
        return Finding(tone="good", title="Yes, here it helped", text=f"{what} {interval}; the interval lies above 0.")
    if d["high"] < 0:
        return Finding(tone="bad", title="No, here it did worse", text=f"{what} {interval}; the interval lies below 0.")
    why = "the interval includes 0, so this run cannot tell the difference from none. That does not prove that there is none."
    return Finding(tone="plain", title="Not shown here", text=f"{what} {interval}; {why}")


def _rival(run: RunFolder, summary: Mapping[str, Any]) -> list[Finding]:
    """The best other arm, not a control, where it did at least as well as the system."""
    system, metric = arm_of(summary, summary["system"]), _first_metric(summary)
    if system is None or metric not in system["metrics"]:
        return []
    mine = system["metrics"][metric]["mean"]
    apart = (summary["system"], summary["baseline"])
    others = [a for a in summary["arms"] if metric in a["metrics"] and not a["control"] and a["name"] not in apart]
    best = max(others, key=lambda a: a["metrics"][metric]["mean"], default=None)
    if best is None or best["metrics"][metric]["mean"] < mine:
        return []
    text = f"{percent(best['metrics'][metric]['mean'])} for {label(best)}, {percent(mine)} for {system['name']}"
    d = difference(run, metric, best["name"], system["name"])
    if d is not None and d["low"] is not None:
        beyond = "more than chance would do" if d["low"] > 0 else "which chance alone could do"
        text += f": {points(d['mean'])} points {_interval(d)}, {beyond}"
    title = "Leaving the student alone did at least as well" if best["name"] == UNTOUCHED else "Another way did at least as well"
    return [Finding(tone="warn", title=title, text=text + ".")]


def _control(summary: Mapping[str, Any]) -> list[Finding]:
    control, metric = arm_of(summary, summary["control"]), _first_metric(summary)
    d = control["metrics"][metric]["difference"] if control is not None and metric in control["metrics"] else None
    if control is None or d is None or d["low"] is None:
        return []
    text = f"{label(control)} against {d['to']}: {points(d['mean'])} points {_interval(d)}"
    if d["low"] > 0:
        return [
            Finding(tone="bad", title="The control helped too", text=f"{text}. So what helped is not, or not only, the idea under test.")
        ]
    system = arm_of(summary, summary["system"])
    gain = system["metrics"][metric]["difference"] if system is not None and metric in system["metrics"] else None
    if gain is None or gain["low"] is None or gain["low"] <= 0:
        return []  # where the system shows no gain, a control without one says nothing
    if d["high"] >= gain["mean"]:
        text += f". The interval also holds the {points(gain['mean'])} points of {summary['system']}, so it says little; more seeds would."
        return [Finding(tone="plain", title="The control does not decide", text=text)]
    return [Finding(tone="good", title="The control shows no gain, as it should", text=f"{text}.")]


def _elicited(summary: Mapping[str, Any]) -> list[Finding]:
    """How much of the gain the untouched student already shows when it sees a worked example."""
    base, system = arm_of(summary, UNTOUCHED), arm_of(summary, summary["system"])
    zero = next((m for m in _student_metrics(summary) if m.endswith(", 0-shot")), None)
    if base is None or system is None or zero not in base["metrics"] or zero not in system["metrics"]:
        return []
    few = max(
        (m for m in _student_metrics(summary) if m != zero and m in base["metrics"]), key=lambda m: base["metrics"][m]["mean"], default=None
    )
    if few is None:
        return []
    before, within, after = base["metrics"][zero]["mean"], base["metrics"][few]["mean"], system["metrics"][zero]["mean"]
    if after - before <= 0.02 or within - before <= 0.02:
        return []
    text = (
        f"The untouched student solves {percent(before)} of the questions on its own and {percent(within)} with worked examples in view "
        f"({few.rsplit(', ', 1)[1]}). After teaching it solves {percent(after)} on its own. "
    )
    share = (within - before) / (after - before)
    if share >= 0.95:
        text += "All of that was within its reach before: teaching drew out what it could already do, more than it added."
    else:
        text += f"About {round(100 * share)} % of that gain was within its reach before and was drawn out; the rest was added."
    return [Finding(tone="plain", title="How much was taught, how much drawn out", text=text)]


def _lost(run: RunFolder, summary: Mapping[str, Any]) -> list[Finding]:
    """Accuracy with examples in view that teaching took away, where that is beyond chance."""
    for metric in _student_metrics(summary):
        d = None if metric.endswith(", 0-shot") else difference(run, metric, str(summary["system"]), UNTOUCHED)
        if d is not None and d["high"] is not None and d["high"] < 0:
            text = f"{metric_words(metric)}: {points(d['mean'])} points against the untouched student {_interval(d)}. "
            text += "Training on single examples weakened its use of examples in view."
            return [Finding(tone="warn", title="Something was lost", text=text)]
    return []


def _noisy_preference(run: RunFolder, summary: Mapping[str, Any]) -> list[Finding]:
    system = arm_of(summary, summary["system"])
    notes = [n for r in run.of_arm(system["name"]) if isinstance(n := r.note("reliability"), Mapping)] if system else []
    noisy = sum(n.get("verdict") == "noise" for n in notes)
    if noisy:
        text = f"In {noisy} of {len(notes)} seeds the scores would have come out otherwise on other probes; see the section on preference."
        return [Finding(tone="bad", title="The student's preference was noise", text=text)]
    if all(n.get("verdict") == "reliable" for n in notes):
        return []
    text = "Some of what it seemed to prefer is chance; see the section on preference."
    return [Finding(tone="warn", title="The student's preference was only partly reliable", text=text)]


def _caveats(run: RunFolder, summary: Mapping[str, Any]) -> list[Finding]:
    out = []
    if summary["preset"] == "toy":
        out.append(Finding(tone="warn", title="A toy run", text="It shows that every part works. Its numbers mean nothing."))
    refused = [r for r in run.runs.values() if r.state == REFUSED]
    if refused:
        more = f" {len(refused) - 1} more ended early." if len(refused) > 1 else ""
        text = f"{refused[0].arm}, seed {refused[0].seed}: {refused[0].refusal}.{more}"
        out.append(Finding(tone="warn", title="A quality gate stopped an arm", text=text))
    if any(state != REFUSED for _, _, state in summary["unfinished"]):
        text = f"{_progress(summary)}; numbers will change. The command at the end of this page continues the run."
        out.append(Finding(tone="warn", title="Not finished", text=text))
    work, rows = work_left_out(run), rows_left_out(run)
    if work:
        out.append(Finding(tone="warn", title="Not everything could be used", text=" ".join(work)))
    if rows:
        out.append(Finding(tone="plain", title="Rows that were left out", text=rows))
    if len(summary["seeds"]) == 1:
        text = "Intervals cover the choice of test questions only. Another seed may tell another story; run at least three."
        out.append(Finding(tone="plain", title="One seed", text=text))
    return out


def _first_metric(summary: Mapping[str, Any]) -> str:
    return summary["metrics"][0] if summary["metrics"] else ""


def _student_metrics(summary: Mapping[str, Any]) -> list[str]:
    return [m for m in summary["metrics"] if ": " not in m and m.endswith("-shot")]


def _interval(found: Mapping[str, Any]) -> str:
    over = f"paired over {found['n']} seeds" if found["over"] == "seeds" else f"one seed, over {number(found['n'])} test questions"
    return f"(95 % interval {points(found['low'])} to {points(found['high'])}, {over})"


def _progress(summary: Mapping[str, Any]) -> str:
    states = [state for _, _, state in summary["unfinished"]]
    total = len(summary["arms"]) * len(summary["seeds"])
    waiting = states.count(MISSING)
    return f"{total - len(states)} of {total} arm-by-seed runs {FINISHED}" + (f", {waiting} {MISSING}" if waiting else "")
