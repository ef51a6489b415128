"""The report as Markdown: the same content for terminals, issues and diffs."""

from __future__ import annotations

from collections.abc import Iterator

from tutelage.report import words
from tutelage.report.content import Content, arm_rows
from tutelage.report.lineage import Link, chain_summary, link_text, link_title
from tutelage.report.text import md, md_block, md_table, metric_words, number, percent, plain, ratio, seconds


def render_markdown(content: Content) -> str:
    """All sections as one Markdown text. Model text stands in fenced blocks or is escaped."""
    parts = [
        p
        for section in (_head, _arms, _system, _claims, _preference, _written, _yields, _chains, _cost, _sources, _again)
        for p in section(content)
    ]
    return "\n\n".join(parts) + "\n"


def _head(c: Content) -> Iterator[str]:
    yield f"# {md(c.summary['title'])}"
    yield md(c.question)
    for finding in c.findings:
        yield f"**{md(finding.title)}.** {md(finding.text)}"


def _arms(c: Content) -> Iterator[str]:
    if not c.summary["metrics"]:
        return
    yield "## Who learned how much"
    baseline = c.summary["baseline"] or "a baseline"
    for m in c.summary["metrics"]:
        yield f"### {md(metric_words(m))}"
        yield md_table(
            ["arm", "what it is", "mean", "95 % interval", f"difference to {baseline}, points", "p (Holm)", "readable", "seeds"],
            [
                [
                    f"{r['arm']} ({r['mark']})" if r["mark"] else r["arm"],
                    r["summary"],
                    r["mean"],
                    r["interval"],
                    r["difference"],
                    r["p"],
                    r["parsed"],
                    r["n"],
                ]
                for r in arm_rows(c.summary, m)
            ],
            right=(2, 3, 4, 5, 6, 7),
        )
    yield " ".join(dict.fromkeys(md(p.note) for p in c.plots))


def _system(c: Content) -> Iterator[str]:
    card = c.run.card
    yield "## What was tried"
    if card.get("claim"):
        yield md(card["claim"]) + (f" Published by {md(card['source'])}." if card.get("source") else "")
    if card.get("steps"):
        yield "\n".join(f"{i}. {md(str(s).replace('_', ' '))}" for i, s in enumerate(card["steps"], 1))
    if card.get("deviations"):
        yield "Where this differs from the paper:"
        yield "\n".join(f"- {md(d)}" for d in card["deviations"])


def _claims(c: Content) -> Iterator[str]:
    if c.claims:
        yield "## The paper's numbers and ours"
        rows = [[r["what"], r["where"], r["published"], r.get("arms", ""), r["metric"], r["ours"], r["says"]] for r in c.claims]
        yield md_table(["claim", "where", "published", "arms here", "metric here", "here", "in words"], rows)


def _preference(c: Content) -> Iterator[str]:
    p = c.preference
    if p is None:
        return
    yield "## What the student preferred"
    if p.cells:
        rows = [[s, *(percent(p.cells[s, t][0]) if (s, t) in p.cells else "–" for t in p.styles)] for s in p.skills]
        yield md_table(["skill", *p.styles], rows, right=range(1, len(p.styles) + 1))
    yield from (md(s) for s in p.sentences)
    for pair in c.pairs:
        margin = f", scores {round(100 * pair['margin'])} points apart" if pair["margin"] is not None else ""
        yield f"A {md(pair['kind'])} pair{margin}; preferred, then not preferred:"
        yield md_block(f"{pair['prompt']}\n→ {pair['chosen']}")
        yield md_block(f"{pair['prompt']}\n→ {pair['rejected']}")


def _written(c: Content) -> Iterator[str]:
    if not c.written:
        return
    yield "## What the teacher wrote"
    rows = [
        [
            w.arm,
            number(w.count),
            number(w.words),
            percent(w.distinct),
            percent(w.answered),
            ", ".join(f"{s} {percent(v)}" for s, v in w.styles) or "–",
        ]
        for w in c.written
    ]
    yield md_table(["arm", "examples", "words each", "different", "right answer", "ways of writing"], rows, right=(1, 2, 3, 4))
    if c.drift:
        yield md(c.drift)
    for w in c.written:
        yield f"### {md(w.title)}"
        if w.judged is not None:
            yield md(f"Ways of writing were recognised by words, which is right for {percent(w.judged)} of the drafts.")
        yield from (md_block(f"{t['prompt']}\n→ {t['completion']}") for t in w.texts)


