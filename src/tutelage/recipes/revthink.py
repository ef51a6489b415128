"""RevThink: a student that also learns to turn a question round and to solve it backwards answers it better forwards.

Chen, Wang, Palangi, Han, Ebrahimi, Le, Perot, Mishra, Bansal, Lee, Pfister 2024, "Reverse Thinking Makes LLMs Stronger Reasoners",
arXiv 2411.19865.

 1. Forward: the teacher solves Q; keep R_f only where g(R_f) = A.
 2. Backward question: the teacher turns Q round, given A, into Q_b whose right answer is something that Q says.
 3. Backward: the teacher solves Q_b, R_b, with answer A_b.
 4. Consistency: keep the tuple only where a check by (Q, A, Q_b, A_b) says that A_b agrees with Q.
 5. The student learns three mappings with an instruction each, L = 1/(3n) sum_i [l(Q_i -> R_f) + l(Q_i -> Q_b) + l(Q_b -> R_b)], l the mean
    cross-entropy of a target's tokens; the three of one tuple stand in one optimiser step.
 6. Only the forward mapping is used in the test.

A task whose world can turn its own questions round (folds) does steps 2 and 4 itself, and the teacher is not asked: the bundled teacher was
raised on solving and drafting alone. Q_b is then a well-formed question of that world, and its right answer is known.

Every arm but the untouched one learns the questions whose tuples passed step 4 and takes equally many optimiser steps, except that the arm
skd_tokens takes as many more as its tokens allow. What the baselines add stands beside those questions.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from tutelage import rounds, steps
from tutelage.card import Arm, Card, Claim, Contrast, Experiment
from tutelage.generate.inverses import draft_inverses, judge_inverses
from tutelage.generate.solutions import solve
from tutelage.lab import Lab, Role
from tutelage.objectives import cross_entropy
from tutelage.prompts.backward import forward_part, join_targets, render_backward, render_invert, render_label
from tutelage.records import Example, Origin, Problem, Solution
from tutelage.train import FitSettings, Fixed, Lora
from tutelage.train.tied import Tied

CARD = Card(
    title="RevThink: learning to reason backwards",
    claim="A student trained on forward reasoning, inverse questions and backward reasoning together answers plain questions better.",
    source="Chen et al. 2024, arXiv 2411.19865",
    family="data generation",
    kind="system",
    needs={"teacher": ("generate",), "student": ("generate", "train")},
    steps=("questions", "forward", "backward_questions", "backward", "examples"),
    size="examples",
    size_floor=4,
    arm="revthink",
    baseline="skd",
    control="shuffled",
    claims=(
        Claim(
            what="mean of eight data sets, Mistral-7B, RevThink against distillation of rationales",
            published="63.23 against 56.08 (+7.15 points)", where="Table 1", arms=("revthink", "skd"),
        ),
        Claim(
            what="the same against a second right rationale per question",
            published="63.23 against 57.49 (+5.74 points)", where="Table 1", arms=("revthink", "answer_augmentation"),
        ),
        Claim(
            what="the same against new questions", published="63.23 against 56.56 (+6.67 points)", where="Table 1",
            arms=("revthink", "question_augmentation"),
        ),
        Claim(
            what="StrategyQA without the consistency check", published="70.97 to 68.63 (-2.34 points)", where="ablations",
            arms=("revthink", "unfiltered"),
        ),
    ),
    deviations=(
        "Both filters are applied in the open; the released training script filters by forward correctness alone.",
        "Prompt and padding are not charged; the released script charges both.",
        "The options of an inverse question are dealt anew, so that its answer does not keep its letter.",
        "Where the world turns its questions round itself (folds), steps 2 and 4 cost no teacher call and the check is exact.",
        "The teacher draws up to `tries` rationales per question and the first right one is kept; the paper draws one.",
        "All arms take equally many optimiser steps, as many as `epochs` passes over the questions asked; the paper fixes epochs.",
        "The baselines learn the questions of the kept tuples, so that arms differ by what is learned of them; the paper's learn all "
        "questions with a right rationale.",
        "A second rationale is drawn in as many calls as the inverse questions cost (answer_augmentation; skd_calls keeps all of them).",
        "New questions are drafted by the teacher, at most as many per skill as there are tuples.",
        "The demonstrations in the prompts are general ones; the paper writes four (eight for the check) per data set.",
        "Distilling Step-by-Step weighs both of its losses equally and gets the plain prompt in the test.",
        "Rephrasing, and task prefixes in place of instructions, are not among the arms.",
    ),
    version=2,
    demo_arms=("untouched", "skd", "revthink", "question_augmentation", "shuffled"),
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    examples: int = 1000
    """Questions per skill; the paper takes whole training sets (2,000 to 12,000), ours."""
    tries: int = 1
    """Rationales drawn per question, forward and backward; one in the paper."""
    temperature: float = 0.7
    """Of the rationales where several are drawn; ours. A single one is greedy."""
    question_temperature: float = 1.0
    """Where questions are drafted; ours, as in ARTE."""
    tell_answer: bool = True
    """Whether step 2 shows the teacher the right answer: yes in the released script, no in the paper's equation."""
    sft: FitSettings = FitSettings(  # noqa: RUF009
        lr=5e-6, batch=16, epochs=10, weight_decay=0.001, precision="bf16",
        lora=Lora(rank=32, alpha=32.0, dropout=0.05, targets=("q_proj", "v_proj")),
    )  # fmt: skip
    """Rank, epochs (3 for the mathematical sets) and learning rate (Mistral; 2e-4 for Gemma) from Sec. 4, the rest from the released
    script, which adapts queries and values alone; a window of 16 tuples. The epochs set the number of steps of every arm."""
    question_tokens: int = 1024
    """Longest reply to a question prompt; ours."""
    inverse_tokens: int = 512
    """Longest inverse question and longest check; ours."""
    rationale_tokens: int = 512
    """Longest rationale; ours."""
    shots: tuple[int, ...] = (0, 3)
    """Numbers of demonstrations in evaluation; zero in the paper."""

    mappings: tuple[Literal["forward", "question", "backward", "label"], ...] = ("forward", "question", "backward")
    """What the student learns of each tuple (ablation of the paper); `label`, the bare answer, is Distilling Step-by-Step's."""
    together: Literal["tied", "rows", "one_target"] = "tied"
    """The mappings of one tuple in one step, as rows of their own, or as one long target (ablations of the paper)."""
    check: bool = True
    """Step 4."""
    more: Literal["nothing", "answers", "questions"] = "nothing"
    """What the baselines of the paper add: further right rationales of the same questions, or new questions."""
    answers: int = 2
    """Right rationales per question under `more=answers`, at most."""
    equal_tokens: bool = False
    """As many steps more as the inverse texts would have cost."""
    shuffle: bool = False
    """Control: inverse questions and backward rationales dealt out anew within a skill, so that they fit nothing."""
    teach: bool = True
    """False leaves the student untouched."""


