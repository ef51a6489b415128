"""CFT: a student that learns to criticise many solutions of one single problem solves other problems better.

Wang, Nie, Zou, Wu, Chen 2025, "Unleashing the Reasoning Potential of Pre-trained LLMs by Critique Fine-Tuning on One Problem",
arXiv 2506.03295.

 1. Of the problems at hand choose the one x that the student solves closest to half the time, over many draws.
 2. Several generators draw candidate solutions y of x, right and wrong ones.
 3. The critics write a critique c of every candidate: concepts and approach, a check of every step, a correction with the right answer, a
    verdict.
 4. Drop critiques whose verdict contradicts whether y is right, or whose own answer is not the right one; then the longest and shortest
    until the number wanted is left.
 5. Fine-tune the student on (x, y) -> c; only c is charged.
 6. Of several lengths of training the one that does best on validation problems is taken; all are noted.
 7. In the test the student gets the ordinary prompt and writes a solution, not a critique.

Generators are the student and the models given with --pool (for the bundled student: earlier states of it). A critic that follows no
instructions, as the bundled teacher, works the problem itself under the task's first technique, one draw per critique; laid beside the
candidate, that work becomes the critique (`prompts.critique.critique_by_own_work`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from tutelage import rounds, steps
from tutelage.card import Arm, Card, Claim, Contrast, Experiment
from tutelage.generate.solutions import solve
from tutelage.lab import Lab, Role
from tutelage.objectives import cross_entropy
from tutelage.prompts.critique import (
    critique_by_own_work,
    looks_like_a_critique,
    parse_critique,
    render_critique,
    render_learned,
    verdict_alone,
    writes_critiques,
)
from tutelage.records import Example, Feedback, Origin, Problem, Prompt, Solution
from tutelage.train import FitSettings, Fixed

CARD = Card(
    title="CFT: critique fine-tuning on one problem",
    claim="Learning to criticise many solutions of one problem brings out more skill than learning right solutions of that problem.",
    source="Wang et al. 2025, arXiv 2506.03295",
    family="objective",
    kind="system",
    needs={"teacher": ("generate",), "student": ("generate", "train")},
    steps=("questions", "difficulty", "candidates", "critiques", "examples"),
    size="candidates",
    size_floor=4,
    arm="cft",
    baseline="sft_one",
    control="verdict_only",
    claims=(
        Claim(what="mean of six mathematics benchmarks, Qwen2.5-Math-7B, CFT on one problem against the base",
              published="42.2 against 27.3 (+14.9 points; +10.0 against the base with a tuned prompt)", where="Table 1",
              arms=("cft", "untouched")),
        Claim(what="the same against fine-tuning on right solutions of the same problem", published="42.2 against 22.9 (+19.3 points)",
              where="Table 1", arms=("cft", "sft_one")),
        Claim(what="the same with ten generators against one", published="42.2 against 38.7 (+3.5 points)", where="ablations",
              arms=("cft", "one_generator")),
    ),
    deviations=(
        "One teacher criticises each candidate `critics` times instead of seven teachers once.",
        "Difficulty is graded by the task's verifier, right or wrong, not by a model with half marks.",
        "A length of training is a fit of its own instead of a checkpoint of one fit; with a constant rate the two are the same.",
        "The end marker of a critique is cut off: a student ends with its own end-of-text token.",
        "Format drift is measured: the share of validation answers that read like a critique is noted.",
        "Without --pool and earlier states of the student it generates alone: cft then equals one_generator, which the journal notes.",
        "The prompt-tuned base is the untouched student under the wording, plain or of a technique, that does best on validation problems.",
        "Fine-tuning on many problems (sft_many) has as many solutions as CFT has critiques, not 40,900.",
    ),
    demo_arms=("untouched", "sft_one", "cft", "verdict_only"),
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    problems: int = 1
    """Seed problems; more than one is the paper's merged variant."""
    considered: int = 4
    """Problems per skill among which the seed is chosen; the paper compares four."""
    attempts: int = 100
    """Draws of the student per considered problem (Sec. 4)."""
    candidates: int = 100
    """Solutions per seed problem (Sec. 2.1)."""
    critics: int = 7
    """Critiques per candidate (Sec. 2.1)."""
    wanted: int = 600
    """Critiques trained on per seed problem, at most (App. A.3)."""
    temperature: float = 1.0
    """Of generators and critics; above 0 in the paper, ours."""
    question_temperature: float = 1.0
    """Where questions are drafted; ours, as in ARTE."""
    sft: FitSettings = FitSettings(lr=5e-6, batch=512, epochs=50, schedule="cosine", warmup=0.1, weight_decay=0.05, precision="bf16")  # noqa: RUF009
    """Sec. 2.2; weight decay, batch and epochs from the released scripts."""
    lengths: tuple[int, ...] = (20, 30, 40, 50)
    """Steps of training to choose among (best region in the case study: 20 to 50)."""
    validation: int = 500
    """Validation problems, in all, by which the length is chosen (Sec. 3.2)."""
    question_tokens: int = 1024
    """Longest reply to a question prompt; ours."""
    critique_tokens: int = 2048
    """Longest critique; ours (the paper's have about 800 tokens on average)."""
    rationale_tokens: int = 512
    """Longest solution; ours."""
    shots: tuple[int, ...] = (0, 3)
    """Numbers of demonstrations in evaluation; zero in the paper."""

    learn: Literal["critiques", "verdicts", "solutions", "answers"] = "critiques"
    """What the student is trained on: critiques, their verdicts alone, right solutions of the problem, or its answer over and over."""
    check: bool = True
    """Step 4's first half."""
    generators: int | None = None
    """How many generators draw, the student first; None for all."""
    deal: bool = False
    """Each candidate gets the critique of another one."""
    many: bool = False
    """Right solutions of as many different problems instead of one."""
    wordings: bool = False
    """The untouched student, asked in the wording that does best on validation problems (the prompt-tuned base)."""
    teach: bool = True
    """False leaves the student untouched."""