def _yields(c: Content) -> Iterator[str]:
    if not c.yields:
        return
    yield "## What became of everything that was asked for"
    for arm, steps in c.yields:
        rows = [
            [
                arm,
                s["step"].replace("_", " "),
                number(s["asked"]),
                number(s["parsed"]),
                number(s["kept"]),
                ", ".join(f"{k}: {number(v)}" for k, v in s["dropped"].items()) or "nothing",
            ]
            for s in steps
        ]
        yield md_table(["arm", "step", "asked", "readable", "kept", "dropped"], rows, right=(2, 3, 4))
    if c.probes:
        chosen = [f"{p['skill']} {p['chosen']} of {p['of']}" + (f" and {p['random']} at random" if p["random"] else "") for p in c.probes]
        yield md(f"Probes chosen: {'; '.join(chosen)}. {'. '.join(c.probe_reasons)}.")


def _chains(c: Content) -> Iterator[str]:
    if not c.chains:
        return
    yield "## Where an example comes from"
    for i, link in enumerate(c.chains, 1):
        yield f"Training example {i}: {md(chain_summary(link))}."
        yield md_block("\n".join(_tree(link, 0)))


def _tree(link: Link, depth: int) -> Iterator[str]:
    said = " ".join(plain(link_text(link), longest=160).split())
    yield "  " * depth + f"{link_title(link)}" + (f": {said}" if said and not link.seen_above else "")
    for parent in link.parents:
        yield from _tree(parent, depth + 1)


def _cost(c: Content) -> Iterator[str]:
    if not c.costs:
        return
    yield "## What it cost, per seed"
    head = [
        "arm",
        "teacher calls",
        "teacher tokens",
        "student calls",
        "student tokens",
        "teacher training tokens",
        "student training tokens",
        "model time",
    ]
    keys = ("arm", "teacher_calls", "teacher_tokens", "student_calls", "student_tokens", "trained_teacher", "trained_student", "seconds")
    yield md_table(head, [[r[k] for k in keys] for r in c.costs], right=range(1, 8))
    if c.fits:
        rows = [
            [
                f["seed"],
                f["role"],
                f["step"],
                number(f["examples"]),
                number(f["steps"]),
                number(f["tokens"]),
                f"{f['losses'][0]:.3f} → {f['losses'][-1]:.3f}" if f["losses"] else "–",
                seconds(f["seconds"]),
            ]
            for f in c.fits
        ]
        yield md_table(["seed", "model", "step", "examples", "steps", "tokens", "loss", "time"], rows, right=(3, 4, 5, 6, 7))
    if c.changes:
        rows = [[f["seed"], f["role"], f["name"].replace("_", " "), ratio(f["before"]), ratio(f["after"])] for f in c.changes]
        yield md_table(["seed", "model", "what training changed", "before", "after"], rows, right=(3, 4))


def _sources(c: Content) -> Iterator[str]:
    yield "## Models, data, licences"
    rows = [[m["role"], m["name"], m["family"], m["parameters"], m["licence"], m["id"]] for m in c.models]
    yield md_table(["role", "name", "architecture", "parameters", "licence", "id"], rows, right=(3,))
    task = c.run.task
    splits = ", ".join(f"{s} {number(n)}" for s, n in c.splits)
    facts = [f"{name} {task.get(key, 'unknown')}" for name, key in (("Task", "name"), ("version", "version"), ("licence", "licence"))]
    yield md(", ".join(facts) + "." + (f" Questions: {splits}." if splits else ""))


def _again(c: Content) -> Iterator[str]:
    yield "## How to run it again"
    yield md_block(c.run.about.get("command") or "the command was not recorded")
    told = [f"run {c.summary['identity']}", f"seeds {', '.join(map(str, c.summary['seeds']))}", f"preset {c.summary['preset']}"]
    told += [f"{n} {v}" for n, v in c.versions]
    yield md(", ".join(told) + ".")
    yield "## Words used here"
    yield "\n".join(f"- **{md(w)}**: {md(d)}" for w, d in words.GLOSSARY)
