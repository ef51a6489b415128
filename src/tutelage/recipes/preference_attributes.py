"""Preference-Attributes: which properties of preference pairs help, asked of prompts whose constraints are checked by code.

Kim, Goyal, Zhang, Xiong, Hou, Kambadur, Mahajan, Hajishirzi, Tan 2025, "A Systematic Examination of Preference Learning through the Lens of
Instruction-Following", NAACL 2025, arXiv 2412.15282.

 1. Prompts: questions of the task, each with n_c mutually compatible constraints c_j out of 23 with random parameters, merged into one
    fluent prompt by the teacher; the constraints stay beside it.
 2. Reward: R(y) = (1/|C|) sum_j c_j(y); strict: R(y) = 1. An answer that the task's verifier cannot read has R = 0.
 3. Rejection sampling: M answers at a temperature, scored; two are chosen by the contrast rule.
 4. Tree search: nodes are partial answers, actions segments of text. Select by PUCT, expand w ways, roll each out, back up R. A pair is two
    answers grown from siblings whose values differ enough: they share their parent's text exactly, which is not empty.
 5. Contrast: high (R+ = 1, R+ - R- large), low (0 < R+ - R- small), or half of each.
 6. Difficulty of a prompt: 1 - mean R of the policy before training, over the M answers; easy, moderate and hard are thirds.
 7. DPO from the same policy, up to as many pairs in every arm (how many there were is noted).
 8. Held-out questions with fresh constraints, per n_c: strict rate and mean R of greedy answers, noted (`strict`, `reward`, `strict at N`,
    and the same `before` DPO). The scorecard is of the task's plain test questions: what else the training did.

A policy that follows no instructions first learns what the constraints mean from its own solutions, bent to each constraint with
probability 0.7 (`raised`); it knows five of the 23, in the notation of the bundled world.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from tutelage import steps
from tutelage.card import Arm, Card, Claim, Contrast, Experiment
from tutelage.generate.constrained import bent_to
from tutelage.generate.solutions import solve
from tutelage.generate.trees import grow_trees
from tutelage.lab import Lab, Role
from tutelage.objectives import cross_entropy, dpo
from tutelage.prompts.constrained import LEADS, NOTED, draw_noted, own_notation, parse_merge, render_constrained, render_merge
from tutelage.records import Example, Origin, Pair, Problem, Prompt, Solution
from tutelage.select.contrasts import Chosen, Rule, by_difficulty, pair_of_samples, pair_of_tree
from tutelage.tasks.task import by_skill
from tutelage.train import FitSettings, Fixed, Reference
from tutelage.verify.constraints import constraints as check
from tutelage.verify.constraints import draw_compatible, instruction

CARD = Card(
    title="Preference-Attributes: shared prefix, contrast and difficulty of preference pairs",
    claim="Pairs that share a prefix, differ by mixed contrasts and come from moderately hard prompts teach constraints best.",
    source="Kim et al. 2025, arXiv 2412.15282",
    family="data selection",
    kind="system",
    needs={"teacher": ("generate",), "student": ("generate", "train")},
    steps=("questions", "prompts", "answers", "pairs", "examples"),
    size="prompts",
    size_floor=6,
    arm="tree",
    baseline="rejection",
    control="turned",
    claims=(
        Claim(what="pairs with a shared prefix against independent ones", published="small but consistent gains", where="abstract",
              arms=("tree", "rejection"), metric="note:strict"),
        Claim(what="mixed against low contrast alone", published="high beats low; both mixed are often best", where="abstract",
              arms=("tree", "low"), metric="note:strict"),
        Claim(what="moderately difficult against very hard prompts", published="generalises better", where="abstract",
              arms=("tree", "hard"), metric="note:strict"),
    ),
    deviations=(
        "The task's questions are the content; the paper has 48,000 prompts written for it.",
        "The 23 constraints are those that IFEval checks one by one; the paper's list could not be read.",
        "An answer that the task's verifier cannot read has reward 0, so that empty or evasive ones do not win.",
        "IFEval itself is not run: held-out questions with fresh constraints are.",
        "Values of a tree come from one rollout per new node.",
        "DPO's beta is one for all arms, though pairs with a shared prefix differ in fewer tokens.",
    ),
    demo_arms=("untouched", "rejection", "tree", "turned"),
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    prompts: int = 48000
    """Per skill, at most (abstract)."""
    least: int = 1
    """Constraints per prompt, from; ours."""
    most: int = 9
    """To (1 to 3 easy, 4 to 6 moderate, 7 to 9 hard here); ours."""
    samples: int = 16
    """M, answers per prompt; ours."""
    temperature: float = 1.0
    """Of answers, segments and rollouts; ours."""
    width: int = 4
    """w; ours."""
    depth: int = 10
    """Most segments of an answer that the tree decides on; ours."""
    simulations: int = 50
    """Per prompt; ours."""
    segment_tokens: int = 32
    """Tokens of a segment; ours (the card proposes sentences)."""
    c_puct: float = 1.0
    """Ours."""
    gap: float = 0.2
    """Least difference of the values of siblings; ours."""
    high: float = 0.5
    """Least difference of high contrast; ours."""
    low: float = 0.25
    """Largest difference of low contrast; ours."""
    pairs: int = 15000
    """Per arm, at most; ours (10,000 to 20,000)."""
    beta: float = 0.1
    """Of DPO; ours."""
    dpo: FitSettings = FitSettings(lr=5e-7, batch=64, epochs=1, layout="shared", precision="bf16")  # noqa: RUF009
    """Ours."""
    raised: int = 0
    """Texts per prompt from which a policy without instructions learns what constraints mean; 0 for those that follow them."""
    chance: float = 0.7
    """With which each constraint is met in them; the laptop check's."""
    raising: FitSettings = FitSettings(lr=1e-5, batch=64)  # noqa: RUF009
    """How it learns them; ours."""
    held_out: int = 300
    """Validation questions per skill, with fresh constraints at every n_c; ours."""
    question_temperature: float = 1.0
    """Where questions are drafted; ours, as in ARTE."""
    question_tokens: int = 1024
    """Longest reply to a question prompt; ours."""
    rationale_tokens: int = 1024
    """Longest answer; ours."""
    shots: tuple[int, ...] = (0, 3)
    """Numbers of demonstrations in evaluation of the plain task; ours."""

    search: Literal["tree", "samples", "cut"] = "tree"
    """Where pairs come from: siblings of a tree, independent samples, or a tree's pairs whose rejected answer is exchanged for an
    independent sample of nearly the same reward, which shares no prefix."""
    contrast: Literal["mix", "high", "low"] = "mix"
    """Of the pairs."""
    difficulty: Literal["moderate", "easy", "hard", "all"] = "moderate"
    """Of the prompts."""
    learn: Literal["dpo", "chosen"] = "dpo"
    """Preferences, or fine-tuning on the chosen answers alone."""
    turn: bool = False
    """Control: every second pair is turned round."""
    teach: bool = True
    """False leaves the student untouched."""


