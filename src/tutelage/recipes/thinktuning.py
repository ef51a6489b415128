"""ThinkTuning: some of a student's rollouts are continued by a teacher's reflection, and reward teaches the habit of looking back.

Aswin RRV, Dineen, Handa, Uddin, Parmar, Baral, Zhou 2025, "ThinkTuning: Instilling Cognitive Reflections without Distillation", EMNLP
2025, arXiv 2508.07616.

Per step:
 1. The student draws n rollouts o_1..o_n to each question.
 2. Those that end properly are eligible; k = max(1, floor(p_t x eligible)) of each question's are chosen at random.
 3. The teacher reads question and rollout, no answer key, and says an opinion, a reason in the first person (what was right, or where it
    broke) and a phrase that completes or repairs the solution. What cannot be read is no feedback.
 4. o_i' = o_i without its end, the reason, the phrase, an end. The opinion is left out.
 5. r_i = 1 where the text ends properly and its last answer is right, spliced ones included, else 0.
 6. A_i = (r_i - mean r) / (std r + eps) over a question's rollouts, spliced or not.
 7. Minimise the mean over tokens of the clipped term, and in spliced rollouts, from their first token on, of -A pi / (sg[pi] + gamma(A)):
    gamma falls linearly from 0.001 at A = 4 to -0.001 at A = -4. Where A < 0 and pi < 0.01 the clipped term stands.
 8. p_t falls linearly; at 0.06 guidance ends for good, and the rest is plain GRPO.

The bundled teacher follows no instructions: it solves the question under its first technique, its feedback is the step at which the rollout
departs from that work, marked `no`, and its work from there (`yes` and the answer again where they agree). It is the stronger model of
the pair, where the paper's teacher is the student's own start; the arm `own_teacher` has it so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any, Literal

from tutelage import steps
from tutelage.card import Arm, Card, Claim, Contrast, Experiment
from tutelage.generate.reflections import reflect_on
from tutelage.lab import Lab, Role
from tutelage.objectives import Objective, grpo, guided_grpo
from tutelage.prompts.feedback import Reflection, continuation, gives_feedback, looks_back
from tutelage.records import Example, Origin, Problem
from tutelage.tasks.task import by_skill
from tutelage.train import FOREIGN, Checked, FitSettings, Foreign, Guidance, OnPolicy, Spliced

CARD = Card(
    title="ThinkTuning: reflections spliced into rollouts",
    claim="Feedback of a teacher of the same size, spliced into some rollouts, teaches a student to look back and more than GRPO alone.",
    source="Aswin RRV et al. 2025, arXiv 2508.07616",
    family="reinforcement learning",
    kind="system",
    needs={"teacher": ("generate",), "student": ("generate", "train")},
    steps=("questions", "examples"),
    size="steps",
    size_floor=6,
    version=2,
    arm="thinktuning",
    baseline="grpo",
    control="dealt",
    claims=(
        Claim(
            what="MATH-500, Llama-3.2-3B-Instruct, against GRPO", published="+2.08 points", where="abstract", arms=("thinktuning", "grpo"),
        ),
        Claim(what="GPQA-Diamond, against GRPO", published="+3.99 points", where="abstract", arms=("thinktuning", "grpo")),
        Claim(
            what="mean over benchmarks, against the untouched student", published="+3.85 points (3.69 in the proceedings)",
            where="abstract", arms=("thinktuning", "untouched"),
        ),
    ),
    deviations=(
        "The released clamp has its bounds the wrong way round, so that gamma is -0.001 whatever the advantage: the arm `degenerate`.",
        "Every batch is used for one update; the script takes four mini-batches of 32 from 128, and a dual clip that acts only there.",
        "Feedback that does not fit the response limit is not spliced; the script cuts it, which earns a reward of 0.",
        "The released constants end guidance after 8 of about 58 steps; the end is a setting, and `steady` never ends it.",
        "In fp32 and at temperature 1 the behaviour log-probabilities of a rollout's own tokens are the sampler's, elsewhere those of the "
        "training pass at the rollouts' temperature, as they are recomputed in the script; with one update per batch both are the "
        "student's.",
        "Where a task brings no training questions, the run's teacher drafts them for all arms, those that learn without it included.",
        "Which kind of reflection is shown (self-conflict, critique, agreement, consultancy) is not counted, only that there is one.",
        "The paper's demonstrations with a signature sentence are not reproduced; the wording of the prompt and its examples are ours.",
    ),
    demo_arms=("untouched", "grpo", "thinktuning", "dealt"),
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    questions: int = 1000
    """Per skill, from which every step draws; the script takes GSM8K's whole training set."""
    steps: int = 58
    """Updates: one epoch of GSM8K (script)."""
    group: int = 5
    """n (script; the paper may use more)."""
    temperature: float = 1.0
    """Of the rollouts; ours."""
    start: float = 0.1
    """p_0 (script)."""
    floor: float = 0.01
    """p_min (script)."""
    slack: float = 0.05
    """Guidance ends at this plus 0.01 (script)."""
    decay: float = 16 / 58
    """Share of the steps in which p_t falls: a third of a horizon of 50 (script)."""
    shape: str = "linear"
    """How it falls: linear (script), exponential, cosine, or constant."""
    clip: float = 0.2
    """Of the ordinary term (framework default)."""
    gamma: float = 0.001
    """gamma at A = 4, and at A = -4 with the other sign (script)."""
    shaping: Literal["advantage", "constant", "degenerate"] = "advantage"
    """Whether gamma follows the advantage, is the same throughout, or is the same and below 0."""
    spare: float = 0.01
    """Likelihood under which tokens of bad spliced rollouts take the clipped term (loss file); 0 never."""
    rl: FitSettings = FitSettings(lr=1e-6, batch=128, weight_decay=0.0, precision="bf16")  # noqa: RUF009
    """128 questions a step, learning rate 1e-6 (script)."""
    sft: FitSettings = FitSettings(lr=2e-5, batch=64, epochs=1, schedule="linear", warmup=0.03)  # noqa: RUF009
    """Of the arm that learns its own right solutions; as in the baseline sft."""
    question_temperature: float = 1.0
    """Where questions are drafted; ours, as in ARTE."""
    question_tokens: int = 1024
    """Longest reply to a question prompt; ours."""
    response_tokens: int = 1024
    """Longest rollout, spliced or not (script)."""
    feedback_tokens: int = 1024
    """Longest feedback (script)."""
    rationale_tokens: int = 1024
    """Longest answer in evaluation; as the rollouts."""
    habit_questions: int = 25
    """Validation questions per skill on which unaided samples are searched for the habit; ours."""
    shots: tuple[int, ...] = (0,)
    """Numbers of demonstrations in evaluation; none in the paper."""

    guide: bool = True
    """False is plain GRPO."""
    appended: bool = False
    """Shape the ratio of the teacher's tokens only, not of the whole spliced rollout."""
    right_only: bool = False
    """Splice only feedback that reaches the right answer."""
    fair_only: bool = False
    """Splice only feedback whose opinion of the response is right."""
    own_teacher: bool = False
    """The untouched student gives the feedback, as in the paper."""
    deal: bool = False
    """Control: what was said of another question's rollout."""
    reject: bool = False
    """Fine-tune on own right solutions instead (rejection sampling)."""
    teach: bool = True
    """False leaves the student untouched."""