LAPTOP: dict[str, Any] = dict(
    attempts=16, candidates=60, critics=2, wanted=100, sft=FitSettings(lr=1e-3, batch=16, epochs=50),
    lengths=(10, 20, 40), validation=80, question_tokens=160, critique_tokens=64, rationale_tokens=48, shots=(0, 1),
)  # fmt: skip
"""Small steps: with 4e-3, as in the other recipes, the student forgets how to answer."""

TOY: dict[str, Any] = LAPTOP | dict(
    problems=2, considered=2, attempts=4, candidates=6, critics=1, wanted=6, sft=FitSettings(lr=5e-4, batch=4, epochs=2),
    lengths=(1, 2), validation=4, shots=(0,),
)  # fmt: skip

ARMS: dict[str, Arm] = {
    "untouched": Arm(summary="the student as it is", changes={"teach": False}, needs={"student": ("generate",)}),
    "prompted": Arm(summary="the same, asked in the best of several wordings", changes={"teach": False, "wordings": True},
                    needs={"student": ("generate",)}),
    "sft_one": Arm(summary="taught by right solutions of the one problem", changes={"learn": "solutions"}),
    "sft_many": Arm(summary="taught by as many right solutions of different problems", changes={"learn": "solutions", "many": True}),
    "answer_repeated": Arm(summary="taught by the one problem's answer over and over", changes={"learn": "answers"}),
    "cft": Arm(summary="taught by critiques of one problem's solutions"),
    "one_generator": Arm(summary="CFT on candidates of the student alone", changes={"generators": 1}),
    "unfiltered": Arm(summary="CFT without the check of critiques", changes={"check": False}),
    "dealt": Arm(summary="CFT with critiques of other candidates", changes={"deal": True}),
    "verdict_only": Arm(summary="control: taught by the verdicts without their reasons", changes={"learn": "verdicts"}, control=True),
}  # fmt: skip