LAPTOP: dict[str, Any] = dict(
    prompts=90, most=3, samples=8, width=3, depth=5, simulations=8, segment_tokens=6, low=0.5, high=0.6, gap=0.1, pairs=90, raised=4,
    raising=FitSettings(lr=3e-3, batch=32, epochs=3, schedule="linear", warmup=0.05),
    dpo=FitSettings(lr=3e-4, batch=16, epochs=6, schedule="linear", warmup=0.1, layout="shared"), held_out=10, question_tokens=160,
    rationale_tokens=64, shots=(0, 1),
)  # fmt: skip

TOY: dict[str, Any] = LAPTOP | dict(
    prompts=12, most=2, samples=4, width=3, depth=3, simulations=3, gap=0.0, low=1.0, high=0.4, pairs=6, raised=2, held_out=1,
    raising=FitSettings(lr=4e-3, batch=8, epochs=5), dpo=FitSettings(lr=1e-4, batch=8, epochs=1, layout="shared"), shots=(0,),
    difficulty="all", rationale_tokens=40,
)  # fmt: skip

ARMS: dict[str, Arm] = {
    "untouched": Arm(summary="the student as it is", changes={"teach": False}, needs={"student": ("generate",)}),
    "chosen_only": Arm(summary="fine-tuned on the chosen answers", changes={"learn": "chosen"}),
    "rejection": Arm(summary="pairs of independent samples", changes={"search": "samples"}),
    "tree": Arm(summary="pairs with a shared prefix, contrasts mixed, prompts of middling difficulty"),
    "unshared": Arm(summary="the tree's chosen answers over independent samples", changes={"search": "cut"}),
    "high": Arm(summary="high contrast alone", changes={"contrast": "high"}),
    "low": Arm(summary="low contrast alone", changes={"contrast": "low"}),
    "easy": Arm(summary="easy prompts", changes={"difficulty": "easy"}),
    "hard": Arm(summary="hard prompts", changes={"difficulty": "hard"}),
    "turned": Arm(summary="control: every second pair turned round", changes={"turn": True}, control=True),
}

