"""Everything a report shows, gathered from a run folder as plain values; the pages only lay it out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tutelage.report import words
from tutelage.report.findings import Finding, findings
from tutelage.report.lineage import Index, Link
from tutelage.report.plot import Plot, accuracy_plot, difference_plot, mark
from tutelage.report.preference import Preference, preference, shown_pairs
from tutelage.report.read import ArmRun, RunFolder, kept_names, read_fit
from tutelage.report.summary import summarise, yields
from tutelage.report.text import finite, number, percent, points, seconds
from tutelage.report.writing import EXAMPLES, SHOWN_TEXTS, Written, drift, written


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    run: RunFolder
    summary: Mapping[str, Any]
    question: str
    findings: Sequence[Finding]
    plots: Sequence[Plot]
    claims: Sequence[Mapping[str, Any]]
    yields: Sequence[tuple[str, Sequence[Mapping[str, Any]]]]
    """(arm, steps), the system's arm first."""
    preference: Preference | None
    written: Sequence[Written]
    drift: str
    pairs: Sequence[Mapping[str, Any]]
    chains: Sequence[Link]
    fits: Sequence[Mapping[str, Any]]
    costs: Sequence[Mapping[str, Any]]
    models: Sequence[Mapping[str, Any]]
    splits: Sequence[tuple[str, Any]]
    versions: Sequence[tuple[str, str]]
    settings: Sequence[tuple[str, str]]
    changes: Sequence[Mapping[str, Any]] = ()
    """What training runs changed: `seed`, `role`, `name`, `before`, `after`."""
    probes: Sequence[Mapping[str, Any]] = ()
    """Per skill: `skill`, `chosen`, `random`, `of`."""
    probe_reasons: Sequence[str] = ()
    kept: Sequence[str] = field(default=())


def gather(run: RunFolder) -> Content:
    """All parts of the report. Parts that a run does not have are empty."""
    summary = summarise(run)
    main = _main_arm(run, summary)
    first = next((r for r in run.of_arm(main) if kept_names(r)), None) if main else None
    plots = [
        p
        for m in summary["metrics"]
        for p in (accuracy_plot(summary, m, chance=finite(run.task.get("chance"))), difference_plot(summary, m))
        if p
    ]
    fits, probes, sides = _fits(run, main), _probes(run, main), written(run, summary, main)
    return Content(
        run=run,
        summary=summary,
        question=words.question(run),
        findings=findings(run, summary),
        plots=plots,
        claims=[words.claim_row(run, summary, c) for c in run.card.get("claims") or () if isinstance(c, Mapping)],
        yields=_yields(run, main),
        preference=preference(run, main),
        written=sides,
        drift=drift(sides),
        pairs=shown_pairs(first),
        chains=_chains(run, first),
        fits=fits,
        costs=_costs(summary),
        models=_models(run),
        splits=list((run.task.get("splits") or {}).items()),
        versions=[(str(k), str(v)) for k, v in (run.about.get("versions") or {}).items()],
        settings=_flat(run.about.get("settings") or {}),
        changes=[c for f in fits for c in f["changes"]],
        probes=probes,
        probe_reasons=list(dict.fromkeys(p["why"] for p in probes if p["why"])),
        kept=kept_names(first) if first else (),
    )


def _main_arm(run: RunFolder, summary: Mapping[str, Any]) -> str:
    """The arm whose inside is shown: the system's, else the first one that kept something."""
    names = [str(summary["system"]), *(a.name for a in run.arms)]
    with_records = [n for n in names if any(a.name == n for a in run.arms) and any(kept_names(r) for r in run.of_arm(n))]
    return with_records[0] if with_records else ""


def _yields(run: RunFolder, main: str) -> list[tuple[str, list[dict[str, Any]]]]:
    order = [main, *(a.name for a in run.arms if a.name != main)]
    found = [(name, yields(run.of_arm(name))) for name in order if name]
    return [(name, steps) for name, steps in found if steps]


def _chains(run: RunFolder, arm: ArmRun | None) -> list[Link]:
    if arm is None:
        return []
    index = Index(run, arm)
    names = kept_names(arm)
    name = EXAMPLES if EXAMPLES in names else next((n for n in reversed(names) if n != "scorecards"), "")
    return [index.chain(i) for i in index.first(name, SHOWN_TEXTS)]


def _fits(run: RunFolder, main: str) -> list[dict[str, Any]]:
    """Training runs of the main arm: sizes, and the loss from first to last step."""
    out = []
    for r in run.of_arm(main) if main else ():
        for event in r.of_kind("fit"):
            body = {**(read_fit(run, str(event.get("key", ""))) or {}), **event}
            losses = [v for row in body.get("log") or () if isinstance(row, Mapping) and (v := _loss(row)) is not None]
            out.append(
                {
                    "seed": r.seed,
                    "role": str(body.get("role", "")),
                    "step": str(body.get("step", "")),
                    "examples": finite(body.get("examples")),
                    "steps": finite(body.get("steps")),
                    "tokens": finite(body.get("tokens")),
                    "seconds": finite(body.get("seconds")),
                    "losses": losses,
                    "changes": [{"seed": r.seed, "role": str(body.get("role", "")), **c} for c in _changes(body)],
                }
            )
    return out


def _loss(row: Mapping[str, Any]) -> float | None:
    return next((v for k in ("loss", "loss_nats") if (v := finite(row.get(k))) is not None), None)