LAPTOP: dict[str, Any] = dict(
    examples=60, tries=4, temperature=1.0, sft=FitSettings(lr=4e-3, batch=8, epochs=6, schedule="linear", warmup=0.03),
    question_tokens=160, inverse_tokens=48, rationale_tokens=48, shots=(0, 1),
)  # fmt: skip
"""As in the other recipes; fewer questions, since each is solved twice."""

TOY: dict[str, Any] = LAPTOP | dict(examples=6, tries=4, sft=FitSettings(lr=1e-3, batch=8, epochs=1), shots=(0,))

ALL = ("forward", "question", "backward")
_FORWARD: dict[str, Any] = {"mappings": ("forward",)}

ARMS: dict[str, Arm] = {
    "untouched": Arm(summary="the student as it is", changes={"teach": False}, needs={"student": ("generate",)}),
    "skd": Arm(summary="forward rationales only (symbolic distillation)", changes=_FORWARD),
    "skd_tokens": Arm(summary="forward only, as many tokens as RevThink", changes={**_FORWARD, "equal_tokens": True}),
    "skd_calls": Arm(
        summary="forward only, every right rationale of as many calls", changes={**_FORWARD, "more": "answers", "answers": 99}
    ),
    "step_by_step": Arm(summary="forward and the bare answer (Distilling Step-by-Step)", changes={"mappings": ("forward", "label")}),
    "answer_augmentation": Arm(summary="forward only, two right rationales per question", changes={**_FORWARD, "more": "answers"}),
    "question_augmentation": Arm(summary="forward only, as many new questions as inverse ones", changes={**_FORWARD, "more": "questions"}),
    "revthink": Arm(summary="forward, inverse question and backward together"),
    "with_answers": Arm(summary="RevThink and a second right rationale per question", changes={"more": "answers"}),
    "with_questions": Arm(summary="forward and inverse question", changes={"mappings": ("forward", "question")}),
    "backward_only": Arm(summary="inverse question to backward rationale only", changes={"mappings": ("backward",)}),
    "one_target": Arm(summary="all three written one after another", changes={"together": "one_target"}),
    "rows": Arm(summary="the three mappings as rows of their own", changes={"together": "rows"}),
    "unfiltered": Arm(summary="without the consistency check", changes={"check": False}),
    "shuffled": Arm(summary="control: inverse questions and rationales of other questions", changes={"shuffle": True}, control=True),
}