LAPTOP: dict[str, Any] = dict(
    questions=90, steps=80, group=6, start=0.25, decay=0.5, rl=FitSettings(lr=3e-4, batch=8, schedule="linear", warmup=0.03),
    sft=FitSettings(lr=4e-3, batch=8, epochs=6, schedule="linear", warmup=0.03), question_tokens=160, response_tokens=96,
    feedback_tokens=48, rationale_tokens=48, habit_questions=10, shots=(0, 1),
)  # fmt: skip
"""p_0 and n are ours; the learning rate was chosen on seed 100 (1e-3 is worse with and without guidance, see
docs/log.md), the rest is as KDRL's on the bundled pair."""

TOY: dict[str, Any] = LAPTOP | dict(
    questions=6, steps=2, group=3, shape="constant", rl=FitSettings(lr=1e-3, batch=2), sft=FitSettings(lr=4e-3, batch=8, epochs=1),
    habit_questions=2, shots=(0,),
)  # fmt: skip

_ALONE = {"student": ("generate", "train")}

ARMS: dict[str, Arm] = {
    "untouched": Arm(summary="the student as it is", changes={"teach": False}, needs={"student": ("generate",)}),
    "rejection": Arm(summary="taught by its own right solutions", changes={"reject": True}, needs=_ALONE),
    "grpo": Arm(summary="reward only", changes={"guide": False}, needs=_ALONE),
    "thinktuning": Arm(summary="reflections spliced in, ratio shaped by the advantage"),
    "own_teacher": Arm(summary="the same, feedback by the untouched student", changes={"own_teacher": True}, needs=_ALONE),
    "steady": Arm(summary="guidance to the last step", changes={"shape": "constant", "slack": 0.0}),
    "constant": Arm(summary="gamma = 0.1 whatever the advantage (LUFFY)", changes={"gamma": 0.1, "shaping": "constant"}),
    "degenerate": Arm(summary="gamma = -0.001 throughout, as the released code comes to", changes={"shaping": "degenerate"}),
    "no_exception": Arm(summary="unlikely tokens of bad spliced rollouts pushed down too", changes={"spare": 0.0}),
    "appended": Arm(summary="the teacher's tokens shaped only", changes={"appended": True}),
    "right_only": Arm(summary="feedback that reaches the right answer only", changes={"right_only": True}),
    "fair_only": Arm(summary="feedback whose opinion of the response is right only", changes={"fair_only": True}),
    "dealt": Arm(summary="control: feedback on another question's rollout", changes={"deal": True}, control=True),
}