REPRODUCE = Experiment(
    task="folds/*",
    task_options={"test_seed": 4, "validation_size": 20},
    tune_options={"test_seed": 0},
    teacher="bundled:teacher",
    student="bundled:student",
    contrasts=(
        Contrast(
            claim="Critiques of one problem's solutions bring out skill that the student has.", better="cft", worse="untouched",
            control="verdict_only", published="+14.9 points (Table 1); +10.0 against a tuned base",
        ),
        Contrast(
            claim="They bring out more than right solutions of the same problem.", better="cft", worse="sft_one",
            published="+19.3 points (Table 1)",
        ),
        Contrast(claim="More generators help.", better="cft", worse="one_generator", published="+3.5 points", rule=False),
    ),
    also=("answer_repeated", "dealt"),
    shrunk="60 candidates and 120 critiques instead of 100 and 700; the generators are the student and its six earlier states; the bundled "
    "teacher criticises by working the problem itself, so that every critique holds a right solution in steps.",
    full="tutelage run cft --preset paper --task gsm8k --teacher openai:MODEL@URL --student hf:MODEL "
    "--pool openai:MODEL2@URL --pool openai:MODEL3@URL --arm all --seeds 5",
)  # fmt: skip


def run(lab: Lab, s: Settings) -> Role:
    teacher, student = lab.teacher if s.teach else None, lab.student

    if teacher is not None:
        questions = steps.training_questions(
            lab, teacher, "questions", wanted=s.considered, temperature=s.question_temperature, max_tokens=s.question_tokens
        )
        chosen = _of_middling_difficulty(lab, s, student, questions)

        candidates = _candidates(lab, s, chosen)

        if s.learn in ("critiques", "verdicts"):
            criticised = _critiques(lab, s, teacher, candidates)
            examples = _critique_examples(lab, s, student, criticised)
        else:
            examples = _solution_examples(lab, s, teacher, student, chosen)

        student = _taught(lab, s, student, examples)
    elif s.wordings:
        student = _asked_best(lab, s, student)

    lab.evaluate("student", student, shots=s.shots, max_tokens=s.rationale_tokens)
    return student


def _draw(lab: Lab, s: Settings, model: Role, problems: Sequence[Problem], name: str, *, n: int) -> list[Solution]:
    """`n` plain solutions of every problem, problem by problem; drawn where there are several."""
    sampling = lab.sampling(name, max_tokens=s.rationale_tokens, temperature=s.temperature, n=n, stop=model.wording.dialect.solution_stop)
    return solve(model, problems, render=model.wording.plain, verify=lab.task.verify, sampling=sampling, model_id=model.id, step=name)


def _of_middling_difficulty(lab: Lab, s: Settings, student: Role, questions: list[Problem]) -> list[Problem]:
    """Step 1: the problems that the student solves closest to half the time."""
    known = [p for p in questions if p.answer is not None]
    if not known:
        lab.refuse("no problem has an answer to check critiques by", got=f"{len(questions)} problems", fix="a task with labelled rows")
    drawn = _draw(lab, s, student, known, "difficulty", n=s.attempts)
    rates: list[Feedback] = []
    for place, problem in enumerate(known):
        parts = tuple(float(rounds.is_right(lab, x)) for x in drawn[place * s.attempts : (place + 1) * s.attempts])
        origin = Origin(step="difficulty", parents=(problem.id,), model=student.id)
        rates.append(Feedback(item=problem.id, signal="pass_rate", value=sum(parts) / len(parts), n=len(parts), parts=parts,
                              model=student.id, origin=origin))  # fmt: skip
    lab.keep("difficulty", rates)
    order = sorted(range(len(known)), key=lambda i: abs((rates[i].value or 0.0) - 0.5))
    lab.note("seed problems", [{"question": known[i].text, "solved": rates[i].value} for i in order[: s.problems]])
    return [known[i] for i in order[: s.problems]]


def _candidates(lab: Lab, s: Settings, chosen: list[Problem]) -> list[Solution]:
    """Step 2. Equal texts stay: the generators' habits are part of the data."""
    generators = [lab.student, *lab.pool][: s.generators]
    if len(generators) == 1 and s.generators != 1:
        lab.note("generators", "the student alone: this is the arm one_generator; name others with --pool")
    found: list[Solution] = []
    for place, model in enumerate(generators):
        share = s.candidates // len(generators) + (place < s.candidates % len(generators))
        if share:
            found += _draw(lab, s, model, chosen, f"candidates {place}", n=share)
    kept = [x for x in found if x.text]
    dropped = {"empty": len(found) - len(kept)} if len(kept) < len(found) else {}
    lab.tally("candidates", asked=len(found), parsed=sum(x.answer is not None for x in kept), kept=len(kept), dropped=dropped)
    lab.note("candidates", {"generators": len(generators), "right": sum(rounds.is_right(lab, x) for x in kept) / max(1, len(kept))})
    return lab.keep("candidates", kept)


