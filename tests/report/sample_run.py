"""A small but complete run folder, made of real records: what a report is tested on. Nothing in it is a result."""

from __future__ import annotations

import random
from functools import cache
from pathlib import Path
from typing import Any

import orjson

from tutelage.measure import preference_reliability
from tutelage.records import Example, Feedback, ModelRef, Origin, Pair, Problem, Prompt, Record, Scorecard, Solution, encode

SKILLS = ("last digit of sum", "cups")
STYLES = ("steps", "terse", "posthoc")
ARMS = {
    "untouched": ("the student as it is", False, {0: 0.22, 1: 0.62}),
    "original_teacher": ("taught by the unaligned teacher", False, {0: 0.24, 1: 0.50}),
    "arte": ("taught by the teacher aligned to this student", False, {0: 0.60, 1: 0.55}),
    "verified_sampling": ("unaligned teacher, only right rationales kept", False, {0: 0.66, 1: 0.57}),
    "shuffled": ("control: ARTE on shuffled scores", True, {0: 0.24, 1: 0.49}),
}
TEACHER = ModelRef(name="bundled:teacher", digest="b2-aaaa")
STUDENT = ModelRef(name="bundled:student", digest="b2-bbbb")
TEST_ITEMS = 120


def write_run(
    folder: Path,
    *,
    seeds: tuple[int, ...] = (0, 1, 2),
    arms: tuple[str, ...] = tuple(ARMS),
    skip: tuple[tuple[int, str], ...] = (),
    cut: tuple[tuple[int, str], ...] = (),
    refused: tuple[tuple[int, str], ...] = (),
    hostile: str = "",
    preset: str = "laptop",
    levels: dict[str, dict[int, float]] | None = None,
) -> Path:
    """`skip` leaves (seed, arm) out, `cut` ends its events in the middle of a line, `refused` stops it at a quality gate; `hostile` is
    put into every text that a model could have written. `levels` overrides the accuracy of arms by shots."""
    about = {
        "id": "b2-7f3a0000000000000000000000000000",
        "identity": {"recipe": "arte", "seeds": list(seeds)},
        "recipe": "arte",
        "title": "ARTE: aligning the teacher with the student's preferences",
        "card": {
            "title": "ARTE: aligning the teacher with the student's preferences",
            "claim": "A teacher tuned on what helps one student as a demonstration writes data from which that student learns more.",
            "source": "Liu et al. 2024, arXiv 2406.19227",
            "steps": ["drafts", "draft_solutions", "probes", "liked", "pairs", "tailored_questions", "tailored_solutions", "examples"],
            "arm": "arte",
            "baseline": "original_teacher",
            "control": "shuffled",
            "kind": "system",
            "claims": [
                {
                    "what": "BBH, ARTE against the unaligned teacher",
                    "published": "41.96 against 37.55 (+4.41 points)",
                    "where": "Table 2, zero-shot",
                    "arms": ["arte", "original_teacher"],
                    "metric": "accuracy, 0-shot",
                },
                {
                    "what": "BBH, the same with examples in view",
                    "published": "43.44 against 40.04 (+3.40 points)",
                    "where": "Table 2, three-shot",
                    "arms": ["arte", "original_teacher"],
                    "metric": "accuracy, 1-shot",
                },
                {
                    "what": "BBH, aligned questions alone",
                    "published": "41.73 against 37.55",
                    "where": "Table 2",
                    "arms": ["question_only", "original_teacher"],
                    "metric": "accuracy, 0-shot",
                },
            ],
            "deviations": ["Pairs without a margin are dropped."],
            "doc": "1. The teacher drafts questions.\n2. It writes rationales.",
        },
        "settings": {
            "drafts": 30,
            "rationales": 3,
            "dpo": {"lr": 3e-4, "epochs": 8},
            "shots": [0, 1],
            "align_anyway": False,
            "limit": None,
        },
        "arms": {a: {"summary": ARMS[a][0], "changes": {}, "control": ARMS[a][1]} for a in arms},
        "seeds": list(seeds),
        "preset": preset,
        "task": {
            "name": "folds/shop",
            "version": "1",
            "licence": "Apache-2.0",
            "chance": 0.18,
            "description": "Small records, folded step by step.",
            "splits": {"seed": 12, "train": 0, "validation": 80, "test": TEST_ITEMS},
            "dropped": {"duplicate": 2},
            "skills": list(SKILLS),
        },
        "models": {
            "teacher": _model(TEACHER, 451_000),
            "student": _model(STUDENT, 156_000),
        },
        "command": "tutelage run arte --task folds/shop --seeds 3",
        "versions": {"tutelage": "0.1.0", "torch": "2.13.0"},
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "run.json").write_bytes(orjson.dumps(about, option=orjson.OPT_INDENT_2))
    _whole(folder / "task" / "seed.jsonl", _lines(seed_problems()))
    for seed in seeds:
        for arm in arms:
            if (seed, arm) not in skip:
                level = (levels or {}).get(arm) or ARMS[arm][2]
                for name, body in _arm(seed, arm, hostile, refused=(seed, arm) in refused, levels=tuple(level.items())).items():
                    torn = name == "events.jsonl" and (seed, arm) in cut
                    _whole(folder / "seeds" / str(seed) / arm / name, body[: len(body) // 2] if torn else body)
    return folder


def _model(ref: ModelRef, parameters: int) -> dict[str, Any]:
    facts = {
        "family": "LlamaForCausalLM",
        "parameters": parameters,
        "context_tokens": 512,
        "licence": "Apache-2.0",
        "capabilities": ["generate", "train"],
    }
    return {"name": ref.name, "id": ref.id, "facts": facts}


@cache
def seed_problems() -> list[Problem]:
    return [Problem(text=f"seed question {i} of {s} ?", answer=str(i), skill=s) for s in SKILLS for i in range(4)]


def _lines(records: list[Any]) -> bytes:
    return b"".join(encode(r) + b"\n" for r in records)


def _whole(path: Path, body: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(body)


@cache  # most tests look at the same arms
def _arm(seed: int, arm: str, hostile: str, *, refused: bool, levels: tuple[tuple[int, float], ...]) -> dict[str, bytes]:
    """The files of one arm by name."""
    files: dict[str, bytes] = {}
    events = _happen(seed, arm, hostile, files, refused=refused, levels=levels)
    return {**files, "events.jsonl": b"".join(orjson.dumps(e, option=orjson.OPT_APPEND_NEWLINE) for e in events)}


def _happen(
    seed: int, arm: str, hostile: str, files: dict[str, bytes], *, refused: bool, levels: tuple[tuple[int, float], ...]
) -> list[dict[str, Any]]:
    rng = random.Random(f"{seed} {arm}")
    events: list[dict[str, Any]] = [{"event": "start", "at_s": 0.0}]

    def keep(name: str, records: list[Any]) -> list[Any]:
        files[f"records/{name}.jsonl"] = _lines(records)
        events.append({"event": "keep", "name": name, "type": type(records[0]).__name__, "count": len(records)})
        return records

    writer = TEACHER.id
    if arm in ("arte", "shuffled"):
        writer = _prefer(rng, keep, events, hostile)
        if refused:
            gate = {"message": "the student's preference is too noisy to align by", "got": "0.31 within a skill", "fix": "more probes"}
            return [*events, {"event": "refused", **gate}]
    if arm != "untouched":
        weights = {"arte": (90, 6, 4), "verified_sampling": (80, 12, 8)}.get(arm, (34, 33, 33))
        questions = keep(
            "tailored_questions",
            [
                Problem(
                    text=f"{s} Mon {rng.randrange(10)} Tue {rng.randrange(10)} ? #{i}{hostile}",
                    answer=str(i % 10),
                    skill=s,
                    origin=Origin(step="draft_questions", parents=(seed_problems()[0].id,), model=writer, prompt="b2-prompt"),
                )
                for s in SKILLS
                for i in range(20)
            ],
        )
        solutions = keep(
            "tailored_solutions",
            [
                Solution(
                    problem=q,
                    text=_text(style, q) + hostile,
                    answer=q.answer if rng.random() < 0.8 else "x",
                    origin=Origin(step="solve", parents=(q.id,), model=writer),
                )
                for q in questions
                for style in rng.choices(STYLES, weights)
            ],
        )
        keep(
            "examples",
            [
                Example(
                    prompt=Prompt.user(f"Q : {x.problem.text}\nA :"),
                    completion=x.text,
                    context={"skill": x.problem.skill},
                    origin=Origin(step="examples", parents=(x.id,), model=writer),
                )
                for x in solutions
            ],
        )
        events.append({"event": "note", "name": "styles_written", "value": dict(zip(STYLES, weights, strict=True))})
        events.append(_fit("student", "teach", "b2-student", 40))
    cards = []
    for shots, level in levels:
        level = min(1.0, max(0.0, level + rng.gauss(0, 0.02)))
        scores = tuple(float(k < round(level * TEST_ITEMS)) for k in range(TEST_ITEMS))
        cards.append(
            Scorecard(
                name="student",
                task="folds/shop",
                task_version="1",
                model="b2-m",
                value=sum(scores) / TEST_ITEMS,
                n=TEST_ITEMS,
                parsed=0.97,
                shots=shots,
                items=tuple(f"item {k}" for k in range(TEST_ITEMS)),
                scores=scores,
                by_skill=dict.fromkeys(SKILLS, level),
                fingerprint=f"f{shots}",
                seed=seed,
                arm=arm,
            )
        )
        events.append(
            {
                "event": "scorecard",
                "name": "student",
                "value": cards[-1].value,
                "n": TEST_ITEMS,
                "parsed": 0.97,
                "shots": shots,
                "metric": "accuracy",
                "fingerprint": f"f{shots}",
            }
        )
    calls = {"untouched": 0, "arte": 260, "shuffled": 260, "verified_sampling": 180}.get(arm, 60)
    if calls:
        events.append(
            {
                "event": "cost",
                "role": "teacher",
                "step": "all",
                "calls": calls,
                "prompt_tokens": 40 * calls,
                "completion_tokens": 22 * calls,
                "physical_calls": calls - 7,
                "seconds": 0.03 * calls,
            }
        )
    events.append(
        {
            "event": "cost",
            "role": "student",
            "step": "all",
            "calls": 2160,
            "prompt_tokens": 90_000,
            "completion_tokens": 30_000,
            "physical_calls": 1800,
            "seconds": 9.5,
        }
    )
    keep("scorecards", cards)
    return [*events, {"event": "done"}]


def _text(style: str, q: Problem) -> str:
    return {"steps": "Mon 8 8 ; Tue 3 1 => ", "terse": "=> ", "posthoc": "=> since Mon 8 "}[style] + str(q.answer)


def _fit(role: str, step: str, ref: str, examples: int) -> dict[str, Any]:
    log = [{"step": k, "loss": 2.0 / (1 + k)} for k in range(24)]
    return {
        "event": "fit",
        "role": role,
        "step": step,
        "key": f"b2-key-{role}",
        "ref": ref,
        "parent": "b2-m",
        "examples": examples,
        "tokens": examples * 300,
        "steps": 24,
        "seconds": 6.25,
        "log": log,
        "metrics": {"before": {"win_rate": 0.5}, "after": {"win_rate": 0.93}},
    }


def _prefer(rng: random.Random, keep: Any, events: list[dict[str, Any]], hostile: str) -> str:
    drafts = keep(
        "drafts",
        [
            Problem(
                text=f"{s} Mon {i} Tue {rng.randrange(10)} ?{hostile}",
                answer=str(i),
                skill=s,
                origin=Origin(step="draft_questions", parents=tuple(p.id for p in seed_problems() if p.skill == s)[:3], model=TEACHER.id),
            )
            for s in SKILLS
            for i in range(10)
        ],
    )
    solutions = keep(
        "draft_solutions",
        [
            Solution(
                problem=q,
                text=_text(style, q) + hostile,
                answer=q.answer,
                technique=style,
                origin=Origin(step="draft_solutions", parents=(q.id,), model=TEACHER.id),
            )
            for q in drafts
            for style in STYLES
        ],
    )
    probes = keep("probes", [Problem(text=f"probe {k} of {s}", answer="1", skill=s) for s in SKILLS for k in range(12)])
    worth = {"steps": 0.75, "terse": 0.25, "posthoc": 0.2}
    liked = []
    for x in solutions:
        parts = tuple(float(rng.random() < worth[x.technique]) for _ in range(12))
        mine = tuple(p.id for p in probes if p.skill == x.problem.skill)
        liked.append(
            Feedback(
                item=x.id,
                signal="one_shot",
                value=sum(parts) / 12,
                n=12,
                parts=parts,
                model=STUDENT.id,
                origin=Origin(step="one_shot", parents=(x.id, *mine), model=STUDENT.id),
            )
        )
    keep("liked", liked)
    found = preference_reliability(
        [f.parts for f in liked],
        skills=[x.problem.skill for x in solutions],
        styles=[x.technique for x in solutions],
        rng=random.Random(0),
        splits=10,
    )
    events.append({"event": "note", "name": "reliability", "value": orjson.loads(orjson.dumps(found))})
    events.append(
        {
            "event": "note",
            "name": "probes",
            "value": {
                "configurations": 8,
                "by_skill": {
                    SKILLS[0]: {
                        "method": "point_biserial",
                        "why": "8 distinct rows are too few",
                        "chosen_by_discrimination": 11,
                        "drawn_at_random": 1,
                        "of": 40,
                    }
                },
            },
        }
    )
    by_problem: dict[str, list[tuple[Solution, Feedback]]] = {}
    for x, f in zip(solutions, liked, strict=True):
        by_problem.setdefault(x.problem.id, []).append((x, f))
    pairs = []
    for group in by_problem.values():
        best, worst = max(group, key=lambda g: g[1].value), min(group, key=lambda g: g[1].value)
        if best[1].value > worst[1].value:
            pairs.append(
                Pair(
                    prompt=Prompt.user(f"Q : {best[0].problem.text}\nA :"),
                    chosen=best[0].text,
                    rejected=worst[0].text,
                    kind="rationale",
                    margin=best[1].value - worst[1].value,
                    context={"chosen": best[0].technique, "rejected": worst[0].technique},
                    origin=Origin(step="best_worst_pairs", parents=(best[0].id, worst[0].id)),
                )
            )
    keep("pairs", pairs)
    events.append(
        {
            "event": "yield",
            "step": "drafts",
            "asked": 30,
            "parsed": 25,
            "kept": 20,
            "dropped": {"repeat": 5, "reply without a readable item": 5},
        }
    )
    events.append({"event": "yield", "step": "draft_solutions", "asked": 60, "parsed": 58, "kept": 60, "dropped": {}})
    events.append(
        {"event": "yield", "step": "pairs", "asked": 20, "parsed": 20, "kept": len(pairs), "dropped": {"margin at most 0": 20 - len(pairs)}}
    )
    events.append(_fit("teacher", "align", "b2-aligned", len(pairs)))
    return "b2-aligned"


def all_records(folder: Path) -> list[Record]:
    from tutelage.records import decode

    return [decode(line) for path in sorted(folder.rglob("records/*.jsonl")) for line in path.read_bytes().splitlines()]