REPRODUCE = Experiment(
    task="folds/*",
    task_options={"test_seed": 7, "validation_size": 60},
    tune_options={"test_seed": 0},
    teacher="bundled:teacher",
    student="bundled:student",
    settings={"prompts": 200, "simulations": 12, "pairs": 48, "dpo.epochs": 40, "dpo.steps": 40, "dpo.lr": 1e-4, "held_out": 15},
    contrasts=(
        Contrast(claim="Pairs that share a prefix teach constraints better than independent ones.", better="tree", worse="rejection",
                 metric="note:strict", published="small but consistent gains (abstract)"),
        Contrast(claim="Moderately difficult prompts teach more than the hardest.", better="tree", worse="hard", metric="note:strict",
                 published="generalises better (abstract)"),
        Contrast(claim="Mixed contrasts teach more than low contrast alone.", better="tree", worse="low", metric="note:strict",
                 published="high beats low; both mixed are often best (abstract)"),
    ),
    seeds=5,
    shrunk="Five of the 23 constraints, one to three at a time, on questions of the bundled world; 200 prompts a skill, 8 samples or 12 "
    "simulations of width 3, at most 48 pairs and 40 steps of DPO. Measured on 180 held-out prompts.",
    full="tutelage run preference-attributes --preset paper --task gsm8k --teacher openai:MODEL@URL --student hf:MODEL --seeds 5",
)  # fmt: skip


def run(lab: Lab, s: Settings) -> Role:
    teacher, student = lab.teacher if s.teach else None, lab.student

    if teacher is not None:
        questions = steps.training_questions(
            lab, teacher, "questions", wanted=s.prompts, temperature=s.question_temperature, max_tokens=s.question_tokens
        )
        asked = _prompts(lab, s, teacher, student, questions, "prompts", counts=range(s.least, s.most + 1))
        policy = _raised(lab, s, student, asked) if s.raised else student

        answers = _answers(lab, s, policy, asked)
        chosen = _of_difficulty(lab, s, asked, answers)

        pairs = _pairs(lab, s, policy, chosen, answers)

        student = _taught(lab, s, policy, pairs)
        _note_strictness(lab, s, teacher, policy, student)

    lab.evaluate("student", student, shots=s.shots, max_tokens=s.rationale_tokens)
    return student


Asked = tuple[Problem, Prompt]
"""A question whose context holds its constraints, and the prompt that says both."""
Answers = dict[str, list[tuple[str, float]]]
"""By id of the question: answers with their rewards."""


def _prompts(
    lab: Lab, s: Settings, teacher: Role, student: Role, questions: Sequence[Problem], name: str, *, counts: Sequence[int]
) -> list[Asked]:
    """Step 1. Constraints belong to the question, whatever the arm."""
    rng, dialect, own = lab.rng(name), student.wording.dialect, own_notation(student.wording.dialect)
    problems: list[Problem] = []
    for p in questions:
        wanted = draw_compatible(rng, rng.choice(counts), names=NOTED if own else ())
        wanted = [draw_noted(rng, c["name"]) for c in wanted] if own else wanted
        context = {**p.context, "constraints": wanted, "lead": rng.choice(LEADS)}
        problems.append(Problem(text=p.text, answer=p.answer, skill=p.skill, context=context, origin=Origin(step=name, parents=(p.id,))))
    said = [[instruction(c) for c in p.context["constraints"]] for p in problems]
    prompts: list[Prompt | None] = [
        render_constrained(dialect, description=student.wording.description, question=p.text, constraints=p.context["constraints"], said=c,
                           lead=p.context["lead"])
        for p, c in zip(problems, said, strict=True)
    ]  # fmt: skip
    if not own:
        merges = [render_merge(question=p.text, constraints=c) for p, c in zip(problems, said, strict=True)]
        replies = teacher.generate(merges, lab.sampling(f"merge {name}", max_tokens=s.question_tokens))
        merged = [parse_merge(reply[0].text) for reply in replies]
        prompts = [None if text is None else Prompt.user(text, kind="constrained.merged") for text in merged]
    kept = [(p, prompt) for p, prompt in zip(problems, prompts, strict=True) if prompt is not None]
    dropped = {"unparsed": len(problems) - len(kept)} if len(kept) < len(problems) else {}
    lab.tally(name, asked=len(problems), parsed=len(kept), kept=len(kept), dropped=dropped)
    if name == "prompts":
        lab.keep(name, [p for p, _ in kept])
    return kept


