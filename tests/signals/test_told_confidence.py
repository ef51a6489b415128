"""How sure a model is of its answers, by what it states, by the number that it finds likeliest and by how many of its draws agree; and
what such confidence is worth."""

import pytest

from tutelage.capabilities import Completion, Sampling, TokenScores
from tutelage.errors import DataError
from tutelage.evaluate import evaluate, evaluate_confidence
from tutelage.measure.calibration import ece
from tutelage.prompts.confidence import render_stating
from tutelage.prompts.dialects import ENGLISH, FOLDS
from tutelage.prompts.wording import Wording
from tutelage.records import Problem, Prompt
from tutelage.signals.confidence import likeliest_confidence, self_consistency, stated_confidence
from tutelage.tasks.folds import verify
from tutelage.tasks.task import Task

PROBLEMS = [Problem(text=f"q{i}", answer=str(i)) for i in range(4)]
GREEDY = Sampling(max_tokens=99)
REPLIES = {
    "q0": "Mon 8 8 ; Tue 3 1 => 0 ; 1 3 ? 7",
    "q1": "Mon 8 8 ; Tue 3 1 ; Wed 9 0 ; Thu 7 7 ; Fri 1 8 ; Sat 4 2 ; Sun 9 1 => 1 ; 5 2 ? 10",
    "q2": "=> 5",
    "q3": "=> 3 ; 3 ? 11",
}


class Model:
    """Finds a number likelier the nearer it is to the length of the answer."""

    def __init__(self):
        self.scored = []

    def generate(self, prompts, sampling):
        return [[Completion(text=REPLIES[p.text[-2:]])] * sampling.n for p in prompts]

    def score(self, prompts, completions):
        self.scored += completions
        return [TokenScores(logprobs=(-0.5, -abs(len(c.rpartition(" ? ")[0]) - int(c.rpartition(" ")[2])) * 1.0)) for c in completions]


def plain(problem):
    return Prompt.user(problem.text)


def test_what_is_stated_is_read_from_the_whole_text():
    told = stated_confidence(Model(), PROBLEMS, render=plain, dialect=FOLDS, sampling=GREEDY)
    assert [confidence for _, confidence in told] == [0.7, 1.0, None, None]
    assert told[1][0].endswith("Sun 9 1 => 1"), "behind a long chain"
    assert [verify(p, text).right for p, (text, _) in zip(PROBLEMS, told, strict=True)] == [True, True, False, True]
    long = "First 3 and 4 make 7. " * 200 + "<ans>7</ans>\nSelf-reflection: I doubt whether 8 or 9.\nConfidence: 3"
    (english,) = stated_confidence(
        type("One", (), {"generate": lambda self, prompts, sampling: [[Completion(text=long)]]})(), PROBLEMS[:1], render=plain,
        dialect=ENGLISH, sampling=GREEDY,
    )  # fmt: skip
    assert english == (long.partition("\nSelf")[0], 0.3)


def test_the_likeliest_number_stands_behind_the_answer_alone():
    model = Model()
    told = likeliest_confidence(model, PROBLEMS[2:], render=plain, dialect=FOLDS, sampling=GREEDY)
    assert told == [("=> 5", 0.4), ("=> 3", 0.4)]
    assert model.scored[:11] == [f"=> 5 ? {n}" for n in range(11)]
    assert len(model.scored) == 22


def test_of_equally_likely_numbers_it_is_the_smallest():
    flat = type("Flat", (Model,), {"score": lambda self, prompts, completions: [TokenScores(logprobs=(-1.0,))] * len(completions)})()
    assert likeliest_confidence(flat, PROBLEMS[:1], render=plain, dialect=FOLDS, sampling=GREEDY)[0][1] == 0.0


def test_self_consistency_is_the_share_of_the_commonest_answer():
    draws = {"q0": ["a", "b", "b", "c"], "q1": ["-", "-", "a", "b"], "q2": ["-"] * 4}

    class Voter:
        def generate(self, prompts, sampling):
            return [[Completion(text=t) for t in draws[p.text]] for p in prompts]

    def group(problem, texts):
        assert problem in PROBLEMS
        return [[i for i, t in enumerate(texts) if t == letter] for letter in "abc" if letter in texts]

    sampling = Sampling(max_tokens=9, temperature=1.0, n=4)
    told = self_consistency(Voter(), PROBLEMS[:3], render=plain, group=group, sampling=sampling)
    assert told == [("b", 0.5), ("a", 0.25), ("-", None)], "an unreadable draw has no vote but counts; ties go to the first"


def task(test=()):
    return Task(
        name="counting", version="1", licence="Apache-2.0", chance=None, description="Count.", seed=(), validation=(), test=tuple(test),
        verify=verify, bare_answer="=> {answer}",
    )  # fmt: skip


def test_what_confidence_is_worth():
    told = [("=> 0", 0.7), ("=> 1", 1.0), ("=> 5", None), ("=> 9", 0.7)]
    worth = evaluate_confidence(lambda problems: told, task=task(), problems=PROBLEMS)
    sure, right = [0.7, 1.0, 0.0, 0.7], [1.0, 1.0, 0.0, 0.0]
    assert worth["ECE"] == pytest.approx(ece(sure, right)) == pytest.approx((abs(0.3 - 0.7)) / 4)
    assert worth["Brier"] == pytest.approx((0.09 + 0 + 0 + 0.49) / 4)
    assert worth["AUROC"] == pytest.approx((0.5 + 1 + 1 + 1) / 4)
    assert {k: worth[k] for k in ("told right", "stated", "at the ends")} == {"told right": 0.5, "stated": 0.75, "at the ends": 0.5}
    with pytest.raises(DataError, match="sure about"):
        evaluate_confidence(lambda problems: [], task=task(), problems=[])


def test_a_reply_that_says_more_than_its_solution_is_scored_on_the_solution():
    class Said:
        def generate(self, prompts, sampling):
            return [[Completion(text="3 + 1 => 4\nSelf-reflection: if it is 6, then 6 + 1 => 7\nConfidence: 9")] for _ in prompts]

    problems = [Problem(text="q0", answer="4"), Problem(text="q1", answer="7")]
    given = {
        "name": "student", "task": task(problems), "problems": problems, "sampling": GREEDY, "model_id": "m",
        "wording": Wording(dialect=ENGLISH, description="Count.", answer_format="a number"),
    }  # fmt: skip
    whole, part = evaluate(Said(), **given), evaluate(Said(), **given, read=lambda text: text.partition("\nSelf")[0])
    assert (whole.scores, part.scores) == ((0.0, 1.0), (1.0, 0.0))
    assert whole.fingerprint == part.fingerprint, "the same was asked"


def test_a_model_that_was_not_taught_so_is_asked_for_a_number_on_the_scale_of_the_training_data():
    given = {"description": "Count.", "answer_format": "a number", "question": "1 + {x} ?"}
    asked = render_stating(ENGLISH, **given)
    assert (asked.kind, "1 + {x} ?" in asked.text, "from 0 (surely wrong) to 10" in asked.text) == ("confidence.stating", True, True)
    assert render_stating(FOLDS, **given).text == "Q : 1 + {x} ?\nA :"
