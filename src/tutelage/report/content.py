"""Everything a report shows, gathered from a run folder as plain values; the pages only lay it out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tutelage.records import Example, Feedback, Pair, Solution
from tutelage.report import words
from tutelage.report.findings import Finding, findings
from tutelage.report.lineage import Index, Link
from tutelage.report.plot import Plot, accuracy_plot, difference_plot, mark
from tutelage.report.read import ArmRun, RunFolder, kept_names, kept_of_type, read_fit, records
from tutelage.report.summary import summarise, yields
from tutelage.report.text import finite, number, percent, points, seconds

SHOWN_TEXTS = 3
"""Texts per side, chains and pairs on a page: enough to see a habit, few enough to read."""

EXAMPLES = "examples"


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What one arm's teacher wrote for the student, under one seed."""

    arm: str
    title: str
    texts: Sequence[Mapping[str, Any]]
    """`skill`, `prompt`, `completion`, `words`."""
    count: int
    words: float | None
    """Mean length in words."""
    answered: float | None
    """Share of solutions that reach the recorded answer of their problem; None where none has one."""
    distinct: float | None
    """Share of different texts."""
    styles: Sequence[tuple[str, float]] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Preference:
    """Preference scores by skill (rows) and style (columns), pooled over seeds."""

    skills: Sequence[str]
    styles: Sequence[str]
    cells: Mapping[tuple[str, str], tuple[float, int]]
    """(mean, number of examples)."""
    sentences: Sequence[str]
    by_seed: Sequence[Mapping[str, Any]]
    """Reliability numbers of each seed."""
    verdict: str


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
    pairs: Sequence[Mapping[str, Any]]
    chains: Sequence[Link]
    fits: Sequence[Mapping[str, Any]]
    costs: Sequence[Mapping[str, Any]]
    models: Sequence[Mapping[str, Any]]
    splits: Sequence[tuple[str, Any]]
    versions: Sequence[tuple[str, str]]
    settings: Sequence[tuple[str, str]]
    probes: Sequence[Mapping[str, Any]] = ()
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
    return Content(
        run=run,
        summary=summary,
        question=words.question(run),
        findings=findings(run, summary),
        plots=plots,
        claims=[words.claim_row(run, summary, c) for c in run.card.get("claims") or () if isinstance(c, Mapping)],
        yields=_yields(run, main),
        preference=_preference(run, main),
        written=_written(run, summary, main),
        pairs=_pairs(first),
        chains=_chains(run, first),
        fits=_fits(run, main),
        costs=_costs(summary),
        models=_models(run),
        splits=list((run.task.get("splits") or {}).items()),
        versions=[(str(k), str(v)) for k, v in (run.about.get("versions") or {}).items()],
        settings=_flat(run.about.get("settings") or {}),
        probes=[n for r in run.of_arm(main) if isinstance(n := r.note("probes"), Mapping)][:1] if main else [],
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


def _preference(run: RunFolder, main: str) -> Preference | None:
    """From the scored drafts themselves where they were kept, else from the recipe's note."""
    pooled: dict[tuple[str, str], list[tuple[float, int]]] = {}
    notes = []
    for r in run.of_arm(main) if main else ():
        note = r.note("reliability")
        if isinstance(note, Mapping):
            notes.append({"seed": r.seed, **note})
        scored = _scored(r)
        if scored:
            for solution, feedback in scored:
                key = (solution.problem.skill or "all", solution.technique or "plain")
                pooled.setdefault(key, []).append((feedback.value or 0.0, 1))
        else:
            for key, value in _noted_styles(r.note("preference_by_style")):
                pooled.setdefault(key, []).append((value, 0))
    if not pooled and not notes:
        return None
    cells = {key: (sum(v for v, _ in found) / len(found), sum(n for _, n in found)) for key, found in pooled.items()}
    worst = next((v for v in ("noise", "unknown", "unsure", "reliable") if any(n.get("verdict") == v for n in notes)), "")
    return Preference(
        skills=list(dict.fromkeys(s for s, _ in cells)),
        styles=list(dict.fromkeys(t for _, t in cells)),
        cells=cells,
        sentences=words.reliability_in_words(notes[0]) if notes else (),
        by_seed=notes,
        verdict=worst,
    )


def _scored(run: ArmRun) -> list[tuple[Solution, Feedback]]:
    liked = {f.item: f for f in records(run, "liked") if isinstance(f, Feedback) and f.value is not None}
    if not liked:
        return []
    solutions = {
        x.id: x for name in kept_names(run) if name != "liked" for x in records(run, name) if isinstance(x, Solution) and x.id in liked
    }
    return [(solution, liked[i]) for i, solution in solutions.items()]


def _noted_styles(note: Any) -> list[tuple[tuple[str, str], float]]:
    """`{skill: {style: value or {"mean": value}}}` or `{style: value}`."""
    if not isinstance(note, Mapping):
        return []
    out = []
    for first, inner in note.items():
        for second, value in inner.items() if isinstance(inner, Mapping) and "mean" not in inner else ((None, inner),):
            mean = finite(value.get("mean")) if isinstance(value, Mapping) else finite(value)
            if mean is not None:
                out.append(((str(first), str(second)) if second is not None else ("all", str(first)), mean))
    return out


def _written(run: RunFolder, summary: Mapping[str, Any], main: str) -> list[Written]:
    """The baseline's data beside the system's, from the first seed that has both (or either)."""
    names = [n for n in dict.fromkeys((summary["baseline"], main)) if n and any(a.name == n for a in run.arms)]
    for seed in run.seeds:
        sides = [(n, [x for x in records(run.runs[seed, n], EXAMPLES) if isinstance(x, Example)]) for n in names]
        if all(found for _, found in sides) and sides:
            break
    else:
        sides = [
            next(((n, found) for r in run.of_arm(n) if (found := [x for x in records(r, EXAMPLES) if isinstance(x, Example)])), (n, []))
            for n in names
        ]
        seed = run.seeds[0] if run.seeds else 0
    out = []
    for name, examples in sides:
        if not examples:
            continue
        solutions = _solutions_of(run.runs[seed, name])
        texts = [
            {
                "skill": str(e.context.get("skill", "")),
                "prompt": _question_of(e, solutions) or e.prompt.text,
                "completion": e.completion,
                "id": e.id,
            }
            for e in _spread(examples)
        ]
        known = [s for e in examples if (s := _parent(e, solutions)) is not None and s.problem.answer is not None]
        arm = next(a for a in summary["arms"] if a["name"] == name)
        out.append(
            Written(
                arm=name,
                title=words.label(arm),
                texts=texts,
                count=len(examples),
                words=sum(len(e.completion.split()) for e in examples) / len(examples),
                answered=sum(s.answer is not None and s.answer == s.problem.answer for s in known) / len(known) if known else None,
                distinct=len({(e.prompt.text, e.completion) for e in examples}) / len(examples),
                styles=_styles(run.runs[seed, name], examples),
            )
        )
    return out


def _styles(run: ArmRun, examples: Sequence[Example]) -> list[tuple[str, float]]:
    """Share of each way of writing: from the note `styles_written` (style -> count), else from what the examples say of themselves."""
    note = run.note("styles_written")
    counts: dict[str, float] = {}
    if isinstance(note, Mapping):
        counts = {str(k): v for k, value in note.items() if (v := finite(value)) is not None}
    else:
        for e in examples:
            if e.context.get("technique"):
                counts[str(e.context["technique"])] = counts.get(str(e.context["technique"]), 0) + 1
    total = sum(counts.values())
    return [(k, v / total) for k, v in sorted(counts.items(), key=lambda kv: (-kv[1], kv[0]))] if total else []


def _spread(examples: Sequence[Example]) -> list[Example]:
    """The first examples, one per skill as far as they go, in the order of skill names so that both sides show the same skills."""
    by_skill: dict[str, list[Example]] = {}
    for e in examples:
        by_skill.setdefault(str(e.context.get("skill", "")), []).append(e)
    picked: list[Example] = []
    for turn in range(SHOWN_TEXTS):
        picked += [group[turn] for _, group in sorted(by_skill.items()) if len(group) > turn]
    return picked[:SHOWN_TEXTS]


def _solutions_of(run: ArmRun) -> dict[str, Solution]:
    return {x.id: x for name in kept_of_type(run, Solution) for x in records(run, name) if isinstance(x, Solution)}


def _parent(example: Example, solutions: Mapping[str, Solution]) -> Solution | None:
    return next((solutions[p] for p in (example.origin.parents if example.origin else ()) if p in solutions), None)


def _question_of(example: Example, solutions: Mapping[str, Solution]) -> str:
    parent = _parent(example, solutions)
    return parent.problem.text if parent is not None else ""


def _pairs(run: ArmRun | None) -> list[dict[str, Any]]:
    """A few pairs of each kind, those with the widest margin first."""
    found = [
        p
        for name in (kept_names(run) if run else ())
        for p in (records(run, name) if run and name == "pairs" else ())
        if isinstance(p, Pair)
    ]
    kinds = dict.fromkeys(p.kind for p in found)
    out = []
    for kind in kinds:
        mine = sorted((p for p in found if p.kind == kind), key=lambda p: -(p.margin or 0.0))
        for p in mine[: SHOWN_TEXTS - 1]:
            out.append(
                {
                    "kind": kind or "pair",
                    "prompt": p.prompt.text,
                    "chosen": p.chosen,
                    "rejected": p.rejected,
                    "margin": p.margin,
                    "chosen_by": str(p.context.get("chosen", "")),
                    "rejected_by": str(p.context.get("rejected", "")),
                    "of": len(mine),
                }
            )
    return out


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
                    "changes": _changes(body),
                }
            )
    return out


def _loss(row: Mapping[str, Any]) -> float | None:
    return next((v for k in ("loss", "loss_nats") if (v := finite(row.get(k))) is not None), None)


def _changes(body: Mapping[str, Any]) -> list[tuple[str, float | None, float | None]]:
    """Numbers measured before and after training, for example how often the preferred text is the likelier one."""
    metrics = body.get("metrics") if isinstance(body.get("metrics"), Mapping) else body
    before, after = metrics.get("before") or {}, metrics.get("after") or {}  # pyright: ignore[reportOptionalMemberAccess]
    if not isinstance(before, Mapping) or not isinstance(after, Mapping):
        return []
    return [(str(k), finite(before.get(k)), finite(after.get(k))) for k in dict.fromkeys([*before, *after])]


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
                "teacher_calls": number(round(teacher.get("calls", 0.0))),
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