def _changes(body: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Numbers measured before and after training, for example how often the preferred text is the likelier one."""
    nested = body.get("metrics")
    metrics = nested if isinstance(nested, Mapping) else body
    before, after = metrics.get("before") or {}, metrics.get("after") or {}
    if not isinstance(before, Mapping) or not isinstance(after, Mapping):
        return []
    return [{"name": str(k), "before": finite(before.get(k)), "after": finite(after.get(k))} for k in dict.fromkeys([*before, *after])]


def _probes(run: RunFolder, main: str) -> list[dict[str, Any]]:
    """How the probes of the first seed were chosen, by skill."""
    note = next((n for r in run.of_arm(main) if isinstance(n := r.note("probes"), Mapping)), {}) if main else {}
    return [
        {
            "skill": str(skill),
            "chosen": number(finite(facts.get("chosen_by_discrimination"))),
            "random": int(finite(facts.get("drawn_at_random")) or 0),
            "of": number(finite(facts.get("of"))),
            "why": str(facts.get("why") or ""),
        }
        for skill, facts in (note.get("by_skill") or {}).items()
        if isinstance(facts, Mapping)
    ]


def _costs(summary: Mapping[str, Any]) -> list[dict[str, Any]]:
    rows = []
    for arm in summary["arms"]:
        cost = arm["cost"]
        if not cost["seeds"]:
            continue
        teacher = cost["roles"].get("teacher", {})
        students = {
            k: sum(v[k] for role, v in cost["roles"].items() if role != "teacher") for k in ("calls", "prompt_tokens", "completion_tokens")
        }
        trained = {role: t["tokens"] for role, t in cost["training"].items()}
        spent = sum(v["seconds"] for v in cost["roles"].values()) + sum(v["seconds"] for v in cost["training"].values())
        rows.append(
            {
                "arm": arm["name"],
                "summary": arm["summary"],
                "teacher_calls": number(round(teacher.get("calls", 0.0))) + _of_these_scored(teacher),
                "teacher_tokens": number(round(teacher.get("prompt_tokens", 0.0) + teacher.get("completion_tokens", 0.0))),
                "student_calls": number(round(students["calls"])),
                "student_tokens": number(round(students["prompt_tokens"] + students["completion_tokens"])),
                "trained_teacher": number(round(trained.get("teacher", 0.0))),
                "trained_student": number(round(trained.get("student", 0.0))),
                "seconds": seconds(spent),
                "usd": sum(v.get("usd", 0.0) for v in cost["roles"].values()),
                "seeds": cost["seeds"],
            }
        )
    return rows


def _of_these_scored(teacher: Mapping[str, float]) -> str:
    scored = round(teacher.get("scored", 0.0))
    return f" ({number(scored)} scored)" if scored else ""


def _models(run: RunFolder) -> list[dict[str, Any]]:
    out = []
    for role, body in (run.about.get("models") or {}).items():
        facts = body.get("facts") or {} if isinstance(body, Mapping) else {}
        out.append(
            {
                "role": str(role),
                "name": str(body.get("name", "")) if isinstance(body, Mapping) else str(body),
                "id": str(body.get("id", ""))[:16] if isinstance(body, Mapping) else "",
                "family": str(facts.get("family") or "unknown"),
                "parameters": number(finite(facts.get("parameters"))),
                "context": number(finite(facts.get("context_tokens"))),
                "licence": str(facts.get("licence") or "unknown"),
            }
        )
    return out


def _flat(settings: Mapping[str, Any], before: str = "") -> list[tuple[str, str]]:
    """Nested settings as `a.b` names, the way `--set` takes them."""
    out: list[tuple[str, str]] = []
    for key, value in settings.items():
        if isinstance(value, Mapping) and value:
            out += _flat(value, f"{before}{key}.")
        else:
            shown = ", ".join(map(str, value)) if isinstance(value, list | tuple) else "none" if value is None else str(value)
            out.append((f"{before}{key}", shown))
    return out


def arm_rows(summary: Mapping[str, Any], metric: str) -> list[dict[str, str]]:
    """The table of one metric, ready to print."""
    rows = []
    for arm in summary["arms"]:
        found = arm["metrics"].get(metric)
        states = list(arm["states"].values())
        if found is None:
            rows.append(
                {
                    "arm": arm["name"],
                    "summary": arm["summary"],
                    "mark": mark(summary, arm),
                    "mean": "–",
                    "interval": states[0] if states else "–",
                    "difference": "",
                    "p": "",
                    "parsed": "",
                    "n": "0",
                }
            )
            continue
        d = found["difference"]
        gap = "baseline" if arm["name"] == summary["baseline"] else "–" if d is None else points(d["mean"])
        if d is not None and d["low"] is not None:
            gap += f" ({points(d['low'])} to {points(d['high'])})"
        p = d["p_holm"] if d is not None else None
        rows.append(
            {
                "arm": arm["name"],
                "summary": arm["summary"],
                "mark": mark(summary, arm),
                "mean": percent(found["mean"]),
                "interval": "none" if found["low"] is None else f"{percent(found['low'])[:-2]} to {percent(found['high'])}",
                "difference": gap,
                "p": "" if p is None else ("< 0.001" if p < 0.001 else f"{p:.3f}"),
                "parsed": percent(found["parsed"]),
                "n": str(found["n"]),
            }
        )
    return rows