Criticised = tuple[Solution, Solution, bool]
"""A candidate, its critique, and whether that calls it right."""


def _critiques(lab: Lab, s: Settings, teacher: Role, candidates: list[Solution]) -> list[Criticised]:
    """Steps 3 and 4."""
    wording, dropped = teacher.wording, Counter[str]()
    asked = [x for x in candidates for _ in range(s.critics)]
    if writes_critiques(wording.dialect):
        prompts = [
            render_critique(
                wording.dialect, description=wording.description, answer_format=wording.answer_format, question=x.problem.text,
                solution=x.text,
            )
            for x in candidates
        ]  # fmt: skip
        sampling = lab.sampling("critiques", max_tokens=s.critique_tokens, temperature=s.temperature, n=s.critics)
        replies = [c.text for group in teacher.generate(prompts, sampling) for c in group]
        read = [parse_critique(text) for text in replies]
    else:
        own = _own_work(lab, s, teacher, [x.problem for x in asked])
        read = [_by_own_work(lab, wording.dialect, x, work) for x, work in zip(asked, own, strict=True)]
    kept: list[Criticised] = []
    for x, said in zip(asked, read, strict=True):
        if said is None:
            dropped["no verdict"] += 1
            continue
        text, verdict = said
        own_answer = lab.task.verify(x.problem, text)
        if s.check and verdict != rounds.is_right(lab, x):
            dropped["verdict contradicts the answer key"] += 1
        elif s.check and own_answer.parsed and not own_answer.right:
            dropped["its own answer is wrong"] += 1
        else:
            origin = Origin(step="critiques", parents=(x.id,), model=teacher.id)
            critique = Solution(problem=x.problem, text=text, answer=own_answer.extracted, technique="critique", origin=origin)
            kept.append((x, critique, verdict))
    while len(kept) > s.wanted * s.problems:
        # The longest and the shortest in turn.
        longest = (len(kept) - s.wanted * s.problems) % 2 == 0
        kept.remove((max if longest else min)(kept, key=lambda c: len(c[1].text)))
        dropped["longest or shortest"] += 1
    lab.tally("critiques", asked=len(asked), parsed=len(asked) - dropped["no verdict"], kept=len(kept), dropped=+dropped)
    if not kept:
        lab.refuse("no critique agrees with the answer key", got=f"kept 0 of {len(asked)}", fix="a stronger teacher")
    lab.keep("critiques", [critique for _, critique, _ in kept])
    return kept


def _own_work(lab: Lab, s: Settings, teacher: Role, problems: list[Problem]) -> list[Solution]:
    """One draw of the teacher per entry of `problems`, repeats included: plain ones of an instruction follower, else under the task's first
    technique."""
    counts = Counter(p.id for p in problems)
    technique = steps.techniques(lab, 1)[0]
    plain = writes_critiques(teacher.wording.dialect)
    drawn: dict[str, list[Solution]] = {}
    for problem in {p.id: p for p in problems}.values():
        drawn[problem.id] = solve(
            teacher, [problem], verify=lab.task.verify, model_id=teacher.id, step="own work",
            render=teacher.wording.plain if plain else teacher.wording.technique(technique.name, technique.instruction),
            sampling=lab.sampling("own work", max_tokens=s.critique_tokens, temperature=s.temperature, n=counts[problem.id],
                                  stop=teacher.wording.dialect.solution_stop),
        )  # fmt: skip
    return [drawn[p.id].pop(0) for p in problems]


def _by_own_work(lab: Lab, dialect: Any, candidate: Solution, own: Solution) -> tuple[str, bool] | None:
    if own.answer is None:
        return None
    agrees = candidate.answer is not None and lab.task.verify(replace(own.problem, answer=own.answer), candidate.text).right
    return critique_by_own_work(dialect, solution=candidate.text, own=own.text, agrees=agrees), agrees


def _critique_examples(lab: Lab, s: Settings, student: Role, criticised: list[Criticised]) -> list[Example]:
    """Step 5's data."""
    candidates = [x for x, _, _ in criticised]
    if s.deal:
        candidates = lab.rng("deal").sample(candidates, k=len(candidates))
    dialect, description = student.wording.dialect, student.wording.description
    return [
        _example(
            render_learned(dialect, description=description, question=x.problem.text, solution=x.text),
            verdict_alone(dialect, verdict) if s.learn == "verdicts" else critique.text, critique,
        )
        for x, (_, critique, verdict) in zip(candidates, criticised, strict=True)
    ]  # fmt: skip