def _reward(lab: Lab, problem: Problem, text: str) -> float:
    """Step 2."""
    return check(problem, text).score if lab.task.verify(problem, text).parsed else 0.0


def _raised(lab: Lab, s: Settings, student: Role, asked: Sequence[Asked]) -> Role:
    """What constraints mean, learned from the student's own solutions with edits."""
    rng, problems = lab.rng("bend"), [p for p, _ in asked]
    renders = [student.wording.plain, *(student.wording.technique(t.name, t.instruction) for t in steps.techniques(lab, 3))]
    sampling = lab.sampling("bases", max_tokens=s.rationale_tokens, stop=student.wording.dialect.solution_stop)
    columns = [
        solve(student, problems, render=render, verify=lab.task.verify, sampling=sampling, model_id=student.id, step="bases")
        for render in renders
    ]
    examples = [
        Example(prompt=prompt, completion=bent_to([x.text for x in bases if x.text] or ["=>"], p.context["constraints"], chance=s.chance,
                                                  rng=rng),
                origin=Origin(step="raise", parents=(p.id,), model=student.id))
        for (p, prompt), bases in zip(asked, zip(*columns, strict=True), strict=True)
        for _ in range(s.raised)
    ]  # fmt: skip
    return lab.fit("student", student, Fixed(examples), cross_entropy(), settings=s.raising, step="raise policy")


def _answers(lab: Lab, s: Settings, policy: Role, asked: Sequence[Asked]) -> Answers:
    """Step 3's pool, which step 6 needs in every arm."""
    sampling = lab.sampling("answers", max_tokens=s.rationale_tokens, temperature=s.temperature, n=s.samples,
                            stop=policy.wording.dialect.solution_stop)  # fmt: skip
    found: Answers = {}
    kept: list[Solution] = []
    for (p, prompt), group in zip(asked, policy.generate([prompt for _, prompt in asked], sampling), strict=True):
        texts = [c.text.strip() for c in group]
        found[p.id] = [(text, _reward(lab, p, text)) for text in texts]
        origin = Origin(step="answers", parents=(p.id,), model=policy.id, prompt=prompt.id)
        kept += [Solution(problem=p, text=text, sample=i, origin=origin) for i, text in enumerate(texts)]
    lab.keep("answers", kept)
    return found


def _mean(answers: Sequence[tuple[str, float]]) -> float:
    return sum(r for _, r in answers) / len(answers)


def _of_difficulty(lab: Lab, s: Settings, asked: Sequence[Asked], answers: Answers) -> list[Asked]:
    """Step 6."""
    means = [_mean(answers[p.id]) for p, _ in asked]
    bins = by_difficulty(means)
    facts = {b: {"prompts": bins.count(b), "reward": sum(m for m, c in zip(means, bins, strict=True) if c == b) / max(1, bins.count(b))}
             for b in ("easy", "moderate", "hard")}  # fmt: skip
    lab.note("difficulty", facts)
    return [a for a, b in zip(asked, bins, strict=True) if s.difficulty in ("all", b)]