REPRODUCE = Experiment(
    task="folds/*",
    task_options={"test_seed": 2},
    tune_options={"test_seed": 0},
    teacher="bundled:teacher",
    student="bundled:student",
    contrasts=(
        Contrast(
            claim="RevThink teaches more than the forward rationales of the same questions.", better="revthink", worse="skd",
            control="shuffled", published="+7.15 points (Table 1, Mistral-7B)",
        ),
        Contrast(claim="It does so at an equal number of training tokens.", better="revthink", worse="skd_tokens"),
        Contrast(claim="Backward reasoning alone teaches less than the three together.", better="revthink", worse="backward_only"),
        Contrast(
            claim="It teaches more than a second right rationale per question, drawn in as many calls.", better="revthink",
            worse="answer_augmentation", published="+5.74 points (Table 1, Mistral-7B)",
        ),
    ),
    also=("untouched",),
    shrunk="One size of training set (60 questions per skill) instead of three. The world turns the questions round and checks them: "
    "inverse questions are well-formed forward questions of the same skill here.",
    full="tutelage run revthink --preset paper --task gsm8k --teacher openai:MODEL@URL --student hf:MODEL --seeds 5",
)  # fmt: skip


def run(lab: Lab, s: Settings) -> Role:
    teacher, student = lab.teacher if s.teach else None, lab.student

    if teacher is not None:
        questions = steps.training_questions(
            lab, teacher, "questions", wanted=s.examples, temperature=s.question_temperature, max_tokens=s.question_tokens
        )
        forward = _solved(lab, s, teacher, questions, "forward", keep="right")
        first = {x.problem.id: x for x in reversed(forward)}
        solved = [first[p.id] for p in questions if p.id in first]
        inverses = _turned_round(lab, s, teacher, solved)
        backward = _answered_backward(lab, s, teacher, solved, inverses)
        tuples = [(x, inverses[x.problem.id], backward[x.problem.id]) for x in solved if x.problem.id in backward]
        if not tuples:
            lab.refuse("no inverse question was answered consistently", got=f"kept 0 of {len(solved)}", fix="a stronger teacher")

        bundles = _bundles(lab, s, student, _dealt(lab, tuples) if s.shuffle else tuples)
        updates = max(1, math.ceil(len(questions) / s.sft.batch) * s.sft.epochs)
        if s.equal_tokens:
            updates = round(updates * _characters(_bundles(lab, replace(s, mappings=ALL), student, tuples)) / max(1, _characters(bundles)))
        if s.more != "nothing":
            more = _further(lab, s, teacher, forward, tuples) if s.more == "answers" else _new_questions(lab, s, teacher, questions, tuples)
            bundles += [[_example("forward", student.wording.plain(x.problem), x.text, x)] for x in more]
        student = _teach(lab, s, student, bundles, max(1, updates))

    read = None if s.together != "one_target" else lambda text: forward_part(lab.student.wording.dialect, text)
    lab.evaluate("student", student, shots=s.shots, max_tokens=s.rationale_tokens, read=read)
    return student


def _solved(lab: Lab, s: Settings, teacher: Role, problems: list[Problem], name: str, *, keep: str) -> list[Solution]:
    greedy = s.tries == 1
    return steps.sampled_solutions(
        lab, teacher, problems, keep=keep, tries=s.tries, temperature=0.0 if greedy else s.temperature, max_tokens=s.rationale_tokens,
        name=name,
    )  # fmt: skip


