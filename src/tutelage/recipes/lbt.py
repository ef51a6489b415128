"""LbT: learning by teaching; a rationale is worth what a student who is shown it does in an exam of similar questions.

Ning, Wang, Li, Lin, Yao, Fu, Blaschko, Dai, Yang, Wang 2024, "Can LLMs Learn by Teaching for Better Reasoning? A Preliminary Study",
arXiv 2406.14629.

 1. The teacher draws n pairs (TR, TA) of rationale and answer for each teaching problem TP.
 2. LbT(TR, TA) = share of right answers of the students over E exam problems and R repeats, with (TP, TR, TA) as the last demonstration.
 3. M1: the answer is the one of greatest total score (SUM), or the one of the best-scored pair (MAX).
 4. M2: score_i = correct_i / 2 + LbT_i / 2; pairs with score_i - score_j above 0.3, at most 8 per TP; DPO of the teacher with a likelihood
    term on the chosen text.
 5. M3: sets of exemplars; each round all students answer train problems behind them, the teacher names reasons for their failures and
    writes the set anew; the sets behind which the TEACHER does best are kept.
 6. What came of it teaches the student of this run: the best-scored rationales of the elected answers (M1), or what the tuned (M2) or
    re-exemplified (M3) teacher writes for the same problems.

Each arm notes the paper's own measure: `answer accuracy`, of the answers elected for the teaching problems (M1; beside it `oracle
accuracy`, the share of problems with any right rationale), or `teacher accuracy`, of the teacher on validation problems, which nothing here
was chosen on (M2, M3).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from tutelage import rounds, steps
from tutelage.card import Arm, Card, Claim, Contrast, Experiment
from tutelage.classroom.exemplar_sets import missed_behind, rewritten_sets
from tutelage.evaluate.score import worked_examples
from tutelage.generate.exemplars import search_exemplars
from tutelage.generate.solutions import Render, solve
from tutelage.lab import Lab, Role
from tutelage.objectives import dpo
from tutelage.records import Feedback, Problem, Prompt, Solution
from tutelage.select.margins import margin_pairs
from tutelage.select.similar import most_alike
from tutelage.select.votes import elected, same_answers
from tutelage.signals.self_evaluation import self_evaluation
from tutelage.signals.taught_exam import taught_exam
from tutelage.tasks.task import by_skill, in_turn
from tutelage.train import FitSettings, Fixed, Reference

CARD = Card(
    title="LbT: learning by teaching",
    claim="What a rationale does for a student in an exam tells right answers from wrong ones better than a vote, and trains the teacher.",
    source="Ning et al. 2024, arXiv 2406.14629",
    family="reward model",
    kind="system",
    needs={"teacher": ("generate",), "student": ("generate", "train")},
    steps=("questions", "solutions", "taught", "chosen", "examples"),
    size="examples",
    size_floor=3,
    arm="lbt",
    baseline="majority",
    control="shuffled",
    claims=(
        Claim(what="MATH, LLaMA3-8B teaching itself, M1 against self-consistency at 256 rationales",
              published="82.87 against 64.64 (+18.2 points)", where="Table 2", arms=("lbt", "majority"), metric="note:answer accuracy"),
        Claim(what="MATH500, DPO by LbT and correctness against correctness alone", published="32.2 against 30.4 (+1.8 points)",
              where="Table 5", arms=("m2", "m2_correctness"), metric="note:teacher accuracy"),
        Claim(what="Liar, exemplars after five rounds with one weaker student against the teacher as its own student",
              published="F1 65.41 against 63.96", where="Sec. 5", arms=("m3", "m3_self"), metric="note:teacher accuracy"),
        Claim(what="Liar, exemplars after five rounds with three students against the teacher as its own student",
              published="F1 67.09 against 63.96", where="Sec. 5", arms=("m3_students", "m3_self"), metric="note:teacher accuracy"),
    ),
    deviations=(
        "Exam problems are the ones of the task most alike in their words, not functional variants; their answers are used, which a vote "
        "does not have: the arm majority_exams gives the vote the same problems, solved by the teacher, as demonstrations.",
        "Unlike exams (unlike_exams) are of other skills where the task has several, else the least alike.",
        "The students sample at temperature 0.7 without top-k where R is above 1, and answer greedily where it is 1.",
        "The paper ends with the answer (M1) or the teacher (M2, M3); step 6 is ours, so that recipes compare.",
        "The weight of DPO's likelihood term is printed as 50; ours is 1, its mean per token.",
        "M3 is about accuracy instead of F1, begins with rationales that the teacher wrote in step 1, and works skill by skill.",
        "The bundled teacher cannot be asked for a yes: its self-evaluation is its probability of the answer without steps.",
        "The bundled teacher was raised on no instructions and cannot name reasons: it writes the next exemplars of a set, going on after "
        "the ones it has.",
    ),
    version=2,
    demo_arms=("untouched", "majority", "lbt", "m2", "shuffled"),
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    examples: int = 1000
    """Teaching problems per skill (M2: 1,564 in all; M1: 181)."""
    pairs: int = 256
    """M1: n, rationales per teaching problem (256, economically 24)."""
    pairs_tuned: int = 32
    """M2: the same (Sec. 4). M3 needs one each of the problems that its first sets show."""
    temperature: float = 0.7
    """Of teacher and students (App. A.2.2)."""
    question_temperature: float = 1.0
    """Where questions are drafted; ours, as in ARTE."""
    exams: int = 3
    """E (released configuration)."""
    repeats: int = 3
    """R (released configuration)."""
    prefix: int = 4
    """Fixed demonstrations before the taught one (four of Minerva's in the released code)."""
    students: int = 1
    """The student of this run, and this many less one of the models given with --pool, the last first."""
    per_problem: int = 1
    """Rationales of an elected answer that the student learns; ours."""
    threshold: float = 0.3
    """M2: smallest difference of scores that makes a pair (Sec. 4)."""
    pairs_per_problem: int = 8
    """M2 (Sec. 4)."""
    dpo: FitSettings = FitSettings(lr=5e-7, batch=16, epochs=1)  # noqa: RUF009
    """M2 (App. B.1)."""
    dpo_beta: float = 0.1
    """M2 (App. B.1)."""
    dpo_nll: float = 1.0
    """M2: weight of the likelihood term; printed as 50 (App. B.1), ours."""
    exemplars: int = 8
    """M3: exemplars in a set (App. C.3, as are sets kept, rewrites and rounds)."""
    beam: int = 4
    """M3: sets kept."""
    rewrites: int = 8
    """M3: new sets per kept set and round, reasons in turn."""
    reasons: int = 4
    """M3: reasons asked for per kept set (released configuration)."""
    rounds: int = 5
    """M3."""
    minibatch: int = 64
    """M3: train problems answered per round (released configuration)."""
    exemplar_tokens: int = 4096
    """M3: longest reply with exemplars or reasons; ours."""
    sft: FitSettings = FitSettings(lr=2e-5, batch=64, epochs=1, schedule="linear", warmup=0.03)  # noqa: RUF009
    """Of the student; ours, as in ARTE."""
    validation: int = 500
    """M2, M3: validation problems, in all, on which the teacher is measured; ours."""
    question_tokens: int = 1024
    """Longest reply to a question prompt; ours."""
    rationale_tokens: int = 512
    """Longest rationale and exam answer; ours."""
    shots: tuple[int, ...] = (0, 3)
    """Numbers of demonstrations in evaluation; ours."""

    method: Literal["m1", "m2", "m3"] = "m1"
    """Which of the paper's three uses."""
    vote: Literal["sum", "max", "count"] = "sum"
    """M1: SUM, MAX, or the plain majority (self-consistency)."""
    alike: bool = True
    """False examines on problems of other skills, the least similar ones (ablation)."""
    rationale: bool = True
    """False teaches the bare answer without its rationale (ablation)."""
    told_exams: bool = False
    """Show the teacher the exam problems as it solves them rightly, and do not score (a fair control of the vote)."""
    self_evaluated: bool = False
    """Score by the teacher's own belief that a rationale is right instead of by exams (baseline)."""
    correctness: float = 0.5
    """M2: weight of correctness in the score; the rest is LbT's (0 and 1 are ablations)."""
    own_student: bool = False
    """M3: the teacher is its own student (ablation)."""
    shuffle: bool = False
    """Control: scores dealt out anew among the rationales of a problem."""
    teach: bool = True
    """False leaves the student untouched."""


LAPTOP: dict[str, Any] = dict(
    examples=40, pairs=8, pairs_tuned=8, temperature=1.0, repeats=1, prefix=0, per_problem=2, pairs_per_problem=3,
    dpo=FitSettings(lr=3e-4, batch=16, epochs=5, schedule="cosine", warmup=0.1), dpo_nll=0.2,
    exemplars=2, beam=2, rewrites=2, rounds=2, minibatch=16, exemplar_tokens=100,
    sft=FitSettings(lr=4e-3, batch=8, epochs=6, schedule="linear", warmup=0.03), question_tokens=160, rationale_tokens=48, shots=(0, 1),
)  # fmt: skip
"""As in the other recipes; few rationales, since each is one call and three exams."""

TOY: dict[str, Any] = LAPTOP | dict(
    examples=5, pairs=4, pairs_tuned=4, exams=2, dpo=FitSettings(lr=3e-4, batch=8, epochs=1), rounds=1, minibatch=4, beam=1, validation=6,
    sft=FitSettings(lr=1e-3, batch=8, epochs=1), shots=(0,),
)  # fmt: skip

_TRAINED = {"teacher": ("generate", "train"), "student": ("generate", "train")}
_M2: dict[str, Any] = {"method": "m2"}
_M3: dict[str, Any] = {"method": "m3"}

ARMS: dict[str, Arm] = {
    "untouched": Arm(summary="the student as it is", changes={"teach": False}, needs={"student": ("generate",)}),
    "greedy": Arm(summary="the teacher's likeliest rationales", changes={"vote": "count", "pairs": 1}),
    "majority": Arm(summary="rationales of the commonest answer (self-consistency)", changes={"vote": "count"}),
    "majority_exams": Arm(summary="the same, the teacher shown the exam problems solved", changes={"vote": "count", "told_exams": True}),
    "self_evaluation": Arm(
        summary="rationales scored by the teacher's own belief in them",
        changes={"self_evaluated": True},
        needs={"teacher": ("generate", "score"), "student": ("generate", "train")},
    ),
    "lbt": Arm(summary="M1, SUM: rationales of the answer with the greatest score"),
    "lbt_max": Arm(summary="M1, MAX: the answer of the best-scored rationale", changes={"vote": "max"}),
    "two_students": Arm(summary="M1 with a second student", changes={"students": 2}),
    "unlike_exams": Arm(summary="M1, examined on problems of other skills", changes={"alike": False}),
    "answer_only": Arm(summary="M1, taught the answer without the rationale", changes={"rationale": False}),
    "m2": Arm(summary="M2: the teacher tuned by LbT and correctness", changes=_M2, needs=_TRAINED),
    "m2_correctness": Arm(summary="M2 by correctness alone", changes={**_M2, "correctness": 1.0}, needs=_TRAINED),
    "m2_lbt": Arm(summary="M2 by LbT alone", changes={**_M2, "correctness": 0.0}, needs=_TRAINED),
    "m3": Arm(summary="M3: exemplars rewritten after students' failures", changes=_M3),
    "m3_students": Arm(summary="M3 with three students", changes={**_M3, "students": 3}),
    "m3_self": Arm(summary="M3, the teacher its own student", changes={**_M3, "own_student": True}),
    "shuffled": Arm(summary="control: M1 on scores dealt out anew", changes={"shuffle": True}, control=True),
}

REPRODUCE = Experiment(
    task="folds/*",
    task_options={"test_seed": 23, "validation_seed": 23},
    tune_options={"test_seed": 0, "validation_seed": 0},
    teacher="bundled:teacher",
    student="bundled:student",
    contrasts=(
        Contrast(
            claim="Answers elected by LbT scores are right more often than the commonest ones.", better="lbt", worse="majority",
            metric="note:answer accuracy", control="shuffled", published="+18.2 points (Table 2, LLaMA3-8B teaching itself)",
        ),
        Contrast(
            claim="A student learns more from the rationales of answers so elected, best-scored first.", better="lbt", worse="majority",
            control="shuffled",
        ),
        Contrast(
            claim="They are right more often than the commonest answers of a teacher that is shown the exams, solved.", better="lbt",
            worse="majority_exams", metric="note:answer accuracy",
        ),
        Contrast(
            claim="A teacher tuned by LbT and correctness solves more than one tuned by correctness alone.", better="m2",
            worse="m2_correctness", metric="note:teacher accuracy", published="+1.8 points (Table 5, MATH500)",
        ),
        Contrast(claim="Exams of another skill tell less.", better="lbt", worse="unlike_exams", metric="note:answer accuracy", rule=False),
    ),
    also=("untouched", "two_students"),
    shrunk="Eight rationales per problem instead of 256, three exam questions answered once, one small student; 40 problems per skill. In "
    "the bundled world a rationale's style decides most of its score.",
    full="tutelage run lbt --preset paper --task gsm8k --teacher openai:MODEL@URL --student hf:MODEL --seeds 5",
)  # fmt: skip


def run(lab: Lab, s: Settings) -> Role:
    teacher, student = lab.teacher if s.teach else None, lab.student

    if teacher is not None:
        if s.students > 1 + len(lab.pool) and not s.own_student:
            lab.refuse("there are fewer students than this arm examines", got=f"{1 + len(lab.pool)} of {s.students}", fix="--pool MODEL")
        questions = steps.training_questions(
            lab, teacher, "questions", wanted=s.examples, temperature=s.question_temperature, max_tokens=s.question_tokens
        )
        prefix = {p.id for mine in by_skill([p for p in lab.task.seed if p.answer is not None]).values() for p in mine[: s.prefix]}
        pool = [p for p in (*lab.task.seed, *lab.task.train) if p.answer is not None and p.id not in prefix]
        exams = most_alike(questions, pool, wanted=s.exams, farthest=not s.alike)
        solutions = _rationales(lab, s, teacher, questions, exams)

        if s.method == "m1":
            chosen = _elected(lab, s, questions, solutions, _scores(lab, s, solutions, exams))
        elif s.method == "m2":
            tuned = _tuned(lab, s, teacher, solutions, _scores(lab, s, solutions, exams))
            _note_accuracy(lab, s, tuned, tuned.wording.plain)
            chosen = steps.write_solutions(lab, tuned, questions, max_tokens=s.rationale_tokens, name="chosen")
        else:
            shown = {skill: _exemplars(lab, s, skill, mine, solutions) for skill, mine in by_skill(questions).items()}
            renders = {skill: teacher.wording.shots(d) for skill, d in shown.items()}
            _note_accuracy(lab, s, teacher, lambda p: renders.get(p.skill, teacher.wording.plain)(p))
            chosen = steps.write_solutions(lab, teacher, questions, max_tokens=s.rationale_tokens, name="chosen", after=shown)

        student = steps.teach(lab, student, chosen, settings=s.sft)

    lab.evaluate("student", student, shots=s.shots, max_tokens=s.rationale_tokens)
    return student


def _rationales(lab: Lab, s: Settings, teacher: Role, questions: list[Problem], exams: Mapping[str, Sequence[Problem]]) -> list[Solution]:
    """Step 1. M3 needs no more than fill its first sets, and draws them, so that they are not all in the likeliest style."""
    n = {"m1": s.pairs, "m2": s.pairs_tuned, "m3": 1}[s.method]
    temperature = s.temperature if n > 1 or s.method == "m3" else 0.0
    if s.method == "m3":
        questions = [p for mine in by_skill(questions).values() for p in mine[: s.exemplars * s.beam]]
    shown = _solved_exams(lab, s, teacher, exams) if s.told_exams else {}

    def after_exams(p: Problem) -> Prompt:
        return teacher.wording.shots([(e.text, shown[e.id]) for e in exams.get(p.id, ())])(p)

    drawn = solve(
        teacher, questions, render=after_exams if s.told_exams else teacher.wording.plain, verify=lab.task.verify,
        sampling=lab.sampling("solutions", max_tokens=s.rationale_tokens, temperature=temperature, n=n,
                              stop=teacher.wording.dialect.solution_stop),
        model_id=teacher.id, step="solutions",
    )  # fmt: skip
    kept = [x for x in drawn if x.text]
    dropped = {"empty": n} if (n := len(drawn) - len(kept)) else {}
    lab.tally("solutions", asked=len(drawn), parsed=sum(x.answer is not None for x in kept), kept=len(kept), dropped=dropped)
    return lab.keep("solutions", kept)


def _solved_exams(lab: Lab, s: Settings, teacher: Role, exams: Mapping[str, Sequence[Problem]]) -> dict[str, str]:
    """Exam problem id -> a right rationale of the teacher where it has one, else the task's worked solution or the bare answer."""
    asked = list({e.id: e for mine in exams.values() for e in mine}.values())
    own = steps.sampled_solutions(lab, teacher, asked, keep="right", tries=min(s.pairs, 8), temperature=s.temperature,
                                  max_tokens=s.rationale_tokens, name="solved exams")  # fmt: skip
    right = {x.problem.id: x.text for x in reversed(own)}
    lab.note("exams solved by the teacher", len(right) / max(1, len(asked)))
    return {e.id: right.get(e.id) or lab.task.worked(e) or lab.task.answer_only(e.answer or "") for e in asked}


def _scores(lab: Lab, s: Settings, solutions: list[Solution], exams: Mapping[str, Sequence[Problem]]) -> list[float | None]:
    """Step 2. A majority needs no scores, and no student is asked."""
    if s.vote == "count":
        none = [Feedback(item=x.id, signal="taught_exam", value=None, origin=x.origin) for x in solutions]
        return [f.value for f in lab.keep("taught", none)]
    if s.self_evaluated:
        bare = ["" if x.answer is None else lab.task.answer_only(x.answer) for x in solutions]
        about = {"dialect": lab.teacher.wording.dialect, "description": lab.teacher.wording.description, "model_id": lab.teacher.id}
        return [f.value for f in lab.keep("taught", self_evaluation(lab.teacher, solutions, bare=bare, **about))]
    students = [lab.student, *reversed(lab.pool)][: max(1, s.students)]
    greedy = s.repeats == 1
    taught = lab.keep("taught", taught_exam(
        [(role, _taught(lab, s, role)) for role in students], solutions, exams=exams, verify=lab.task.verify,
        sampling=lab.sampling("taught", max_tokens=s.rationale_tokens, temperature=0.0 if greedy else s.temperature, n=s.repeats,
                              stop=lab.student.wording.dialect.solution_stop),
        student_id="+".join(role.id for role in students),
    ))  # fmt: skip
    scores = [f.value for f in taught]
    held = [v for v in scores if v is not None]
    mean = sum(held) / max(1, len(held))
    # Scores that do not differ say that students ignore what they are shown, or know the exam already.
    lab.note("scores", {"mean": mean, "variance": sum((v - mean) ** 2 for v in held) / max(1, len(held)), "students": len(students)})
    if s.shuffle:
        for problem in dict.fromkeys(x.problem.id for x in solutions):
            places = [i for i, x in enumerate(solutions) if x.problem.id == problem]
            dealt = lab.rng("shuffle", problem).sample([scores[i] for i in places], k=len(places))
            for i, value in zip(places, dealt, strict=True):
                scores[i] = value
    return scores


def _taught(lab: Lab, s: Settings, student: Role) -> Any:
    fixed = {skill: worked_examples(lab.task, skill, s.prefix) for skill in lab.task.skills}

    def render(x: Solution, exam: Problem) -> Prompt:
        taught = x.text if s.rationale or x.answer is None else lab.task.answer_only(x.answer)
        return student.wording.shots([*fixed.get(exam.skill, ()), (x.problem.text, taught)])(exam)

    return render


def _elected(lab: Lab, s: Settings, questions: list[Problem], solutions: list[Solution], scores: list[float | None]) -> list[Solution]:
    """Step 3, and of step 6 what the student learns: different texts that give the elected answer, best-scored first."""
    chosen: list[Solution] = []
    right = best = known = 0
    for problem in questions:
        places = [i for i, x in enumerate(solutions) if x.problem.id == problem.id]
        mine = [solutions[i] for i in places]
        groups = same_answers(mine, lambda x, answer: lab.task.verify(replace(x.problem, answer=answer), x.text).right)
        won = [mine[i] for i in elected(groups, [scores[i] for i in places], by=s.vote)]
        if won and problem.answer is not None:
            known, right = known + 1, right + rounds.is_right(lab, won[0])
            best += any(rounds.is_right(lab, x) for x in mine)
        chosen += list({x.text: x for x in reversed(won)}.values())[::-1][: s.per_problem]
    lab.note("answer accuracy", right / known if known else None)
    lab.note("oracle accuracy", best / known if known else None)
    dropped = {"not chosen": len(solutions) - len(chosen)} if len(chosen) < len(solutions) else {}
    lab.tally("chosen", asked=len(solutions), parsed=len(solutions), kept=len(chosen), dropped=dropped)
    return lab.keep("chosen", chosen)


def _tuned(lab: Lab, s: Settings, teacher: Role, solutions: list[Solution], scores: list[float | None]) -> Role:
    """Step 4."""
    right = [float(rounds.is_right(lab, x)) for x in solutions]
    mixed = [None if v is None else s.correctness * r + (1 - s.correctness) * v for r, v in zip(right, scores, strict=True)]
    pairs, dropped = margin_pairs(solutions, mixed, prompt=teacher.wording.plain, above=s.threshold, at_most=s.pairs_per_problem)
    lab.rng("pairs").shuffle(pairs)
    told = len(pairs) + sum(dropped.values())
    lab.tally("pairs", asked=told, parsed=told, kept=len(pairs), dropped=dropped)
    if not lab.keep("pairs", pairs):
        lab.refuse("no two rationales of a problem differ enough", got=f"0 pairs above {s.threshold}", fix="more rationales or exams")
    objective = dpo(beta=s.dpo_beta, nll=s.dpo_nll)
    return lab.fit("teacher", teacher, Fixed(pairs), objective, targets=Reference(teacher.ref), settings=s.dpo, step="m2")


def _note_accuracy(lab: Lab, s: Settings, teacher: Role, render: Render) -> None:
    answers = rounds.answers_of(
        lab, teacher, in_turn(lab.task.validation, s.validation), max_tokens=s.rationale_tokens, step="teacher accuracy", render=render
    )
    lab.note("teacher accuracy", sum(rounds.is_right(lab, x) for x in answers) / max(1, len(answers)))


def _exemplars(lab: Lab, s: Settings, skill: str, questions: list[Problem], solutions: list[Solution]) -> list[tuple[str, str]]:
    """Step 5 for one skill: the best set as (question, rationale) demonstrations. The teacher decides what is kept, students only say what
    fails: mixing the two would change the claim."""
    students = [lab.teacher] if s.own_student else [lab.student, *reversed(lab.pool)][: max(1, s.students)]
    rng = lab.rng("exemplars", skill)
    drawn = [x for x in solutions if x.problem.skill == skill and x.answer is not None]
    sets, history = search_exemplars(
        [tuple(rng.sample(drawn, k=min(s.exemplars, len(drawn)))) for _ in range(s.beam)], questions,
        rounds=s.rounds, beam=s.beam, minibatch=s.minibatch, rng=rng,
        rewrite=lambda held, batch, name: rewritten_sets(
            lab, held, missed_behind(lab, students, held, batch, max_tokens=s.rationale_tokens), name=f"{skill} {name}", count=s.rewrites,
            reasons=s.reasons, temperature=s.temperature, max_tokens=s.exemplar_tokens,
        ),
        right=lambda held, batch: len(batch) - len(missed_behind(lab, [lab.teacher], held, batch, max_tokens=s.rationale_tokens)),
    )  # fmt: skip
    lab.note(f"exemplars {skill}", history)
    return [(x.problem.text, x.text) for x in sets[0]] if sets else []
