import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.capabilities import Completion, Sampling
from tutelage.prompts.dialects import FOLDS
from tutelage.prompts.wording import Wording
from tutelage.records import Problem, Solution, Verdict
from tutelage.signals.one_shot import one_shot
from tutelage.signals.responses import responses

GREEDY = Sampling(max_tokens=8)
WORDING = Wording(dialect=FOLDS, description="", answer_format="")


def exact(problem, text):
    said = text.partition("=> ")[2]
    return Verdict(score=float(said == problem.answer), extracted=said or None, parsed=bool(said))


class Student:
    """Knows the answers to the probes whose number is below the number that the demonstration writes; says nothing readable to `mute`."""

    def __init__(self):
        self.asked = []

    def generate(self, prompts, sampling):
        assert sampling == GREEDY
        self.asked.append([p.text for p in prompts])
        return [[Completion(text=self.answer(p.text))] for p in prompts]

    def answer(self, text):
        *shown, question = text.split("\n\n")
        helps = 0 if not shown else int(shown[-1].rpartition("=> ")[2])
        number = int(question.split()[3])
        if "mute" in text:
            return "I would rather not say"
        return f"thinking => {number}" if number < helps else "thinking => wrong"


def probe(number, skill="s"):
    return Problem(text=f"probe {number} ?", answer=str(number), skill=skill)


def shown(help_, skill="s", text="why"):
    return Solution(problem=Problem(text=f"item {help_} ?", skill=skill), text=f"{text} => {help_}")


def render(solution, problem):
    return WORDING.shots([(solution.problem.text, solution.text)])(problem)


def measured(solutions, probes, student=None):
    return one_shot(student or Student(), solutions, probes=probes, render=render, verify=exact, sampling=GREEDY, student_id="b2-student")


PROBES = {"s": [probe(i) for i in range(4)]}


def test_a_student_of_known_behaviour_gives_the_known_values():
    solutions = [shown(0), shown(1), shown(3), shown(4)]
    found = measured(solutions, PROBES)
    assert [f.value for f in found] == [0.0, 0.25, 0.75, 1.0]
    assert found[2].parts == (1.0, 1.0, 1.0, 0.0), "one measurement per probe, in the order of the probes"
    assert [f.n for f in found] == [4] * 4
    assert found[1].stderr == pytest.approx(math.sqrt(0.25 * 0.75 / 4))
    assert found[0].stderr == 0.0
    assert {f.signal for f in found} == {"one_shot"}
    assert {f.model for f in found} == {"b2-student"}


def test_the_student_sees_the_item_first_and_every_probe_is_asked_once_per_item():
    student = Student()
    measured([shown(1), shown(2)], PROBES, student)
    [asked] = student.asked
    assert len(asked) == 8
    assert asked[0] == "Q : item 1 ?\nA : why => 1\n\nQ : probe 0 ?\nA :"
    assert asked[7] == "Q : item 2 ?\nA : why => 2\n\nQ : probe 3 ?\nA :"


@given(st.lists(st.integers(0, 4), max_size=6), st.randoms())
def test_the_order_of_items_is_kept_and_items_do_not_touch_each_other(helps, rng):
    solutions = [shown(h) for h in helps]
    found = measured(solutions, PROBES)
    assert [f.item for f in found] == [s.id for s in solutions]
    assert [f.value for f in found] == [h / 4 for h in helps]
    rng.shuffle(solutions)
    assert {f.item: f for f in measured(solutions, PROBES)} == {f.item: f for f in found}


def test_probes_are_those_of_the_items_own_skill():
    probes = {"s": [probe(0), probe(1)], "t": [probe(0, "t"), probe(1, "t"), probe(2, "t"), probe(3, "t")]}
    found = measured([shown(1, "s"), shown(1, "t")], probes)
    assert [(f.value, f.n) for f in found] == [(0.5, 2), (0.25, 4)]


def test_an_item_without_probes_is_unscored_and_not_zero():
    found = measured([shown(1, "unknown"), shown(4)], PROBES)
    assert (found[0].value, found[0].n, found[0].stderr, found[0].parts) == (None, 0, None, ())
    assert found[1].value == 1.0
    assert [f.value for f in measured([shown(1)], {})] == [None]


def test_an_unreadable_answer_is_not_right():
    assert measured([shown(4, text="mute")], PROBES)[0].value == 0.0


def test_feedback_can_be_traced_to_the_item_the_probes_and_the_student():
    [found] = measured([shown(1)], PROBES)
    assert found.origin is not None
    assert found.origin.parents == (shown(1).id, *(p.id for p in PROBES["s"]))
    assert found.origin.model == "b2-student"


def test_no_item_gives_no_feedback():
    assert measured([], PROBES) == []


# -- responses -----------------------------------------------------------------------------------------------------------------


def test_one_row_per_renderer_and_one_column_per_problem():
    student = Student()
    renders = [WORDING.shots([]), WORDING.shots([("one ?", "=> 1")]), WORDING.shots([("one ?", "=> 1"), ("three ?", "=> 3")])]
    matrix = responses(student, PROBES["s"], renders=renders, verify=exact, sampling=GREEDY)
    assert matrix == [[0.0] * 4, [1.0, 0.0, 0.0, 0.0], [1.0, 1.0, 1.0, 0.0]]
    assert len(student.asked) == 1, "one call, so that the back end can share prefixes"


def test_no_problem_or_no_renderer():
    assert responses(Student(), [], renders=[WORDING.shots([])], verify=exact, sampling=GREEDY) == [[]]
    assert responses(Student(), PROBES["s"], renders=[], verify=exact, sampling=GREEDY) == []


def test_an_unreadable_answer_counts_as_wrong_in_the_matrix():
    mute = WORDING.shots([("mute ?", "=> 4")])
    assert responses(Student(), PROBES["s"][:2], renders=[mute], verify=exact, sampling=GREEDY) == [[0.0, 0.0]]