def _turned_round(lab: Lab, s: Settings, teacher: Role, solved: list[Solution]) -> dict[str, Problem]:
    """Step 2: problem id -> its inverse question."""
    problems = [x.problem for x in solved]
    if lab.task.invert is not None:
        found = [lab.task.invert(p) for p in problems]
    else:
        found = draft_inverses(
            teacher, problems, dialect=teacher.wording.dialect, description=teacher.wording.description, teacher_id=teacher.id,
            sampling=lab.sampling("backward_questions", max_tokens=s.inverse_tokens), rng=lab.rng("options"), tell_answer=s.tell_answer,
        )  # fmt: skip
    leaks = iter(lab.leaks([q.text for q in found if q is not None]))
    dropped: dict[str, int] = {}
    kept: dict[str, Problem] = {}
    for problem, inverse in zip(problems, found, strict=True):
        reason = "cannot be turned round" if inverse is None else next(leaks)
        if reason is None and inverse is not None:
            kept[problem.id] = inverse
        else:
            dropped[reason or ""] = dropped.get(reason or "", 0) + 1
    lab.tally("backward_questions", asked=len(problems), parsed=sum(q is not None for q in found), kept=len(kept), dropped=dropped)
    lab.keep("backward_questions", list(kept.values()))
    return kept


def _answered_backward(lab: Lab, s: Settings, teacher: Role, solved: list[Solution], inverses: dict[str, Problem]) -> dict[str, Solution]:
    """Steps 3 and 4: problem id -> the kept backward solution of its inverse question."""
    of = {q.id: x.problem for x in solved if (q := inverses.get(x.problem.id)) is not None}
    exact = lab.task.invert is not None
    drawn = _solved(lab, s, teacher, [inverses[p.id] for p in of.values()], "backward", keep="right" if exact and s.check else "any")
    first = {x.problem.id: x for x in reversed(drawn)}
    mine = [first[q] for q in of if q in first]
    if s.check and not exact:
        judged = judge_inverses(
            teacher, [of[x.problem.id] for x in mine], mine, sampling=lab.sampling("consistency", max_tokens=s.inverse_tokens)
        )
        dropped = {"inconsistent": judged.count(False), "unreadable check": judged.count(None)}
        agreed = [x for x, said in zip(mine, judged, strict=True) if said]
        lab.tally(
            "consistency", asked=len(mine), parsed=len(mine) - judged.count(None), kept=len(agreed),
            dropped={reason: n for reason, n in dropped.items() if n},
        )  # fmt: skip
        mine = agreed
    return {of[x.problem.id].id: x for x in mine}


def _further(lab: Lab, s: Settings, teacher: Role, forward: list[Solution], tuples: Sequence[Tuple]) -> list[Solution]:
    """Baseline: other right rationales of the same questions, out of as many draws more as the inverse questions cost calls."""
    problems = [x.problem for x, _, _ in tuples]
    drawn = solve(
        teacher, problems, render=teacher.wording.plain, verify=lab.task.verify, model_id=teacher.id, step="further",
        sampling=lab.sampling("further", max_tokens=s.rationale_tokens, temperature=s.temperature,
                              n=s.tries + (0 if lab.task.invert is not None else 2), stop=teacher.wording.dialect.solution_stop),
    )  # fmt: skip
    seen = {(x.problem.id, x.text) for x, _, _ in tuples}
    held, dropped, kept = Counter(p.id for p in problems), Counter[str](), []
    candidates = [x for x in forward if x.problem.id in held and (x.problem.id, x.text) not in seen] + drawn
    for x in candidates:
        if not rounds.is_right(lab, x):
            dropped["not right"] += 1
        elif (x.problem.id, x.text) in seen:
            dropped["same text again"] += 1
        elif held[x.problem.id] >= s.answers:
            dropped["more than needed"] += 1
        else:
            seen.add((x.problem.id, x.text))
            held[x.problem.id] += 1
            kept.append(x)
    lab.tally("further", asked=len(candidates), parsed=sum(x.answer is not None for x in candidates), kept=len(kept), dropped=dropped)
    return lab.keep("further", kept)


