import random
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.capabilities import Completion, Sampling
from tutelage.generate.edits import edit_words
from tutelage.generate.practice import MOST_PER_CALL, Order, fill_orders
from tutelage.prompts.dialects import ENGLISH
from tutelage.prompts.practice import WorkedItem, write_items
from tutelage.records import Problem, Prompt, Solution, Verdict
from tutelage.select.novelty import Novelty
from tutelage.verify.choice import choice
from tutelage.verify.exact import exact
from tutelage.verify.numeric import numeric

DRAWN = Sampling(max_tokens=64, temperature=1.0, seed=100)


def seed(number, skill="s"):
    return Solution(
        problem=Problem(text=f"seed question number {number}", answer="1", skill=skill), text=f"so <ans>{number}</ans>", answer="1"
    )


def verify(problem, text):
    found = text.partition("<ans>")[2].partition("</ans>")[0]
    return Verdict(score=0.0, extracted=found or None, parsed=bool(found))


class Writer:
    """Replies to the n-th prompt with what `reply(n, asked)` says; `asked` is the number that the prompt asks for."""

    def __init__(self, reply):
        self.reply, self.prompts, self.seeds = reply, [], []

    def generate(self, prompts, sampling):
        rows = []
        for prompt in prompts:
            rows.append([Completion(text=self.reply(len(self.prompts), int(prompt.text.split()[1])))])
            self.prompts.append(prompt)
            self.seeds.append(sampling.seed)
        return rows


def items(*texts, answer="7"):
    return write_items(ENGLISH, [WorkedItem(t, f"work <ans>{answer}</ans>") for t in texts])


def render(order, count, kept):
    return Prompt.user(f"write {count} like {order.shown[0].problem.text} after {len(kept)}")


def fill(writer, orders, **options):
    known = options.pop("known", Novelty())
    return fill_orders(
        writer,
        orders,
        render=render,
        dialect=ENGLISH,
        verify=options.pop("judge", verify),
        is_new=known.take,
        sampling=DRAWN,
        teacher_id="b2-t",
        **options,
    )


def one(wanted=1, number=0):
    return Order(skill="s", wanted=wanted, shown=(seed(number),))


def test_an_order_is_filled_and_every_item_names_its_parent():
    writer = Writer(lambda n, asked: items(*(f"fresh text {n} {i} of many words" for i in range(asked))))
    done = fill(writer, [one(2, 0), one(1, 1)])
    assert (done.calls, done.asked, done.parsed, done.dropped) == (2, 3, 3, {})
    assert [s.problem.origin.parents for s in done.solutions] == [(seed(0).id,), (seed(0).id,), (seed(1).id,)]
    assert [s.origin.parents for s in done.solutions] == [(s.problem.id,) for s in done.solutions]
    assert {s.answer for s in done.solutions} == {s.problem.answer for s in done.solutions} == {"7"}
    assert {s.problem.skill for s in done.solutions} == {"s"}


def test_asking_again_asks_for_one_more_each_time_shows_what_was_kept_on_odd_attempts_and_has_other_noise():
    writer = Writer(lambda n, asked: items(f"text number {n} quite unlike {n * 'x '}"))
    done = fill(writer, [one(4)])
    assert len(done.solutions) == 4
    assert [p.text for p in writer.prompts] == [
        "write 4 like seed question number 0 after 0",
        "write 4 like seed question number 0 after 1",
        "write 4 like seed question number 0 after 0",
        "write 4 like seed question number 0 after 3",
    ]
    assert writer.seeds == [100, 101, 102, 103]


def test_a_call_never_asks_for_more_than_the_most():
    writer = Writer(lambda n, asked: "nothing")
    fill(writer, [one(30)], tries=3)
    assert {p.text.split()[1] for p in writer.prompts} == {str(MOST_PER_CALL)}


def test_what_a_reply_holds_beyond_what_was_asked_is_left_out():
    writer = Writer(lambda n, asked: items(*(f"text {n} {i} of its own" for i in range(3))))
    done = fill(writer, [one(3)], most_per_call=1)
    assert [s.problem.text for s in done.solutions] == [f"text {n} 0 of its own" for n in range(3)]
    assert done.dropped == {"beyond the number wanted": 6}
    assert {p.text.split()[1] for p in writer.prompts} == {"1"}


def test_a_teacher_that_never_writes_the_form_is_given_up():
    writer = Writer(lambda n, asked: "I would rather not.")
    done = fill(writer, [one(1, 0), one(2, 1)], tries=3)
    assert (done.solutions, done.calls, done.parsed) == ([], 6, 0)
    assert done.dropped == {"reply without a readable item": 6}
    assert done.unreadable == "I would rather not."


