"""PTR: a student trained to go on from weaker attempts, which are masked, improves its own answers round after round.

Du, Han, Ying, Chen, He, Zhao, Xia, Guo, Liang, Chen, Li, Li, Xiao 2024, "Think Thrice Before You Act: Progressive Thought Refinement in
Large Language Models", arXiv 2410.13413.

 1. Questions q of the task's training data.
 2. A weak model draws attempts y_1 .. y_{n-1}, temperature 1: the thoughts S.
 3. The strong model is given q and S and writes the refined answer y_n.
 4. Rows are kept where y_n is consistent with S and not worse: for a known answer, right(y_n) >= right(y_{n-1}); else a judge prefers it.
 5. Fine-tuning on (q, S, refine) -> y_n. Only y_n is charged: the thought mask.
 6. Inference: q -> a_1; then all answers so far and the request to refine -> a_r; the last one counts.

The weak model is the student itself, so that it meets in training what it will meet in the test; for a share of the questions (`own`) it is
the student after plain fine-tuning on the rows of the others, since in the test it goes on from answers of its taught self. Attempts that
are right already keep their answer, in a share of the rows. A strong model that follows no instructions, as the bundled teacher, does not
read the attempts: it solves q under the task's first technique.

The rounds are measured on validation problems, which nothing here was trained or chosen on, and noted: `round 1`, `last round`, `round
gain`, the flips, and a vote of as many drawn answers at equal cost. The scorecard is of the first answer, as in every recipe.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from tutelage import rounds, steps
from tutelage.card import Arm, Card, Claim, Contrast, Experiment
from tutelage.generate.refinements import refine_rounds
from tutelage.generate.solutions import solve
from tutelage.lab import Lab, Role
from tutelage.objectives import cross_entropy, dpo
from tutelage.prompts.judging import parse_choice, render_choice
from tutelage.prompts.refine import can_refine, one_text, render_refine, render_strong
from tutelage.records import Example, Origin, Pair, Problem, Prompt, Solution
from tutelage.select.votes import elected, same_answers
from tutelage.tasks.task import by_skill, in_turn
from tutelage.train import FitSettings, Fixed, Reference

CARD = Card(
    title="PTR: progressive thought refinement",
    claim="Trained on weaker attempts (masked) and better answers, a student improves its own answers when asked to think again.",
    source="Du et al. 2024, arXiv 2410.13413",
    family="objective",
    kind="system",
    needs={"teacher": ("generate",), "student": ("generate", "train")},
    steps=("questions", "attempts", "refined", "examples"),
    size="examples",
    size_floor=6,
    arm="ptr",
    baseline="ift",
    control="shuffled",
    claims=(
        Claim(what="mean of ten tasks after three rounds, Qwen2-7B", published="49.6 to 53.5 (+3.9 points)", where="Table 1",
              arms=("ptr", "untouched"), metric="note:last round"),
        Claim(what="CommonsenseQA, from round one to three: PTR against fine-tuning on the same answers",
              published="48.9 to 52.5 against 46.1 to 40.3", where="Table 1", arms=("ptr", "ift"), metric="note:round gain"),
    ),
    deviations=(
        "The first term of the loss alone, as in the released trainer: the other two are not defined in the paper.",
        "The weak model is the student itself; the paper's is another, smaller or older model.",
        "Right attempts keep their answer in a share of the rows; trained on wrong ones alone a model learns to change every answer.",
        "Rows are not packed across one another: each attends to itself only.",
        "The rounds are measured on validation problems and noted; the released numbers are single runs on the test sets.",
        "Task questions instead of 40,000 open-ended ones.",
    ),
    demo_arms=("untouched", "ift", "ptr", "shuffled"),
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    examples: int = 10000
    """Questions per skill, at most (about 40,000 in all in the paper)."""
    attempts: int = 1
    """n - 1 (released data)."""
    lengths: Literal["all", "mixed"] = "all"
    """Whether a row shows all its attempts or the last one, two, ... of them, drawn anew for each row; ours."""
    own: float = 0.0
    """Share of the questions whose attempts come from the student as plain fine-tuning on the rows of the others leaves it; ours."""
    temperature: float = 1.0
    """Of the attempts (released code)."""
    question_temperature: float = 1.0
    """Where questions are drafted; ours, as in ARTE."""
    unchanged: float = 0.3
    """Largest share of the rows whose attempt was right and stays as it is; ours."""
    plain: float = 0.3
    """Rows of plain fine-tuning (q -> y_n) added, as a share of the refinement rows; the paper adds ordinary data, the share is ours."""
    sft: FitSettings = FitSettings(  # noqa: RUF009
        lr=1e-5, batch=80, epochs=3, betas=(0.98, 0.999), eps=1e-9, warmup=0.03, precision="bf16"
    )
    """Released code: 10 rows accumulated on each of 8 devices; its warm-up is 800 steps."""
    dpo_beta: float = 0.1
    """Of the arm dpo; not reported, ours."""
    dpo: FitSettings = FitSettings(lr=5e-7, batch=16, epochs=1)  # noqa: RUF009
    """Of the arm dpo; not reported, ours."""
    rounds: int = 3
    """Answers to each question in the test (paper; stable to ten)."""
    validation: int = 500
    """Validation problems, in all, on which the rounds are measured; ours."""
    question_tokens: int = 1024
    """Longest reply to a question prompt; ours."""
    rationale_tokens: int = 512
    """Longest answer (released: 128 to 180, which cuts mathematical answers off); ours."""
    shots: tuple[int, ...] = (0, 3)
    """Numbers of demonstrations in evaluation; zero in the paper."""

    learn: Literal["refine", "unmasked", "answers", "preference"] = "refine"
    """The masked rows, the same with the attempts charged, plain fine-tuning on y_n (IFT), or DPO of y_n over y_{n-1}."""
    shuffle: bool = False
    """Control: each row has the attempts of another question."""
    teach: bool = True
    """False leaves the student untouched."""


LAPTOP: dict[str, Any] = dict(
    examples=90, attempts=2, lengths="mixed", own=0.5, unchanged=0.6,
    sft=FitSettings(lr=4e-3, batch=8, epochs=6, schedule="linear", warmup=0.03),
    dpo=FitSettings(lr=3e-4, batch=8, epochs=5, schedule="cosine", warmup=0.1), question_tokens=160, rationale_tokens=48, shots=(0, 1),
)  # fmt: skip
"""As in the other recipes."""

TOY: dict[str, Any] = LAPTOP | dict(
    examples=8, sft=FitSettings(lr=1e-3, batch=8, epochs=1), dpo=FitSettings(lr=3e-4, batch=8, epochs=1), rounds=2, validation=6, shots=(0,)
)

ARMS: dict[str, Arm] = {
    "untouched": Arm(summary="the student as it is, asked to refine", changes={"teach": False}, needs={"student": ("generate",)}),
    "ift": Arm(summary="plain fine-tuning on the refined answers", changes={"learn": "answers"}),
    "dpo": Arm(summary="DPO of the refined answers over the attempts", changes={"learn": "preference"}),
    "ptr": Arm(summary="refined answers after masked attempts"),
    "no_mask": Arm(summary="the attempts are charged too", changes={"learn": "unmasked"}),
    "all_change": Arm(summary="without rows whose attempt was right", changes={"unchanged": 0.0}),
    "shuffled": Arm(summary="control: attempts at other questions", changes={"shuffle": True}, control=True),
}

_CONTRASTS = (
    Contrast(
        claim="PTR's last round gains more over its first than prompting the student to refine does, by two points or more.",
        better="ptr", worse="untouched", metric="note:round gain", margin=0.02, control="shuffled",
        published="+3.9 points over the rounds (Table 1)",
    ),
    Contrast(claim="PTR's last round is better than that of plain fine-tuning on the same answers.", better="ptr", worse="ift",
             metric="note:last round", published="52.5 against 40.3 (CommonsenseQA)"),
    Contrast(claim="Without the mask the rounds gain less.", better="ptr", worse="no_mask", metric="note:round gain"),
    Contrast(claim="The gain comes from the attempts, not from the answers alone.", better="ptr", worse="shuffled",
             metric="note:round gain"),
)  # fmt: skip

_FULL = "tutelage run ptr --preset paper --task gsm8k --teacher openai:MODEL@URL --student hf:MODEL --seeds 5"

REPRODUCE = {
    "": Experiment(
        task="folds/*",
        task_options={"test_seed": 5, "validation_size": 120},
        tune_options={"test_seed": 0},
        settings={"attempts": 1, "lengths": "all", "own": 0.0, "unchanged": 0.3},
        teacher="bundled:teacher",
        student="bundled:student",
        contrasts=_CONTRASTS,
        also=("dpo", "all_change"),
        shrunk="90 questions per skill and the bundled student as its own weak model; the bundled teacher solves the question without "
        "reading the attempts, so that refined answers reuse nothing of them on purpose.",
        full=_FULL,
    ),
    "sequences": Experiment(
        task="folds/*",
        task_options={"test_seed": 13, "validation_seed": 13, "validation_size": 120},
        tune_options={"test_seed": 0, "validation_seed": 0, "validation_size": 40},
        teacher="bundled:teacher",
        student="bundled:student",
        contrasts=_CONTRASTS,
        shrunk="As the first, but rows show one or two attempts, half of them of the student as it is once taught, since that is what it "
        "goes on from in the test.",
        full=_FULL,
    ),
}  # fmt: skip


def run(lab: Lab, s: Settings) -> Role:
    teacher, student = lab.teacher if s.teach else None, lab.student

    if teacher is not None:
        questions = steps.training_questions(
            lab, teacher, "questions", wanted=s.examples, temperature=s.question_temperature, max_tokens=s.question_tokens
        )

        first, others = _parts(s, questions)
        attempts = _attempts(lab, s, student, first, "attempts")
        refined = _refined(lab, s, teacher, attempts, "refined")
        if not refined:
            lab.refuse("no refined answer is better than its attempt", got=f"kept 0 of {len(attempts)}", fix="a stronger teacher")

        if others:
            trainee = _trainee(lab, s, student, refined)
            more = _attempts(lab, s, trainee, others, "own attempts")
            attempts, refined = attempts + more, refined + _refined(lab, s, teacher, more, "own refined")
        lab.keep("attempts", [x for group in attempts for x in group])
        lab.keep("refined", [x for _, x in refined])

        student = _taught(lab, s, student, _cut(lab, s, refined))

    _note_rounds(lab, s, student)
    lab.evaluate("student", student, shots=s.shots, max_tokens=s.rationale_tokens)
    return student


Attempts = list[Solution]
"""Of one question, in order."""
Row = tuple[Attempts, Solution]


def _parts(s: Settings, questions: list[Problem]) -> tuple[list[Problem], list[Problem]]:
    """Of every skill, questions that the untaught student attempts and those that wait for the taught one."""
    later = {p.id for mine in by_skill(questions).values() for p in mine[len(mine) - round(s.own * len(mine)) :]}
    return [p for p in questions if p.id not in later], [p for p in questions if p.id in later]


def _attempts(lab: Lab, s: Settings, weak: Role, questions: list[Problem], name: str) -> list[Attempts]:
    """Step 2."""
    drawn = solve(
        weak, questions, render=weak.wording.plain, verify=lab.task.verify, model_id=weak.id, step=name,
        sampling=lab.sampling(name, max_tokens=s.rationale_tokens, temperature=s.temperature, n=s.attempts,
                              stop=weak.wording.dialect.solution_stop),
    )  # fmt: skip
    groups = [drawn[i : i + s.attempts] for i in range(0, len(drawn), s.attempts)]
    kept = [g for g in groups if all(x.text for x in g)]
    dropped = {"empty": len(groups) - len(kept)} if len(kept) < len(groups) else {}
    lab.tally(name, asked=len(groups), parsed=sum(g[-1].answer is not None for g in kept), kept=len(kept), dropped=dropped)
    return kept


def _refined(lab: Lab, s: Settings, teacher: Role, attempts: list[Attempts], name: str) -> list[Row]:
    """Steps 3 and 4. Right attempts stay as they are, up to their share; more of them are left out and cost nothing."""
    wording, technique = teacher.wording, steps.techniques(lab, 1)[0]
    right = [g for g in attempts if rounds.is_right(lab, g[-1])]
    wrong = [g for g in attempts if not rounds.is_right(lab, g[-1])]
    room = len(wrong) if s.unchanged >= 1 else round(len(wrong) * s.unchanged / (1 - s.unchanged))
    same = lab.rng("unchanged", *([] if name == "refined" else [name])).sample(right, k=min(room, len(right)))
    history = {g[-1].problem.id: [x.text for x in g] for g in wrong}

    def after_attempts(p: Problem) -> Prompt:
        return render_strong(wording.dialect, description=wording.description, answer_format=wording.answer_format,
                             question=p.text, attempts=history[p.id])  # fmt: skip

    answers = solve(
        teacher, [g[-1].problem for g in wrong], verify=lab.task.verify, model_id=teacher.id, step=name,
        render=after_attempts if can_refine(wording.dialect) else wording.technique(technique.name, technique.instruction),
        sampling=lab.sampling("refined", max_tokens=s.rationale_tokens, stop=wording.dialect.solution_stop),
    )  # fmt: skip
    judged = iter(_preferred(lab, s, teacher, [(g[-1], x) for g, x in zip(wrong, answers, strict=True) if x.problem.answer is None]))
    rows: list[Row] = []
    dropped = Counter({"right already": len(right) - len(same)})
    for group, answer in zip(wrong, answers, strict=True):
        if not answer.text:
            dropped["empty"] += 1
        elif answer.problem.answer is None and not next(judged):
            dropped["not preferred to the attempt"] += 1
        elif answer.problem.answer is not None and not rounds.is_right(lab, answer):
            # As wrong as the attempt: the paper's rule lets it pass, but two wrong answers say nothing of which way is up.
            dropped["wrong as the attempt"] += 1
        else:
            rows.append((group, answer))
    rows += [(g, replace(g[-1], origin=Origin(step="unchanged", parents=(g[-1].id,), model=_writer(g)))) for g in same]
    lab.tally(name, asked=len(attempts), parsed=len(attempts) - dropped["empty"], kept=len(rows), dropped=+dropped)
    gap = {"attempts right": len(right) / max(1, len(attempts)),
           "refined right": sum(rounds.is_right(lab, x) for x in answers) / max(1, len(answers))}  # fmt: skip
    lab.note("gap between weak and strong" if name == "refined" else f"gap between weak and strong ({name})", gap)
    return rows


def _writer(attempts: Attempts) -> str | None:
    return attempts[-1].origin.model if attempts[-1].origin else None


def _cut(lab: Lab, s: Settings, rows: list[Row]) -> list[Row]:
    """As many of the last attempts of each row as it shows."""
    if s.lengths == "all":
        return rows
    rng = lab.rng("lengths")
    return [(group[-rng.randint(1, len(group)) :], answer) for group, answer in rows]


def _preferred(lab: Lab, s: Settings, judge: Role, compared: Sequence[tuple[Solution, Solution]]) -> list[bool]:
    """Where no right answer is known: whether the judge prefers the refined answer in both orders."""
    prompts = [render_choice(old.problem.text, *texts) for old, new in compared for texts in ((old.text, new.text), (new.text, old.text))]
    replies = judge.generate(prompts, lab.sampling("judge", max_tokens=s.rationale_tokens))
    said = [parse_choice(r[0].text) for r in replies]
    return [said[i] == "B" and said[i + 1] == "A" for i in range(0, len(said), 2)]


def _trainee(lab: Lab, s: Settings, student: Role, rows: list[Row]) -> Role:
    """The weak model of the other questions."""
    examples = [_example(replace(s, learn="answers"), student, group, x) for group, x in rows]
    lab.rng("own examples").shuffle(examples)
    return lab.fit("student", student, Fixed(examples), cross_entropy(), settings=s.sft, step="trainee")


def _taught(lab: Lab, s: Settings, student: Role, rows: list[Row]) -> Role:
    """Step 5."""
    if s.shuffle:
        dealt = lab.rng("shuffle").sample([g for g, _ in rows], k=len(rows))
        rows = [(group, answer) for group, (_, answer) in zip(dealt, rows, strict=True)]
    if s.learn == "preference":
        pairs = [
            Pair(prompt=student.wording.plain(x.problem), chosen=x.text, rejected=group[-1].text, kind="rationale",
                 origin=Origin(step="pairs", parents=(group[-1].id, x.id)))
            for group, x in rows if x.text != group[-1].text
        ]  # fmt: skip
        lab.keep("pairs", pairs)
        return lab.fit("student", student, Fixed(pairs), dpo(beta=s.dpo_beta), targets=Reference(student.ref), settings=s.dpo, step="teach")
    examples = [_example(s, student, group, x) for group, x in rows]
    more = lab.rng("plain").sample(rows, k=round(s.plain * len(rows))) if s.learn != "answers" else []
    examples += [_example(replace(s, learn="answers"), student, group, x) for group, x in more]
    lab.rng("examples").shuffle(examples)
    return lab.fit("student", student, Fixed(lab.keep("examples", examples)), cross_entropy(), settings=s.sft, step="teach")


def _example(s: Settings, student: Role, attempts: Attempts, refined: Solution) -> Example:
    asked, history = student.wording.plain(refined.problem), [x.text for x in attempts]
    dialect = student.wording.dialect
    prompt, text, spans = asked, refined.text, ()
    if s.learn == "refine":
        prompt = render_refine(dialect, asked, history)
    elif s.learn == "unmasked":
        text, spans = one_text(dialect, history, refined.text)
    origin = Origin(
        step="examples", parents=(*(x.id for x in attempts), refined.id), model=refined.origin.model if refined.origin else None
    )
    return Example(prompt=prompt, completion=text, spans=spans, context={"skill": refined.problem.skill}, origin=origin)


def _note_rounds(lab: Lab, s: Settings, student: Role) -> None:
    """Step 6 on validation problems, and a vote of as many drawn answers."""
    wording, problems = student.wording, in_turn(lab.task.validation, s.validation)
    stop = wording.dialect.solution_stop
    found = refine_rounds(
        student, problems, rounds=s.rounds, render=lambda p, said: render_refine(wording.dialect, wording.plain(p), said),
        verify=lab.task.verify, sampling=lab.sampling("rounds", max_tokens=s.rationale_tokens, stop=stop), model_id=student.id,
    )  # fmt: skip
    right = [[rounds.is_right(lab, x) for x in answers] for answers in found]
    shares = [sum(r) / max(1, len(problems)) for r in right]
    lab.note("rounds", shares)
    lab.note("round 1", shares[0])
    lab.note("last round", shares[-1])
    lab.note("round gain", shares[-1] - shares[0])
    changes = Counter(zip(right[0], right[-1], strict=True))
    lab.note("flips", {"wrong to right": changes[False, True], "right to wrong": changes[True, False]})
    drawn = solve(
        student, problems, render=wording.plain, verify=lab.task.verify, model_id=student.id, step="vote",
        sampling=lab.sampling("vote", max_tokens=s.rationale_tokens, temperature=s.temperature, n=s.rounds, stop=stop),
    )  # fmt: skip
    votes = 0
    for place in range(0, len(drawn), s.rounds):
        mine = drawn[place : place + s.rounds]
        groups = same_answers(mine, lambda x, answer: lab.task.verify(replace(x.problem, answer=answer), x.text).right)
        won = elected(groups, [1.0] * len(mine))
        votes += bool(won) and rounds.is_right(lab, mine[won[0]])
    lab.note("vote of as many", votes / max(1, len(problems)))