def _new_questions(lab: Lab, s: Settings, teacher: Role, questions: list[Problem], tuples: Sequence[Tuple]) -> list[Solution]:
    """Baseline: new questions from the teacher with a right rationale each, per skill at most as many as there are tuples."""
    drafted = steps.draft_questions(
        lab, teacher, "new_questions", wanted=s.examples, temperature=s.question_temperature, max_tokens=s.question_tokens
    ).problems
    known = {p.text for p in questions}
    found = _solved(lab, s, teacher, [p for p in drafted if p.text not in known], "new", keep="right")
    first = list({x.problem.id: x for x in reversed(found)}.values())[::-1]
    room = Counter(x.problem.skill for x, _, _ in tuples)
    return [x for skill, n in room.items() for x in [x for x in first if x.problem.skill == skill][:n]]


Tuple = tuple[Solution, Problem, Solution]


def _dealt(lab: Lab, tuples: list[Tuple]) -> list[Tuple]:
    """The control: each forward solution with the inverse question of another, each of those with the backward rationale of a third."""
    out: list[Tuple] = []
    for skill in dict.fromkeys(x.problem.skill for x, _, _ in tuples):
        mine = [t for t in tuples if t[0].problem.skill == skill]
        lab.rng("deal", skill).shuffle(mine)
        rolled = zip(mine, mine[1:] + mine[:1], mine[2:] + mine[:2], strict=True)
        out += [(a[0], b[1], replace(c[2], problem=b[1])) for a, b, c in rolled]
    return out


def _bundles(lab: Lab, s: Settings, student: Role, tuples: Sequence[Tuple]) -> list[list[Example]]:
    """Step 5: the views of each tuple, those of the mappings asked for."""
    wording = student.wording
    bundles = []
    for forward, inverse, backward in tuples:
        views = {
            "forward": (wording.plain(forward.problem), forward.text),
            "question": (render_invert(wording.dialect, description=wording.description, question=forward.problem.text), inverse.text),
            "backward": (
                render_backward(
                    wording.dialect, description=wording.description, answer_format=wording.answer_format, question=inverse.text
                ),
                backward.text,
            ),
            "label": (
                render_label(
                    wording.dialect, description=wording.description, answer_format=wording.answer_format, question=forward.problem.text
                ),
                lab.task.answer_only(forward.problem.answer or ""),
            ),
        }
        chosen = {name: views[name] for name in s.mappings}
        if s.together == "one_target":
            whole = join_targets(wording.dialect, forward=forward.text, question=inverse.text, backward=backward.text)
            chosen = {"forward": (views["forward"][0], whole)}
        bundles.append([_example(name, prompt, text, forward, backward) for name, (prompt, text) in chosen.items()])
    return bundles


def _example(mapping: str, prompt: Any, text: str, *sources: Solution) -> Example:
    origin = Origin(step="examples", parents=tuple(x.id for x in sources), model=sources[0].origin.model if sources[0].origin else None)
    context = {"skill": sources[0].problem.skill, "technique": sources[0].technique, "mapping": mapping}
    return Example(prompt=prompt, completion=text, context=context, origin=origin)


def _characters(bundles: list[list[Example]]) -> int:
    return sum(len(e.prompt.text) + len(e.completion) for b in bundles for e in b)


def _teach(lab: Lab, s: Settings, student: Role, bundles: list[list[Example]], updates: int) -> Role:
    """`updates` windows of `batch` questions, however their views are laid out."""
    lab.rng("examples").shuffle(bundles)
    examples = lab.keep("examples", [e for b in bundles for e in b])
    per_pass = math.ceil(len(bundles) / s.sft.batch)
    lab.note("training_characters", round(_characters(bundles) * updates / max(1, per_pass)))
    settings = replace(s.sft, epochs=updates, steps=updates)  # a pass is at least one update
    if s.together == "rows":
        wide = replace(settings, batch=s.sft.batch * len(s.mappings))
        return lab.fit("student", student, Fixed(examples), cross_entropy(per="sequence"), settings=wide, step="teach")
    return lab.fit("student", student, Tied(bundles), cross_entropy(per="sequence"), settings=settings, step="teach")
