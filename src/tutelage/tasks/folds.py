"""The bundled world as tasks: `folds/*` (the four target skills), `folds/SKILL` for one of the twelve.

Every problem is drawn on the spot and none is stored. Which split a question can belong to follows from a hash of its words, so seed,
training, validation and test problems are disjoint whatever the seeds and sizes, and the bundled models were raised on no question
that can be a test question of a target skill. Options: `seed_size`, `train_size`, `validation_size`, `test_size` (per skill),
`test_seed` and `validation_seed` (another number gives problems that nobody has looked at: none of them is in the default set) and `styles`
(comma-separated; by default without `maybe`, steps that often go wrong, and without `before`, the state-first notation of
`folds_notations`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tutelage.errors import SettingsError, did_you_mean
from tutelage.prompts.technique import Technique
from tutelage.records import Origin, Problem, Verdict
from tutelage.seeds import stream
from tutelage.tasks.folds_documents import TEST_BUCKETS
from tutelage.tasks.folds_inverse import invert
from tutelage.tasks.folds_notations import notation_of
from tutelage.tasks.folds_world import ARROW, SKILLS, TARGETS, bucket, draw_question, mark_steps, parse_question, style_of, write_steps
from tutelage.tasks.folds_world import solve as solve_text
from tutelage.tasks.options import Options
from tutelage.tasks.splits import prove_disjoint
from tutelage.tasks.task import Task
from tutelage.verify.extract import final_answer

NAME = "folds"
VERSION = "1"
LICENCE = "Apache-2.0"
CHANCE = {
    "msum": 0.1,
    "track": 1 / 3,
    "nav": 0.25,
    "shop": 0.07,
    "max": 0.37,
    "min": 0.37,
    "newest": 0.1,
    "evens": 0.32,
    "bigs": 0.32,
    "parity": 0.5,
    "all": 0.94,
    "any": 0.62,
}
"""Per skill, the accuracy of always giving the most frequent answer."""

SIZES = {"seed": 12, "train": 120, "validation": 40, "test": 60}
"""Per skill."""

LARGEST = 1000
"""Problems per skill and split; every skill has several times as many questions in its smallest split."""

BUCKETS = {"seed": (6,), "train": (7, 8, 9), "validation": (4, 5), "test": TEST_BUCKETS}

TECHNIQUES = {
    "steps": (
        "Go through the days in order. For each day write the day, its value and the state after it, with ' ; ' between days, "
        f"then '{ARROW}' and the answer."
    ),
    "terse": f"Write '{ARROW}' and the answer, and nothing else.",
    "posthoc": (
        "First write 'say' and the answer, then go through the days in order and write each with its value, with ' ; ' in between, "
        f"then '{ARROW}' and the answer again."
    ),
    "maybe": (
        "Go through the days in order. For each day write the day, its value and your first guess of the state after it without "
        f"checking, with ' ; ' between days, then '{ARROW}' and the answer."
    ),
    "before": (
        "Go through the days in order. For each day write the state before it, the day and its value, with ' ; ' between days, "
        f"then '{ARROW}' and the answer."
    ),
}
DEFAULT_STYLES = ("steps", "terse", "posthoc")

DESCRIPTION = "A record lists days with a value each; going through the days changes a state, and the last state is the answer."

RULES = {
    "msum": "The state is the last digit of the sum so far.",
    "track": "Three cups a, b, c; a ball is under one of them and each day two cups change places. The state is the ball's cup.",
    "nav": "The state is the way one faces; each day one turns right, left or back.",
    "shop": "The state is the cash so far; it begins at 0.",
    "max": "The state is the largest digit so far.",
    "min": "The state is the smallest digit so far.",
    "newest": "The state is the latest digit.",
    "evens": "The state is how many digits so far are even (0 is even).",
    "bigs": "The state is how many digits so far are 5 or more.",
    "parity": "The state says whether the sum so far is odd or even.",
    "all": "The state says yes while every digit so far is 5 or more, no otherwise.",
    "any": "The state says yes once a digit is 0 or 1, no before.",
}


def names() -> tuple[str, ...]:
    return ("folds/*", *(f"folds/{skill}" for skill in SKILLS))


def load(name: str, options: Mapping[str, Any]) -> Task:
    """`folds/*` for the four target skills together, `folds/SKILL` for one of any kind."""
    if name not in names():
        raise SettingsError(f"no task is called '{name}'", got=name, fix=did_you_mean(name, names()))
    chosen = Options(name, options)
    sizes = {split: chosen.whole(f"{split}_size", size, least=0 if split == "train" else 1) or 0 for split, size in SIZES.items()}
    drawn_by = {split: chosen.whole(f"{split}_seed", 0) or 0 for split in ("validation", "test")}
    styles = tuple(s.strip() for s in (chosen.text("styles") or ",".join(DEFAULT_STYLES)).split(","))
    chosen.done()
    for style in styles:
        if style not in TECHNIQUES:
            raise SettingsError(f"option 'styles' of task '{name}' has no value '{style}'", got=style, fix=did_you_mean(style, TECHNIQUES))
    skills = TARGETS if name == "folds/*" else (name.removeprefix("folds/"),)
    splits = {
        split: tuple(problem for skill in skills for problem in draw_problems(skill, split, size, seed=drawn_by.get(split, 0)))
        for split, size in sizes.items()
    }
    prove_disjoint(splits)
    rules = " ".join(RULES[skill] for skill in skills)
    return Task(
        name=name,
        version=VERSION,
        licence=LICENCE,
        chance=sum(CHANCE[skill] for skill in skills) / len(skills),
        description=f"{DESCRIPTION} {rules}",
        verify=verify,
        techniques=tuple(Technique(name=style, instruction=TECHNIQUES[style]) for style in styles),
        answer_format=f"the final answer as one word or number after '{ARROW}'",
        bare_answer=f"{ARROW} {{answer}}",
        templated=True,
        solve=solve,
        invert=invert,
        criticise=criticise,
        style=notation_of if "before" in styles else style_of,
        dialects={"folds": skills[0]} if len(skills) == 1 else {},
        options=dict(options),
        seed=splits["seed"],
        train=splits["train"],
        validation=splits["validation"],
        test=splits["test"],
    )


def draw_problems(skill: str, split: str, count: int, *, seed: int) -> list[Problem]:
    """`count` different problems of one skill that can only belong to `split`.

    Another seed gives others; problems of seed 0 are never among them, so that a choice made on a default set is not repeated on
    a fresh one.
    """
    avoid = {p.text for p in draw_problems(skill, split, SIZES[split], seed=0)} if seed else set()
    if count > LARGEST:
        raise SettingsError(f"a split of the bundled world has at most {LARGEST} problems per skill", got=count, fix="ask for fewer")
    rng = stream(seed, "folds", skill, split)
    found: dict[str, Problem] = {}
    while len(found) < count:
        text = draw_question(rng, skill).text
        if bucket(text) in BUCKETS[split] and text not in avoid and text not in found:
            question = parse_question(text)
            # Seeds are shown solved in few-shot evaluation, so they carry a worked solution.
            context = {"rationale": write_steps(question, rng)} if split == "seed" and question is not None else {}
            origin = Origin(step=f"task folds {split}")
            found[text] = Problem(text=text, answer=solve_text(text), skill=skill, context=context, origin=origin)
    return list(found.values())


def solve(problem: Problem) -> str | None:
    """The right answer; None where the question is malformed or asks for another skill than the problem names."""
    question = parse_question(problem.text)
    if question is None or problem.skill not in ("", question.skill):
        return None
    return solve_text(problem.text)


def criticise(problem: Problem, text: str) -> list[tuple[str, bool]] | None:
    """Every step as it should be, then the answer, and whether the solution has it so."""
    return mark_steps(problem.text, text)


def verify(problem: Problem, text: str) -> Verdict:
    """Whether the word after the last `=>`, or in answer tags, is the answer. Problems without an answer are solved first."""
    found = extract(text)
    if found is None:
        return Verdict(score=0.0, parsed=False, reason="no final answer in the text")
    answer = problem.answer if problem.answer is not None else solve(problem)
    if answer is None:
        return Verdict(score=0.0, extracted=found, parsed=False, reason="the problem has no answer to compare with")
    return Verdict(score=float(_plain(found) == _plain(answer)), extracted=found)


def extract(text: str) -> str | None:
    """The answer that a solution gives: tags first, then the word after the last arrow, then what English solutions say. None if none."""
    if "<ans" not in text.lower() and ARROW in text:
        after = text.rpartition(ARROW)[2].split()
        return after[0] if after else None
    found = final_answer(text)
    if found is None or (found.rule == "bare" and len(found.value.split()) != 1):
        return None
    return found.value


def _plain(answer: str) -> str:
    return answer.strip().removeprefix("+").rstrip(".").casefold()
