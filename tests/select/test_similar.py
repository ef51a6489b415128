"""Exam questions by likeness of words, and the least like ones from other skills."""

from tutelage.records import Problem
from tutelage.select.similar import most_alike

POOL = [
    Problem(text="red apples in a basket", skill="fruit"),
    Problem(text="green pears in a basket", skill="fruit"),
    Problem(text="two trains leave the station", skill="trains"),
    Problem(text="red trains leave a basket", skill="trains"),
]
ASKED = Problem(text="red apples on a table", skill="fruit")


def chosen(pool, **how):
    return [p.text for p in most_alike([ASKED], pool, **how)[ASKED.id]]


def test_the_most_alike_of_the_same_skill_come_first():
    assert chosen(POOL, wanted=3) == ["red apples in a basket", "green pears in a basket"]


def test_unlike_ones_are_of_other_skills_the_least_alike_first():
    assert chosen(POOL, wanted=2, farthest=True) == ["two trains leave the station", "red trains leave a basket"]


def test_unlike_ones_of_a_pool_of_one_skill_are_its_least_alike():
    assert chosen(POOL[:2], wanted=1, farthest=True) == ["green pears in a basket"]


def test_the_question_itself_is_never_chosen():
    assert chosen([ASKED, *POOL[:1]], wanted=2) == ["red apples in a basket"]


def test_a_pool_without_the_skill_gives_nothing():
    assert chosen(POOL[2:], wanted=2) == []
