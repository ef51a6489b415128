"""BIG-Bench Hard: the 27 sub-tasks whose answers a rule can check, read from `TUTELAGE_DATA`/bbh/NAME.json.

`bbh/NAME` opens one; `bbh/*` opens all that are present, `skill` being the name of the sub-task. The published files have no splits;
they are dealt out by a hash of the question: 10 seed, 40 train, 80 validation, 120 test of 250 rows (smaller files in proportion).
Every sub-task repeats its own wording
("do you return to the starting point?"), so the set is `templated`: of 50 training rows of `navigate` 50 share ten words with a test row.
Options: `seed_size`, `train_size`, `validation_size`, `test_size` (per sub-task), `split_seed`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import orjson

from tutelage.errors import DataError
from tutelage.records import Problem, Verdict
from tutelage.tasks.options import Options
from tutelage.tasks.published import data_folder, published_file, published_task
from tutelage.tasks.splits import at, deal, thin, without_repeats
from tutelage.tasks.task import Task, Technique, Verify
from tutelage.verify.choice import choice, listed_options, place_of
from tutelage.verify.exact import exact
from tutelage.verify.numeric import numeric, parse_number

NAME = "bbh"
VERSION = "1"
LICENCE = "MIT"

SIZES = {"seed": 10, "train": 40, "validation": 80}
"""Per sub-task; what remains is test."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kind:
    """What the published files do not say of a sub-task."""

    check: str
    """`letters` (options in the question), `words` (fixed options), `number`, `list` (words in order) or `symbols`."""
    about: str
    """What is asked, for prompts."""
    procedure: str
    """The steps an expert would take."""
    rules: str
    """What governs the answer."""
    words: tuple[str, ...] = ()


_OBJECTS = _Kind(
    check="letters",
    about="Follow a series of swaps between people and say who has what in the end.",
    procedure="write down who holds what at the start; apply the swaps one by one, writing the whole state; look up the person asked about",
    rules="a swap exchanges exactly two holdings and leaves all others as they are",
)
_DEDUCTION = _Kind(
    check="letters",
    about="Put objects in order from statements about their places, and say which statement must hold.",
    procedure="number the places; write every statement as a relation; fix what has only one possible place; then test each option",
    rules="every place holds one object; a relation that excludes all places but one decides",
)