REPRODUCE = Experiment(
    task="folds/*",
    task_options={"test_seed": 8},
    tune_options={"test_seed": 0},
    teacher="bundled:teacher",
    student="bundled:student",
    settings={"rationale_tokens": 96},
    contrasts=(
        Contrast(
            claim="Spliced reflections teach more than reward alone.", better="thinktuning", worse="grpo", control="dealt",
            published="+2.08 to +3.99 points",
        ),
        Contrast(
            claim="The student looks back unaided.", better="thinktuning", worse="grpo", metric="note:looks back", control="dealt",
            published="a behaviour that the base model lacks can be instilled",
        ),
        Contrast(claim="Guidance that ends teaches more than guidance to the last step.", better="thinktuning", worse="steady", rule=False),
    ),
    shrunk="80 updates of 8 questions with 6 rollouts instead of 200, four arms, no longer problems; the teacher's feedback is made of its "
    "own work, and it is the stronger model of the bundled pair.",
    full="tutelage run thinktuning --preset paper --task gsm8k --teacher hf:MODEL --student hf:MODEL --arm all --seeds 5",
)  # fmt: skip


def run(lab: Lab, s: Settings) -> Role:
    student = lab.student
    alone = s.own_teacher or s.reject or not s.guide
    teacher = student if alone else lab.teacher if s.teach else None

    if s.teach and teacher is not None:
        writer = lab.roles.get("teacher", student)  # of the run, not of the arm: arms that are compared learn from the same questions
        questions = steps.training_questions(
            lab, writer, "questions", wanted=s.questions, temperature=s.question_temperature, max_tokens=s.question_tokens
        )
        problems = [p for p in questions if p.answer is not None]
        if not problems:
            lab.refuse("no question has an answer to check", got=f"0 of {len(questions)}", fix="a task with answers")
        student = _rejected(lab, s, problems) if s.reject else _reinforced(lab, s, teacher, problems)

    _note_habit(lab, s, student)
    lab.evaluate("student", student, shots=s.shots, max_tokens=s.rationale_tokens)
    return student


def _reinforced(lab: Lab, s: Settings, teacher: Role, problems: Sequence[Problem]) -> Role:
    """Steps 1 to 8. What is kept as examples are the questions with the answer that a rollout must reach: the texts are the student's."""
    student = lab.student
    asked = [student.wording.plain(p) for p in problems]
    course = "none" if not s.guide else "another question's" if s.deal else "its own"
    lab.keep("examples", [
        Example(prompt=a, completion=lab.task.answer_only(p.answer or ""), context={"skill": p.skill, "feedback": course},
                origin=Origin(step="examples", parents=(p.id,)))
        for p, a in zip(problems, asked, strict=True)
    ])  # fmt: skip

    guidance = Guidance(start=s.start, floor=s.floor, slack=s.slack, share=s.decay, shape=s.shape)
    about = {"teacher": teacher.id, "tokens": s.feedback_tokens, "right_only": s.right_only, "fair_only": s.fair_only, "prompt": 1}
    edit = Spliced(
        _feedback(lab, s, teacher, problems), by=about, guidance=guidance, steps=s.steps, max_tokens=s.response_tokens, deal=s.deal
    )
    source = OnPolicy(
        asked, max_tokens=s.response_tokens, samples=s.group, temperature=s.temperature, stop=student.wording.dialect.solution_stop,
        reward=Checked(problems, verify=lab.task.verify, by=f"{lab.task.name} {lab.task.version}", ended=True),
        edit=edit if s.guide else None, marks=Foreign(appended=s.appended) if s.guide else None,
    )  # fmt: skip
    tuned = lab.fit("student", student, source, _objective(s), settings=replace(s.rl, steps=s.steps), step="reinforce")
    _note_course(lab, tuned)
    return tuned


