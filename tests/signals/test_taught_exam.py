"""What a taught solution does for students in an exam."""

import pytest

from tutelage.capabilities import Completion, Sampling
from tutelage.records import Problem, Prompt, Solution, Verdict
from tutelage.signals.taught_exam import taught_exam

GREEDY = Sampling(max_tokens=9)


def verify(problem, text):
    return Verdict(score=float(text == problem.answer), extracted=text)


class Copies:
    """A student that answers what it was taught; `fails` on prompts with that word."""

    def __init__(self, fails="never"):
        self.fails = fails
        self.asked = 0

    def generate(self, prompts, sampling):
        self.asked += len(prompts)
        return [
            [
                Completion(text="", finish="error", error="too long") if self.fails in p.text else Completion(text=p.text.split("|")[0])
                for _ in range(sampling.n)
            ]
            for p in prompts
        ]


def render(solution, exam):
    return Prompt.user(f"{solution.text}|{exam.text}")


PROBLEMS = [Problem(text=f"q{i}", answer=str(i)) for i in range(4)]
EXAMS = {PROBLEMS[0].id: [Problem(text="a", answer="7"), Problem(text="b", answer="8"), PROBLEMS[0]]}


def scores(solutions, students, sampling=GREEDY, exams=EXAMS):
    return taught_exam(students, solutions, exams=exams, verify=verify, sampling=sampling, student_id="s")


def test_the_score_is_the_share_of_right_exam_answers_and_the_problem_itself_is_no_exam():
    taught = [Solution(problem=PROBLEMS[0], text=t) for t in ("7", "8", "9", "0")]
    student = Copies()
    found = scores(taught, [(student, render)])
    assert [f.value for f in found] == [0.5, 0.5, 0.0, 0.0]
    assert [f.parts for f in found] == [(1.0, 0.0), (0.0, 1.0), (0.0, 0.0), (0.0, 0.0)]
    assert [f.item for f in found] == [x.id for x in taught]
    assert student.asked == 8


def test_students_and_repeats_are_averaged_and_what_could_not_be_asked_measures_nothing():
    taught = [Solution(problem=PROBLEMS[0], text="7")]
    found = scores(taught, [(Copies(), render), (Copies(fails="b"), render)], Sampling(max_tokens=9, temperature=1.0, n=2))
    assert found[0].parts == (1.0, 1.0, 0.0, 0.0, 1.0, 1.0)
    assert found[0].value == pytest.approx(2 / 3)
    assert found[0].stderr == pytest.approx((2 / 9 / 6) ** 0.5)


def test_a_problem_without_exams_has_no_score():
    found = scores([Solution(problem=PROBLEMS[1], text="7")], [(Copies(), render)])
    assert (found[0].value, found[0].n, found[0].stderr) == (None, 0, None)
