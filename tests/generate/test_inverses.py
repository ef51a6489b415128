import random

from tutelage.capabilities import Completion, Sampling
from tutelage.generate.inverses import answer_of, draft_inverses, judge_inverses
from tutelage.prompts.dialects import ENGLISH
from tutelage.records import Problem, Solution

GREEDY = Sampling(max_tokens=50)


class Says:
    """Answers each prompt by the first key that stands in its last lines."""

    def __init__(self, replies):
        self.replies = replies
        self.asked = []

    def generate(self, prompts, sampling):
        self.asked += prompts
        return [[Completion(text=next(v for k, v in self.replies.items() if k in p.text[-300:]))] for p in prompts]


def test_inverses_come_in_order_and_unreadable_or_repeated_ones_are_none():
    problems = [Problem(text=t, answer="5", skill="s", choices=("x", "y")) for t in ("one?", "two?", "three?")]
    teacher = Says({"one?": "<question>eno?</question>", "two?": "no", "three?": "<question> three? </question>"})
    found = draft_inverses(
        teacher, problems, dialect=ENGLISH, description="d", sampling=GREEDY, rng=random.Random(0), teacher_id="t", tell_answer=False
    )
    assert [q and q.text for q in found] == ["eno?", None, None]
    assert found[0].answer is None
    assert (found[0].skill, found[0].choices) == ("s", ("x", "y"))
    assert found[0].origin.parents == (problems[0].id,)
    assert all("Correct answer: 5" not in p.text for p in teacher.asked)


def test_the_judge_is_asked_about_answered_ones_only():
    problems = [Problem(text=f"q{i}", answer="5") for i in range(4)]
    texts = ["<ans>6</ans>", "", "<ans>7</ans>", "<ans>8</ans>"]
    backward = [Solution(problem=Problem(text=f"b{i}"), text=t) for i, t in enumerate(texts)]
    judge = Says({"b0": "<consistent>True</consistent>", "b2": "<consistent>False</consistent>", "b3": "?"})
    assert judge_inverses(judge, problems, backward, sampling=GREEDY) == [True, False, False, None]
    assert len(judge.asked) == 3


def test_the_answer_of_a_solution_is_read_from_its_text_where_no_verifier_could():
    assert answer_of(Solution(problem=Problem(text="q"), text="so <ans>4</ans>", answer="3")) == "3"
    assert answer_of(Solution(problem=Problem(text="q"), text="so <ans>4</ans>")) == "4"