def _pairs(lab: Lab, s: Settings, policy: Role, asked: Sequence[Asked], answers: Answers) -> list[Pair]:
    """Steps 3 to 5, one pair per prompt at most."""
    rule, roots, dialect, counts = Rule(high=s.high, low=s.low), [], policy.wording.dialect, Counter[str]()
    contrasts = ("high", "low") if s.contrast == "mix" else (s.contrast,)
    if s.search != "samples":
        roots = grow_trees(
            policy, [prompt for _, prompt in asked], reward=lambda i, text: _reward(lab, asked[i][0], text), width=s.width, depth=s.depth,
            simulations=s.simulations, segment_tokens=s.segment_tokens, max_tokens=s.rationale_tokens, c_puct=s.c_puct,
            between=" " if own_notation(dialect) else "",
            draw=lambda name, most, n: lab.sampling(name, max_tokens=most, temperature=s.temperature, n=n, stop=dialect.solution_stop),
        )  # fmt: skip
    pairs: list[Pair] = []
    for place in lab.rng("order of pairs").sample(range(len(asked)), k=len(asked)):  # so that a limit falls on every skill alike
        p, prompt = asked[place]
        for contrast in sorted(contrasts, key=lambda c: counts[c]):
            if counts[contrast] * len(contrasts) >= s.pairs:
                continue
            if s.search == "samples":
                found = pair_of_samples(answers[p.id], contrast, rule)
            else:
                found = pair_of_tree(roots[place], contrast, rule, gap=s.gap)
                found = _unshared(found, answers[p.id]) if s.search == "cut" else found
            if found is not None:
                counts[contrast] += 1
                pairs.append(_pair(p, prompt, found, contrast, turned=s.turn and len(pairs) % 2 == 1))
                break
    none = {"no two answers of that contrast": len(asked) - len(pairs)} if len(pairs) < len(asked) else {}
    lab.tally("pairs", asked=len(asked), parsed=len(asked), kept=len(pairs), dropped=none)
    shared = [len(x.context["shared"]) / max(1, len(x.chosen)) for x in pairs]
    lab.note("pairs", {"pairs": len(pairs), "high": counts["high"], "shared": sum(shared) / max(1, len(shared)),
                       "difference": sum(x.context["rewards"][0] - x.context["rewards"][1] for x in pairs) / max(1, len(pairs)),
                       "chosen": sum(x.context["rewards"][0] for x in pairs) / max(1, len(pairs))})  # fmt: skip
    if not pairs:
        lab.refuse("no prompt gave a pair of that contrast", got=f"0 of {len(asked)}", fix="more samples or simulations, or a wider rule")
    return lab.keep("pairs", pairs)


def _unshared(found: Chosen | None, answers: Sequence[tuple[str, float]]) -> Chosen | None:
    """The tree's chosen answer over the independent sample whose reward is nearest to that of the tree's rejected one."""
    lower = [a for a in answers if found is not None and a[1] < found.chosen[1]]
    if found is None or not lower:
        return None
    return Chosen(chosen=found.chosen, rejected=min(lower, key=lambda a: abs(a[1] - found.rejected[1])))


def _pair(p: Problem, prompt: Prompt, found: Chosen, contrast: str, *, turned: bool) -> Pair:
    better, worse = (found.rejected, found.chosen) if turned else (found.chosen, found.rejected)
    context = {"shared": found.shared, "contrast": contrast, "rewards": [found.chosen[1], found.rejected[1]]}
    return Pair(prompt=prompt, chosen=better[0], rejected=worse[0], kind="answer", context=context,
                margin=found.chosen[1] - found.rejected[1], origin=Origin(step="pairs", parents=(p.id,)))  # fmt: skip


def _taught(lab: Lab, s: Settings, policy: Role, pairs: list[Pair]) -> Role:
    """Step 7."""
    examples = [Example(prompt=x.prompt, completion=x.chosen, origin=Origin(step="examples", parents=(x.id,))) for x in pairs]
    lab.keep("examples", examples)
    if s.learn == "chosen":
        return lab.fit("student", policy, Fixed(examples), cross_entropy(), settings=s.dpo, step="teach")
    return lab.fit("student", policy, Fixed(pairs), dpo(beta=s.beta), targets=Reference(policy), settings=s.dpo, step="teach")


def _note_strictness(lab: Lab, s: Settings, teacher: Role, policy: Role, student: Role) -> None:
    """Step 8, on validation questions, which nothing here was trained on or chosen by; of the policy before DPO too."""
    questions = [p for mine in by_skill(lab.task.validation).values() for p in mine[: s.held_out]]
    sampling = lab.sampling("held out", max_tokens=s.rationale_tokens, stop=student.wording.dialect.solution_stop)
    asked = {n: _prompts(lab, s, teacher, student, questions, f"held out {n}", counts=(n,)) for n in range(s.least, s.most + 1)}
    flat = [(n, p, prompt) for n, mine in asked.items() for p, prompt in mine]
    for when, model in ((" before", policy), ("", student)):
        replies = model.generate([prompt for _, _, prompt in flat], sampling)
        found = [(n, _reward(lab, p, reply[0].text.strip())) for (n, p, _), reply in zip(flat, replies, strict=True)]
        for name, mine in (("", found), *((f" at {n}", [x for x in found if x[0] == n]) for n in asked)):
            lab.note(f"strict{name}{when}", sum(r >= 1 for _, r in mine) / max(1, len(mine)))
        lab.note(f"reward{when}", sum(r for _, r in found) / max(1, len(found)))
