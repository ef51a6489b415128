import random

from tutelage.generate.exemplars import search_exemplars
from tutelage.records import Problem, Solution

QUESTIONS = [Problem(text=f"q{i}") for i in range(10)]


def a_set(worth):
    return (Solution(problem=Problem(text="shown"), text=str(worth)),)


def worth(held, batch):
    return min(len(batch), int(held[0].text))


def search(start, rewrite, **changes):
    given = {"rounds": 3, "beam": 2, "minibatch": 6, "rng": random.Random(0), **changes}
    return search_exemplars(start, QUESTIONS, rewrite=rewrite, right=worth, **given)


def test_better_sets_replace_worse_ones():
    told = []

    def rewrite(held, batch, name):
        told.append((name, len(batch)))
        return [a_set(int(held[0].text) + 1), a_set(0), a_set(0)]

    kept, history = search([a_set(1), a_set(2)], rewrite)
    assert [held[0].text for held in kept] == ["5", "4"]
    assert [rights[0] for rights in history] == [3 / 6, 4 / 6, 5 / 6]
    assert told == [("0.0", 6), ("0.1", 6), ("1.0", 6), ("1.1", 6), ("2.0", 6), ("2.1", 6)]
    assert len(history[0]) == 4, "repeats are left out: 1, 2 and the new 3 and 0"


def test_ties_keep_the_older_set_and_nothing_comes_of_nothing():
    old, new = a_set(6), (Solution(problem=Problem(text="other"), text="6"),)
    assert search([old], lambda *_: [new], beam=1)[0] == [old]
    assert search([()], lambda *_: [new]) == ([], [])
    assert search([old], lambda *_: [], rounds=0)[0] == [old]