KINDS: dict[str, _Kind] = {
    "boolean_expressions": _Kind(
        check="words",
        words=("True", "False"),
        about="Evaluate a Boolean expression of True, False, and, or, not and parentheses.",
        procedure="resolve the innermost parentheses; then every not; then every and from left to right; then every or",
        rules="not binds tighter than and, and binds tighter than or, parentheses come first, and two nots cancel",
    ),
    "causal_judgement": _Kind(
        check="words",
        words=("Yes", "No"),
        about="Read a short story and say how a typical person would answer a question about cause or intention.",
        procedure="list the agents, their acts and their wishes; say what would have happened otherwise; then answer as most people would",
        rules="people call the abnormal event the cause, and call a foreseen harm intended more readily than a foreseen benefit",
    ),
    "date_understanding": _Kind(
        check="letters",
        about="Work out a date from a few sentences and choose it among the options.",
        procedure="fix today's date; translate every phrase into a shift of days, months or years; apply it; compare with the options",
        rules="the lengths of the months, leap years with their exceptions at centuries, and month before day in MM/DD/YYYY",
    ),
    "disambiguation_qa": _Kind(
        check="letters",
        about="Say whom a pronoun in a sentence refers to, or that it is ambiguous.",
        procedure="name both candidates; put each in the place of the pronoun; ask whether each reading makes sense; choose",
        rules="a reading that contradicts the roles of the people is out; if both readings make sense the pronoun is ambiguous",
    ),
    "dyck_languages": _Kind(
        check="symbols",
        about="Complete a sequence of brackets so that all are closed in the right order.",
        procedure="read from left to right with a stack; push opening brackets, pop at closing ones; then close what is left from the top",
        rules="the bracket opened last is closed first, and by its own kind",
    ),
    "formal_fallacies": _Kind(
        check="words",
        words=("valid", "invalid"),
        about="Say whether an argument follows from its premises by logic alone.",
        procedure="write premises and conclusion as formulas; look for a case in which all premises hold and the conclusion fails",
        rules="if then does not run backwards, contraposition does hold, and what happens to be true does not matter",
    ),
    "geometric_shapes": _Kind(
        check="letters",
        about="Say which shape an SVG path draws.",
        procedure="list the points; count the line segments and see whether the path closes; compare lengths and angles if needed",
        rules="the number of sides names the polygon; arcs make circles, ellipses and sectors",
    ),
    "hyperbaton": _Kind(
        check="letters",
        about="Choose the sentence whose adjectives stand in the usual English order.",
        procedure="label every adjective by its class; compare the two orders; choose the one that follows the rule",
        rules="opinion, size, age, shape, colour, origin, material, purpose, then the noun",
    ),
    **{f"logical_deduction_{n}_objects": _DEDUCTION for n in ("three", "five", "seven")},
    "movie_recommendation": _Kind(
        check="letters",
        about="Choose the film that somebody who liked the listed films would like.",
        procedure="note genre, tone, time and audience of the listed films; do the same for the options; choose the closest",
        rules="films that share genre, decade and audience are liked together",
    ),
    "multistep_arithmetic_two": _Kind(
        check="number",
        about="Evaluate an arithmetic expression of small whole numbers with parentheses.",
        procedure="evaluate each parenthesis alone; in it multiply first, then add and subtract from left to right; combine the results",
        rules="parentheses before products, products before sums, minus times minus is plus",
    ),
    "navigate": _Kind(
        check="words",
        words=("Yes", "No"),
        about="Say whether a series of steps and turns leads back to the starting point.",
        procedure="start at (0, 0) facing north; keep position and direction after every instruction; compare the end with the start",
        rules="steps left, right or backward do not turn you; a turn changes the direction of what follows",
    ),
    "object_counting": _Kind(
        check="number",
        about="Count the things of one kind in a list of possessions.",
        procedure="go through the list; mark what belongs to the kind asked for with its number; add the marked numbers",
        rules="a or an means one, number words count as written, and things of other kinds do not count",
    ),
    "penguins_in_a_table": _Kind(
        check="letters",
        about="Answer a question about a small table of penguins and changes made to it.",
        procedure="copy the table; apply every change; look up or count what is asked; find it among the options",
        rules="a row is one animal, a column one property, and later changes override the table",
    ),
    "reasoning_about_colored_objects": _Kind(
        check="letters",
        about="Answer a question about the colours and the order of things on a surface.",
        procedure="list the things in order with their colours; apply removals; find the place or count what is asked",
        rules="order is from left to right as listed, and several of a kind count each",
    ),
    "ruin_names": _Kind(
        check="letters",
        about="Choose the humorous edit of the name of an artist, film or band.",
        procedure="compare every option with the real name; find the changed letters; ask whether the change makes a new phrase",
        rules="a funny edit is small and gives a new sense; a mere misspelling is not funny",
    ),
    "salient_translation_error_detection": _Kind(
        check="letters",
        about="Name the kind of error in a translation from German to English.",
        procedure="align source and translation phrase by phrase; find where they differ; name the class of the difference",
        rules="named entities, numbers, modifiers, negation, facts and dropped content are separate classes",
    ),
    "snarks": _Kind(
        check="letters",
        about="Choose the sarcastic one of two statements.",
        procedure="read each at face value; ask whether anybody would mean it; choose the one whose praise or blame is absurd",
        rules="sarcasm says the opposite of what is meant, often by exaggeration",
    ),
    "sports_understanding": _Kind(
        check="words",
        words=("yes", "no"),
        about="Say whether a sentence about sports is plausible.",
        procedure="name the athlete's sport; name the sport of the action; compare",
        rules="an action is plausible if it belongs to the sport of the person or team named",
    ),
    "temporal_sequences": _Kind(
        check="letters",
        about="Say in which stretch of a day somebody could have gone somewhere.",
        procedure="write the opening hours; strike out every stretch in which the person was seen elsewhere; what is left is the answer",
        rules="a person is in one place at a time, and a closed place cannot be visited",
    ),
    **{f"tracking_shuffled_objects_{n}_objects": _OBJECTS for n in ("three", "five", "seven")},
    "web_of_lies": _Kind(
        check="words",
        words=("Yes", "No"),
        about="Say whether the last person of a chain tells the truth.",
        procedure="start with the person whose honesty is given; decide each following person from the one before; answer for the last",
        rules="who calls a liar a liar, or a truthful person truthful, tells the truth; anybody else lies",
    ),
    "word_sorting": _Kind(
        check="list",
        about="Sort the given words alphabetically and write them separated by spaces.",
        procedure="group the words by first letter; sort each group by the second letter, then the third, and so on; join the groups",
        rules="a shorter word comes before a longer one that begins with it, and every word appears as often as given",
    ),
}


def names() -> tuple[str, ...]:
    return ("bbh/*", *(f"bbh/{name}" for name in sorted(KINDS)))