def _objective(s: Settings) -> Objective:
    """Step 7."""
    if not s.guide:
        return grpo(per="token", clip_low=s.clip, clip_high=s.clip)
    best, worst = {"advantage": (s.gamma, -s.gamma), "constant": (s.gamma, s.gamma), "degenerate": (-s.gamma, -s.gamma)}[s.shaping]
    return guided_grpo(clip=s.clip, best=best, worst=worst, spare=s.spare)


def _feedback(lab: Lab, s: Settings, teacher: Role, problems: Sequence[Problem]) -> Callable[[Sequence[tuple[int, str]]], list[str | None]]:
    """Step 3 for (place of the problem, response), as what follows the response."""
    wording, technique = teacher.wording, steps.techniques(lab, 1)[0]
    instructed = gives_feedback(wording.dialect)
    sampling = lab.sampling("feedback", max_tokens=s.feedback_tokens, stop=() if instructed else wording.dialect.solution_stop)

    def proceed(items: Sequence[tuple[int, str]]) -> list[str | None]:
        found = reflect_on(
            teacher, [(problems[place], text) for place, text in items], dialect=wording.dialect, description=wording.description,
            answer_format=wording.answer_format, solving=wording.technique(technique.name, technique.instruction),
            verify=lab.task.verify, sampling=sampling,
        )  # fmt: skip
        return [
            None if said is None or not wanted(problems[place], text, said) else continuation(wording.dialect, said)
            for (place, text), said in zip(items, found, strict=True)
        ]

    def wanted(problem: Problem, text: str, said: Reflection) -> bool:
        fair = not s.fair_only or said.right == lab.task.verify(problem, text).right
        return fair and (not s.right_only or lab.task.verify(problem, text + continuation(wording.dialect, said)).right)

    return proceed


def _rejected(lab: Lab, s: Settings, problems: Sequence[Problem]) -> Role:
    """The baseline: of n own solutions per question the right ones, until there are as many as questions."""
    right = steps.sampled_solutions(
        lab, lab.student, problems, keep="right", tries=s.group, temperature=s.temperature, max_tokens=s.response_tokens, name="solutions"
    )
    if not right:
        lab.refuse("the student solves none of the questions", got="0 right solutions", fix="easier questions, or more tries")
    return steps.teach(lab, lab.student, right, settings=s.sft)


def _note_course(lab: Lab, tuned: Role) -> None:
    """What splicing was worth and what became of the policy: mean reward of spliced rollouts minus that of the others while guided,
    share of tokens in spliced rollouts, and surprise (an estimate of the entropy per token) in the last tenth of the draws."""
    told: Sequence[Mapping[str, float]] = lab.told(tuned).get("rollouts", ())
    guided = [x for x in told if 0 < x.get("spliced", 0) < 1]
    if guided:
        others = [(x["reward"] - x["spliced"] * x["spliced_reward"]) / (1 - x["spliced"]) for x in guided]
        lab.note("reward of spliced minus others", fmean(x["spliced_reward"] - y for x, y in zip(guided, others, strict=True)))
    if told:
        lab.note("tokens spliced", fmean(x.get(FOREIGN, 0.0) for x in told))
        lab.note("surprise at the end", fmean(x["surprise_nats"] for x in told[-max(1, len(told) // 10) :]))


def _note_habit(lab: Lab, s: Settings, student: Role) -> None:
    """How often the student looks back of its own accord, on validation questions, and how often that ends right."""
    problems = [p for mine in by_skill(lab.task.validation).values() for p in mine[: s.habit_questions]]
    sampling = lab.sampling(
        "habit", max_tokens=s.response_tokens, temperature=s.temperature, n=4, stop=student.wording.dialect.solution_stop
    )
    replies = student.generate([student.wording.plain(p) for p in problems], sampling)
    drawn = [(p, c.text) for p, group in zip(problems, replies, strict=True) for c in group]
    habit = [(p, text) for p, text in drawn if looks_back(student.wording.dialect, text)]
    lab.note("looks back", len(habit) / max(1, len(drawn)))
    if habit:
        lab.note("right where it looks back", sum(lab.task.verify(p, text).right for p, text in habit) / len(habit))
