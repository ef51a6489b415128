from dataclasses import replace

import pytest

from tutelage.capabilities import Completion, Sampling
from tutelage.errors import DataError
from tutelage.evaluate import evaluate
from tutelage.evaluate.score import worked_examples
from tutelage.prompts.dialects import ENGLISH, FOLDS
from tutelage.prompts.wording import Wording
from tutelage.records import Problem, Verdict, decode, encode
from tutelage.tasks.task import Task

GREEDY = Sampling(max_tokens=8, stop=("\n",))


def verify(problem, text):
    said = text.partition("=> ")[2]
    return Verdict(score=float(said == problem.answer), extracted=said or None, parsed=bool(said))


def row(text, answer, skill="a", **context):
    return Problem(text=text, answer=answer, skill=skill, context=context)


TEST = (row("one ?", "1"), row("two ?", "2"), row("three ?", "3"), row("four ?", "4", "b"))
TASK = Task(
    name="counting",
    version="1",
    licence="Apache-2.0",
    chance=0.1,
    description="Count.",
    seed=(
        row("ten ?", "10", rationale="ten is => 10"),
        row("eleven ?", "11"),
        Problem(text="unlabelled ?", skill="a"),
        row("dozen ?", "12", "b", rationale="dozen => 12"),
    ),
    validation=(),
    test=TEST,
    verify=verify,
    bare_answer="=> {answer}",
)
WORDING = Wording(dialect=FOLDS, description=TASK.description, answer_format=TASK.answer_format)


class Model:
    def __init__(self, **answers):
        self.answers = answers
        self.prompts = []

    def generate(self, prompts, sampling):
        assert sampling.n == 1
        self.prompts += [p.text for p in prompts]
        return [[Completion(text=self.answers.get(p.text.split("\n")[-2].removeprefix("Q : ").removesuffix(" ?"), "?"))] for p in prompts]


def scored(model, *, problems=TEST, task=TASK, wording=WORDING, sampling=GREEDY, shots=0, **options):
    return evaluate(
        model, name="student", task=task, problems=problems, wording=wording, sampling=sampling, model_id="b2-m", shots=shots, **options
    )


ABLE = Model(one="=> 1", two="=> 7", three="no idea", four="=> 4")


def test_right_wrong_and_unreadable_are_three_things():
    card = scored(ABLE, seed=3, arm="arte")
    assert card.scores == (1.0, 0.0, 0.0, 1.0)
    assert card.value == 0.5
    assert card.parsed == 0.75, "one of four could not be read; it counts as not right, and is shown apart"
    assert card.n == 4
    assert card.items == tuple(p.id for p in TEST)
    assert card.by_skill == {"a": pytest.approx(1 / 3), "b": 1.0}
    assert (card.name, card.task, card.task_version, card.model, card.seed, card.arm) == ("student", "counting", "1", "b2-m", 3, "arte")
    assert decode(encode(card)) == card


def test_partial_credit_of_a_verifier_that_could_not_read_the_text_does_not_count():
    unsure = replace(TASK, verify=lambda problem, text: Verdict(score=0.5, parsed="idea" not in text))
    card = scored(ABLE, task=unsure)
    assert card.scores == (0.5, 0.5, 0.0, 0.5)
    assert card.parsed == 0.75


def test_shots_are_seed_problems_of_the_same_skill_with_their_rationale_or_bare_answer():
    model = Model()
    scored(model, shots=1)
    assert model.prompts[0] == "Q : ten ?\nA : ten is => 10\n\nQ : one ?\nA :"
    assert model.prompts[3] == "Q : dozen ?\nA : dozen => 12\n\nQ : four ?\nA :"
    assert worked_examples(TASK, "a", 2) == [("ten ?", "ten is => 10"), ("eleven ?", "=> 11")]
    assert worked_examples(TASK, "a", 0) == []


@pytest.mark.parametrize("column", ["rationale", "solution"])
@pytest.mark.parametrize(
    ("shipped", "shown"),
    [
        ("ten it is => 10", "ten it is => 10"),
        ("two fives: 2*5=<<2*5=10>>10 in all.\nThat is all.", "two fives: 2*5=10 in all.\nThat is all.\n=> 10"),
        ("I make it => 11", "I make it => 11\n=> 10"),
        ("10", "10\n=> 10"),
    ],
)
def test_a_shipped_solution_is_shown_in_a_form_that_the_verifier_reads(column, shipped, shown):
    first = row("ten ?", "10", **{column: shipped})
    assert worked_examples(replace(TASK, seed=(first,)), "a", 1) == [("ten ?", shown)]
    assert verify(first, shown.rpartition("\n")[2]).right


def test_more_shots_than_labelled_seeds_is_refused_with_the_number_there():
    with pytest.raises(DataError, match="3-shot evaluation needs 3 labelled seed problems of skill 'a'\n  got: 2\n  fix: lower"):
        scored(Model(), problems=TEST[:3], shots=3)


def test_test_problems_in_another_order_give_the_same_scores_in_that_order():
    card = scored(ABLE, problems=TEST[::-1])
    assert card.scores == (1.0, 0.0, 0.0, 1.0)[::-1]
    assert card.value == 0.5


def test_a_failed_call_is_an_unreadable_answer():
    class Dead:
        def generate(self, prompts, sampling):
            return [[Completion(text="", finish="error", error="timeout")] for _ in prompts]

    card = scored(Dead())
    assert (card.value, card.parsed) == (0.0, 0.0)


def test_no_test_problem_is_an_error_and_not_a_score_of_zero():
    with pytest.raises(DataError, match="task 'counting' has no problems to score a model on") as refusal:
        scored(ABLE, problems=())
    assert "test split" in str(refusal.value.fix)


# -- fingerprints: what may be compared ----------------------------------------------------------------------------------------


def test_scorecards_that_differ_only_in_the_model_share_a_fingerprint():
    one = scored(ABLE)
    other = evaluate(
        Model(), name="teacher", task=TASK, problems=TEST, wording=WORDING, sampling=GREEDY, model_id="b2-other", shots=0, seed=9, arm="x"
    )
    assert one.fingerprint == other.fingerprint
    assert one.id != other.id


@pytest.mark.parametrize(
    "changed",
    [
        {"shots": 1},
        {"wording": replace(WORDING, dialect=ENGLISH)},
        {"wording": replace(WORDING, dialect=replace(FOLDS, plain="Q : {question} \nA :"))},
        {"problems": TEST[:3]},
        {"problems": TEST[::-1]},
        {"problems": (*TEST[:3], replace(TEST[3], answer="5"))},
        {"task": replace(TASK, version="2")},
        {"task": replace(TASK, name="other")},
        {"sampling": replace(GREEDY, max_tokens=9)},
        {"sampling": replace(GREEDY, stop=())},
        {"sampling": replace(GREEDY, temperature=0.5, seed=1)},
    ],
    ids=lambda c: next(iter(c)),
)
def test_whatever_makes_scores_unlike_changes_the_fingerprint(changed):
    assert scored(ABLE, **changed).fingerprint != scored(ABLE).fingerprint


def test_the_shots_that_are_shown_are_part_of_the_fingerprint():
    reordered = replace(TASK, seed=(TASK.seed[1], TASK.seed[0], *TASK.seed[2:]))
    assert scored(ABLE, task=reordered, shots=1).fingerprint != scored(ABLE, shots=1).fingerprint
    assert scored(ABLE, task=reordered, shots=0).fingerprint == scored(ABLE, shots=0).fingerprint