def test_repeats_leaks_and_solutions_without_an_answer_are_dropped_and_counted():
    replies = [
        items("seed question number 0"),
        items("a leaked question of the test set"),
        write_items(ENGLISH, [WorkedItem("a good question at last", "no answer here")]),
        items("a good question at last", "another that nobody asked for"),
    ]
    writer = Writer(lambda n, asked: replies[n])
    done = fill(
        writer,
        [one()],
        known=Novelty([seed(0).problem.text]),
        refuse=lambda texts: ["leak: equal" if "leaked" in t else None for t in texts],
    )
    assert [s.problem.text for s in done.solutions] == ["a good question at last"]
    assert done.dropped == {"not new": 1, "leak: equal": 1, "no final answer in the solution": 1, "beyond the number wanted": 1}
    assert done.parsed == len(done.solutions) + sum(done.dropped.values())


@pytest.mark.parametrize(
    ("judge", "question", "solution", "answer"),
    [
        (numeric, "How many eggs are left?", "16-3=13\nAll sold at $2.\n<ans>$26.00</ans>", "26"),
        (choice, "Which is red?\nOptions:\n(A) sky\n(B) rose", "Roses are.\n<ans>(B)</ans>", "(B)"),
        (partial(choice, choices=("pay", "lost")), "my card is gone", "That is a loss.\n<ans>lost</ans>", "lost"),
        (exact, "Sort: b a", "a comes first.\n<ans>a b</ans>", "a b"),
    ],
)
def test_new_items_are_keyed_under_the_verifiers_of_real_tasks(judge, question, solution, answer):
    """A new item has no answer to compare with yet; its own solution gives it one, which that solution then meets."""
    written = write_items(ENGLISH, [WorkedItem(question, solution)])
    done = fill(Writer(lambda n, asked: written), [one()], judge=judge)
    assert [s.problem.answer for s in done.solutions] == [answer]
    assert all(judge(s.problem, s.text).right for s in done.solutions)
    lost = fill(Writer(lambda n, asked: write_items(ENGLISH, [WorkedItem(question, "I cannot say.\nNobody can.")])), [one()], judge=judge)
    assert lost.solutions == []
    assert set(lost.dropped) == {"no final answer in the solution"}


def test_an_order_that_gets_something_now_and_then_is_not_given_up():
    writer = Writer(lambda n, asked: items(f"rare item {n} in this place") if n % 3 == 2 else "hm")
    done = fill(writer, [one(3)], tries=3)
    assert len(done.solutions) == 3


def test_no_orders_ask_nothing():
    writer = Writer(lambda n, asked: "")
    assert fill(writer, []).calls == 0
    assert fill(writer, [one(0)]).calls == 0


@given(st.lists(st.integers(0, 12), max_size=4), st.integers(0, 3), st.integers(0, 10**6))
def test_yields_add_up_whatever_the_teacher_writes(wanted, kind, noise):
    rng = random.Random(noise)
    replies = {
        0: lambda n, asked: "",
        1: lambda n, asked: items(*(f"w{rng.randrange(9)} v{rng.randrange(9)}" for _ in range(rng.randrange(4)))),
        2: lambda n, asked: items(*(f"{n} {i} fresh" for i in range(asked + rng.randrange(3)))),
        3: lambda n, asked: items("same again"),
    }
    done = fill(Writer(replies[kind]), [one(w, i) for i, w in enumerate(wanted)], tries=2)
    told = len(done.solutions) + sum(done.dropped.values())
    assert done.parsed <= told <= max(done.asked, done.parsed)
    assert len(done.solutions) <= sum(wanted)


# -- edits ---------------------------------------------------------------------------------------------------------------------

text = st.lists(st.sampled_from("abcdef"), max_size=12).map(" ".join)


@given(text, st.floats(0, 1), st.integers(0, 99))
def test_edits_invent_no_word_and_are_drawn_from_the_stream(words, share, number):
    once = edit_words(words, share=share, rng=random.Random(number))
    assert once == edit_words(words, share=share, rng=random.Random(number))
    assert set(once.split()) <= set(words.split())
    if len(words.split()) < 2:
        assert once == words
    else:
        assert once


def test_edits_change_about_the_share_of_words():
    words = " ".join(str(i) for i in range(50))
    changed = [edit_words(words, share=0.1, rng=random.Random(i)) for i in range(20)]
    assert len(set(changed)) == 20
    assert all(44 <= len(t.split()) <= 56 for t in changed)


# -- novelty -------------------------------------------------------------------------------------------------------------------


def test_a_text_is_taken_once():
    known = Novelty(["one two three"])
    assert not known.take("One  two, three!")
    assert known.take("one two four")
    assert not known.take("one two four")
    assert not known.take("...")


@pytest.mark.parametrize(("most", "taken"), [(0.95, True), (0.9, False), (0.5, False)])
def test_likeness_is_rouge_l_above_the_most_allowed(most, taken):
    # Nineteen of twenty words in order: F1 is 0.95, which is not above 0.95.
    words = [f"w{i}" for i in range(20)]
    assert Novelty([" ".join(words)], most=most).take(" ".join([*words[:-1], "other"])) is taken


def test_nothing_is_new_where_no_likeness_is_allowed_but_words_unlike_all():
    known = Novelty(["a b"], most=0.0)
    assert not known.take("b c")
    assert known.take("x y")