def load(name: str, options: Mapping[str, Any]) -> Task:
    """`bbh/NAME`, or `bbh/*` for all sub-tasks whose file is present."""
    chosen = Options(name, options)
    sizes = {split: chosen.whole(f"{split}_size", size) or 0 for split, size in SIZES.items()}
    test_size = chosen.whole("test_size")
    split_seed = chosen.whole("split_seed", 0) or 0
    chosen.done()
    subs = _present(name) if name == "bbh/*" else (name.removeprefix("bbh/"),)
    splits: dict[str, tuple[Problem, ...]] = dict.fromkeys(("seed", "train", "validation", "test"), ())
    dropped: dict[str, int] = {}
    for sub in subs:
        problems, left_out = _read(sub, published_file(name, f"bbh/{sub}.json"))
        unique, repeated = without_repeats({"test": problems})
        for reason, count in (*left_out.items(), *((r.replace("test: ", ""), n) for r, n in repeated.items())):
            dropped[reason] = dropped.get(reason, 0) + count
        test_share = 250 - sum(SIZES.values()) if test_size is None else test_size
        dealt = deal(unique["test"], sizes | {"test": test_share}, rest="beyond", seed=split_seed)
        if test_size is None:
            dealt["test"] = (*dealt["test"], *dealt["beyond"])
        dealt["test"] = thin(dealt["test"], test_size, seed=split_seed)
        splits = {split: (*rows, *dealt[split]) for split, rows in splits.items()}
    splits, across = without_repeats(splits)
    dropped |= across
    return published_task(
        name,
        splits,
        seeds=1,
        fix="ask for fewer rows in the other splits",
        options=options,
        version=VERSION,
        licence=LICENCE,
        chance=_chance(splits["test"]),
        description=" ".join(dict.fromkeys(KINDS[sub].about for sub in subs)) if len(subs) == 1 else "Solve a short reasoning problem.",
        verify=verifier_of(subs),
        techniques=techniques(subs[0]) if len(subs) == 1 else (),
        templated=True,
        dropped=dropped,
    )


def verify(problem: Problem, text: str) -> Verdict:
    """By the rule of the problem's sub-task."""
    return _by_rule(KINDS[problem.skill], problem, text)


def verifier_of(subs: Sequence[str]) -> Verify:
    """By the rule of the one sub-task, whatever skill a problem is filed under; of several, by that of the problem's."""
    return verify if len(subs) != 1 else partial(_by_rule, KINDS[subs[0]])


def _by_rule(kind: _Kind, problem: Problem, text: str) -> Verdict:
    if kind.check in ("letters", "words"):
        # A question that a model wrote comes without its options.
        return choice(problem if problem.choices else replace(problem, choices=options_of(problem.text, kind.words)), text)
    if kind.check == "number":
        return numeric(problem, text)
    return exact(problem, text, list_commas=kind.check == "list", spaces=kind.check != "symbols")


def techniques(sub: str) -> tuple[Technique, ...]:
    """Four ways of asking for a rationale of one sub-task."""
    kind = KINDS[sub]
    return (
        Technique(name="expert", instruction=f"You are an expert in such problems and always work in one order: {kind.procedure}."),
        Technique(
            name="rules", instruction=f"First recall what governs such problems: {kind.rules}. Then apply it to this one, step by step."
        ),
        Technique(name="bare", instruction="Solve the problem."),
        Technique(
            name="exam",
            instruction="Treat this as a question of an exam: read it twice, note what is asked, rule out what cannot be, check, answer.",
        ),
    )


def _present(name: str) -> tuple[str, ...]:
    folder = data_folder(name) / "bbh"
    found = tuple(sub for sub in KINDS if (folder / f"{sub}.json").is_file())
    if not found:
        raise DataError(
            "no file of BIG-Bench Hard was found", got=str(folder), fix="TUTELAGE_DATA must name a folder with bbh/NAME.json in it"
        )
    return found


def _read(sub: str, path: Path) -> tuple[list[Problem], dict[str, int]]:
    kind = KINDS[sub]
    try:
        rows = orjson.loads(path.read_bytes())["examples"]
        pairs = [(str(row["input"]), str(row["target"])) for row in rows]
    except (orjson.JSONDecodeError, KeyError, TypeError) as broken:
        raise DataError(f"file of bbh/{sub} is not as published: {broken!r}", got=str(path), fix="download it again") from broken
    problems: list[Problem] = []
    dropped: dict[str, int] = {}
    for number, (question, target) in enumerate(pairs, start=1):
        problem = Problem(
            text=question.strip(), answer=target.strip(), skill=sub, choices=options_of(question, kind.words), origin=at(path, "", number)
        )
        reason = _unusable(problem, kind.check)
        if reason:
            dropped[f"{sub}: {reason}"] = dropped.get(f"{sub}: {reason}", 0) + 1
        else:
            problems.append(problem)
    return problems, dropped


def options_of(question: str, words: tuple[str, ...] = ()) -> tuple[str, ...]:
    """The options that a question of this set lists after `Options:`, or `words` where it lists none."""
    return (listed_options(question) if "Options:" in question else ()) or words


def _unusable(problem: Problem, check: str) -> str | None:
    if not problem.text or not problem.answer:
        return "empty question or target"
    if check in ("letters", "words") and place_of(problem.answer, problem.choices)[0] is None:
        return "target is not one of the options"
    if check == "number" and parse_number(problem.answer) is None:
        return "target is not a number"
    return None


def _chance(problems: tuple[Problem, ...]) -> float:
    """Mean over problems of one over the number of options; 0 where the answer is open."""
    return sum(1 / len(p.choices) if p.choices else 0.0 for p in problems) / max(len(problems), 1)