def _solution_examples(lab: Lab, s: Settings, teacher: Role, student: Role, chosen: list[Problem]) -> list[Example]:
    """The baselines: right solutions of the one problem, or of many, as many as there would be critiques; or its answer."""
    wanted = min(s.wanted, s.candidates * s.critics) * s.problems
    problems = [chosen[i % len(chosen)] for i in range(wanted)] if chosen else []
    if s.many:
        more = [p for p in lab.task.train if p.answer is not None]
        leaks = lab.leaks([p.text for p in more])
        clean = [p for p, leak in zip(more, leaks, strict=True) if leak is None] or chosen
        problems = [clean[i % len(clean)] for i in lab.rng("many").sample(range(max(wanted, len(clean))), k=wanted)]
    if s.learn == "answers":
        origins = [Origin(step="answers", parents=(p.id,)) for p in problems]
        texts = [Solution(problem=p, text=lab.task.answer_only(p.answer or ""), origin=o) for p, o in zip(problems, origins, strict=True)]
    else:
        texts = _own_work(lab, s, teacher, problems)
    right = [x for x in texts if rounds.is_right(lab, x)]
    dropped = {"wrong": len(texts) - len(right)} if len(right) < len(texts) else {}
    lab.tally("solutions", asked=len(texts), parsed=len(texts), kept=len(right), dropped=dropped)
    lab.keep("solutions", right)
    return [_example(student.wording.plain(x.problem), x.text, x) for x in right]


def _example(prompt: Prompt, text: str, source: Solution) -> Example:
    origin = Origin(step="examples", parents=(source.id,), model=None if source.origin is None else source.origin.model)
    return Example(prompt=prompt, completion=text, context={"skill": source.problem.skill}, origin=origin)


def _taught(lab: Lab, s: Settings, student: Role, examples: list[Example]) -> Role:
    """Steps 5 and 6."""
    lab.rng("examples").shuffle(examples)
    lab.keep("examples", examples)
    watched = _watched(lab, s)
    dialect = student.wording.dialect
    found: dict[int, dict[str, float]] = {}

    def taught(length: int) -> Role:
        return lab.fit("student", student, Fixed(examples), cross_entropy(), settings=replace(s.sft, steps=length), step="teach")

    for length in s.lengths:
        answers = rounds.answers_of(lab, taught(length), watched, max_tokens=s.rationale_tokens, step="validation")
        found[length] = {
            "validation accuracy": sum(rounds.is_right(lab, x) for x in answers) / max(1, len(answers)),
            "answers like a critique": sum(looks_like_a_critique(dialect, x.text) for x in answers) / max(1, len(answers)),
        }
    lab.note("lengths", {str(length): facts for length, facts in found.items()})
    return taught(max(found, key=lambda length: found[length]["validation accuracy"]))


def _watched(lab: Lab, s: Settings) -> list[Problem]:
    return lab.rng("validation").sample(list(lab.task.validation), k=min(s.validation, len(lab.task.validation)))


def _asked_best(lab: Lab, s: Settings, student: Role) -> Role:
    """Baseline: the same weights under the wording that does best on validation problems; the plain one where none does better."""
    dialect, watched = student.wording.dialect, _watched(lab, s)
    asked, found = {"plain": student}, dict[str, float]()
    for technique in steps.techniques(lab, 3):
        plain = dialect.technique
        for name, text in (("instruction", technique.instruction), ("technique", technique.name)):
            plain = plain.replace(f"{{{name}}}", text.replace("{", "{{").replace("}", "}}"))
        asked[technique.name] = replace(student, wording=replace(student.wording, dialect=replace(dialect, plain=plain)))
    for name, role in asked.items():
        answers = rounds.answers_of(lab, role, watched, max_tokens=s.rationale_tokens, step="validation")
        found[name] = sum(rounds.is_right(lab, x) for x in answers) / max(1, len(watched))
    lab.note("wordings", found)
    return asked[max(found, key=lambda name: found[name])]
