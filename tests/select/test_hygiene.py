import json
import os
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage.errors import SettingsError
from tutelage.select.balance import balance, shares
from tutelage.select.decontaminate import Decontaminator
from tutelage.select.dedup import ExactDuplicates, NearDuplicates
from tutelage.select.diversity import distinct_share, far_apart, mean_rouge_l, rouge_l
from tutelage.select.hygiene import Hygiene, clean
from tutelage.select.novelty import Novelty
from tutelage.select.words import Vocabulary, blocks, windows, words_of

DATA = os.environ.get("TUTELAGE_DATA", "")
needs_data = pytest.mark.skipif(not DATA, reason="TUTELAGE_DATA is not set")
WORDS = [f"w{i}" for i in range(400)]


def text(rng, length):
    return " ".join(rng.choice(WORDS) for _ in range(length))


def test_words_fold_what_does_not_matter():
    assert words_of("The  Cost is $1,200,\u00a0no\u200bt 5,5!") == ["the", "cost", "is", "1200", "not", "5", "5"]
    assert words_of("3 - 4*x = y, well-known") == ["3", "-", "4", "*", "x", "=", "y", "well", "known"]
    assert words_of("ＡＢＣ ﬁne") == ["abc", "fine"]
    assert words_of("...") == []


def test_windows_equal_a_slow_twin():
    rng = random.Random(0)
    texts = [text(rng, rng.randint(0, 12)) for _ in range(50)] + ["", "a"]
    rows = Vocabulary().hashes(texts)
    for n in (1, 3, 5):
        grams, owner = windows(rows, n)
        seen = {}
        slow = [(i, tuple(words[j : j + n])) for i, words in enumerate(map(words_of, texts)) for j in range(len(words) - n + 1)]
        assert owner.tolist() == [i for i, _ in slow]
        for value, (_, words) in zip(grams.tolist(), slow, strict=True):
            assert seen.setdefault(words, value) == value
        assert len(set(seen.values())) == len(seen)


def test_blocks():
    assert [len(block) for block in blocks(range(10), 4)] == [4, 4, 2]
    assert list(blocks([], 4)) == []


def test_exact_duplicates_over_several_calls():
    finder = ExactDuplicates()
    assert finder.add(["One two.", "three", "ONE  two."]) == [None, None, 0]
    assert finder.add(["Three", "(three)", "four"]) == [1, None, None]


def test_near_duplicates_are_found_and_unlike_texts_are_not():
    rng = random.Random(1)
    originals = [text(rng, 80) for _ in range(300)]
    copies = []
    for original in originals:
        words = original.split()
        words[rng.randrange(80)] = "zebra"
        words.insert(rng.randrange(80), "lion")
        copies.append(" ".join(words))
    finder = NearDuplicates(threshold=0.75)
    first = [row for block in blocks(originals, 64) for row in finder.add(block)]
    second = [row for block in blocks(copies, 64) for row in finder.add(block)]
    assert first == [None] * 300
    assert sum(row == i for i, row in enumerate(second)) >= 0.95 * 300
    assert all(row in (i, None) for i, row in enumerate(second))


def test_near_duplicates_do_not_depend_on_the_blocks():
    rng = random.Random(2)
    texts = [text(rng, 20) for _ in range(60)]
    texts += [t + " more" for t in texts[:30]] + ["a b", "a b", "", ""]
    whole = NearDuplicates().add(texts)
    for size in (1, 7, 50):
        finder = NearDuplicates()
        assert [row for block in blocks(texts, size) for row in finder.add(block)] == whole
    assert whole[-4:] == [None, 90, None, 92]


def test_a_repeat_of_a_repeat_names_the_kept_row():
    base = [f"w{i}" for i in range(100)]
    finder = NearDuplicates(threshold=0.7)
    assert finder.add([" ".join(base), " ".join([*base, "x"]), " ".join([*base, "x", "y"])]) == [None, 0, 0]
    with pytest.raises(SettingsError):
        NearDuplicates(threshold=0)


def test_leaks_of_every_kind():
    rng = random.Random(3)
    evaluation = [text(rng, length) for length in (4, 8, 9, 12, 15, 19, 25, 60)]
    finder = Decontaminator(evaluation)
    for index, original in enumerate(evaluation):
        words = original.split()
        assert finder.check([original])[0].evaluation == index
        assert finder.check([original.upper().replace(" ", "\n  ")])[0].rule == "equal"
        assert finder.check([original.replace(" ", ", ") + "?"])[0].evaluation == index
        if len(words) >= 10:
            assert finder.check([f"{text(rng, 30)} {original} {text(rng, 30)}"])[0].rule == "ngram"
        for place in range(len(words)):
            changed = [*words[:place], "zebra", *words[place + 1 :]]
            left_out = [*words[:place], *words[place + 1 :]]
            added = [*words[:place], "zebra", *words[place:]]
            typo = [*words[:place], words[place] + "s", *words[place + 1 :]]
            for variant in (typo,) if len(words) < 10 else (typo, changed, left_out, added):
                if len(variant) >= 3:
                    leak = finder.check([" ".join(variant)])[0]
                    assert leak is not None, (len(words), place)
                    assert leak.evaluation == index
    assert finder.check([text(rng, n) for n in (2, 5, 9, 15, 30, 100)]) == [None] * 6


def test_short_texts_that_ask_something_else_are_no_leaks():
    finder = Decontaminator(
        ["add milk to my shopping list", "set a 5 minute timer", "what is 3 + 4 * 2", "not ( True ) and False is", "flip a coin please"]
    )
    others = ["add bread to my shopping list", "set a 4 minute timer", "what is 3 * 4 + 2", "not True or False is", "flip two coins please"]
    assert finder.check(others) == [None] * 5
    assert [leak.rule for leak in finder.check(["Set a 5 minute timer!", "filp a coin please", "add milk to my shoping list"])] == [
        "near"
    ] * 3


def test_templated_tasks_know_equality_only():
    evaluation = ["Tom has 3 red apples and gives 2 of them to his friend Ann. How many are left?"]
    other = evaluation[0].replace("3", "5")
    assert Decontaminator(evaluation).check([other])[0].rule == "ngram"
    templated = Decontaminator(evaluation, templated=True)
    assert templated.check([other, evaluation[0].upper(), evaluation[0] + " Say."]) == [None, templated.check(evaluation)[0], None]


@needs_data
def test_planted_leaks_in_real_text():
    """A tenth of the size of benchmarks/dedup.py, which does 1,000 leaks in 100,000 rows."""
    rng = random.Random(4)
    read = {
        split: [json.loads(r)["question"] for r in (Path(DATA) / f"gsm8k/{split}.jsonl").read_bytes().splitlines()]
        for split in ("train", "test")
    }
    finder = Decontaminator(read["test"])
    clean_rows = [leak is not None for block in blocks(read["train"]) for leak in finder.check(block)]
    assert sum(clean_rows) / len(clean_rows) <= 0.005
    planted = []
    for number, original in enumerate(rng.sample(read["test"], 400)):
        words = original.split(" ")
        words[rng.randrange(len(words))] = "zebra"
        embedded = f"{rng.choice(read['train'])} {original} {rng.choice(read['train'])}"
        planted.append((original, original.replace(" ", "\n ").replace(".", " ."), " ".join(words), embedded)[number % 4])
    assert sum(leak is not None for leak in finder.check(planted)) >= 0.99 * 400


def slow_common(a, b):
    table = [[0] * (len(b) + 1) for _ in range(len(a) + 1)]
    for i in range(1, len(a) + 1):
        for j in range(1, len(b) + 1):
            table[i][j] = table[i - 1][j - 1] + 1 if a[i - 1] == b[j - 1] else max(table[i - 1][j], table[i][j - 1])
    return table[-1][-1]


FEW_WORDS = st.lists(st.sampled_from(["ab", "c", "dd", "7"]), max_size=20)


@settings(max_examples=300, deadline=None)
@given(FEW_WORDS, FEW_WORDS)
def test_rouge_l_equals_the_table(a, b):
    total = len(a) + len(b)
    expected = 2 * slow_common(a, b) / total if total else 1.0
    assert rouge_l(" ".join(a), " ".join(b)) == rouge_l(" ".join(b), " ".join(a)) == expected


@given(st.lists(FEW_WORDS, max_size=8), st.sampled_from([0.0, 0.5, 0.8, 0.95, 1.0]))
def test_new_is_what_is_not_too_like_any_text_before(rows, most):
    novelty, known = Novelty(most=most), []
    for text in map(" ".join, rows):
        new = bool(text) and all(rouge_l(text, other) <= most for other in known)
        assert novelty.take(text) is new
        known += [text] if new else []


def test_rouge_l_by_hand():
    assert rouge_l("the cat sat on the mat", "The cat is on the mat!") == pytest.approx(10 / 12)
    assert rouge_l("a b", "c d") == 0
    assert rouge_l("", "a") == 0
    assert rouge_l("", "...") == 1


def test_far_apart_keeps_the_first_of_each_kind():
    texts = ["a b c d e", "a b c d f", "x y z", "x y z w", "q", ""]
    assert far_apart(texts, most=0.7) == [0, 2, 4, 5]
    assert far_apart([], most=0.7) == []
    assert mean_rouge_l(["a b", "a b", "a b"], rng=random.Random(0)) == 1
    assert mean_rouge_l(["a"], rng=random.Random(0)) is None
    assert distinct_share(["a b a b", "c"]) == pytest.approx(2 / 3)
    assert distinct_share([""]) is None


def test_balance_draws_as_many_of_each():
    items = [("a", i) for i in range(10)] + [("b", i) for i in range(3)] + [("c", i) for i in range(5)]
    kept, left_out = balance(items, group=lambda item: item[0], rng=random.Random(0))
    assert shares(kept, group=lambda item: item[0]) == pytest.approx({"a": 1 / 3, "b": 1 / 3, "c": 1 / 3})
    assert left_out == {"a": 7, "c": 2}
    assert kept == [item for item in items if item in kept]
    capped, _ = balance(items, group=lambda item: item[0], rng=random.Random(0), per_group=4)
    assert len(capped) == 4 + 3 + 4
    assert balance([], group=lambda item: item, rng=random.Random(0)) == ([], {})


def test_hygiene_counts_by_reason_and_streams():
    rng = random.Random(5)
    evaluation = [text(rng, 30)]
    good = [text(rng, 30) for _ in range(5000)]
    rows = [*good, evaluation[0], good[0], good[1] + " and more", "too short", text(rng, 300)]
    filters = Hygiene(evaluation, near=0.8, least_words=3, most_words=200)
    kept = list(filters.filter(iter(rows), text=lambda row: row))
    assert kept == good
    assert filters.counts == {
        "checked": 5005, "kept": 5000, "leak: equal": 1, "duplicate": 1, "near duplicate": 1, "too short": 1, "too long": 1,
    }  # fmt: skip
    assert filters.leaks == [(5000, "equal", 0)]


def test_decontamination_is_on_unless_it_is_switched_off():
    evaluation = ["one two three four five six"]
    assert clean(evaluation, text=str, evaluation=evaluation) == ([], {"kept": 0, "checked": 1, "leak: equal": 1})
    assert clean(evaluation, text=str, evaluation=evaluation, decontaminate=False)[0] == evaluation
    assert clean(["a", "a"], text=str, evaluation=[])[0] == ["a"]
    assert clean(["a", "a"], text=str, evaluation=[], exact=False)[0] == ["a", "a"]
    with pytest.raises(SettingsError):
        Hygiene([], least_words=5, most_words=3)


def test_an_instruction_before_every_question_gives_none_of_them_away():
    head = "Read the following story about a shop with care and then answer the question that comes after it in one word. "
    told = (("red", "Ann", "fish"), ("blue", "Bob", "book"), ("old", "Cy", "corn"), ("tall", "Dee", "wool"))
    asked = "How many {} lamps did {} sell on the day before the {} market was closed for winter repairs?"
    evaluation = [head + asked.format(*words) for words in told]
    leaks = Decontaminator(evaluation)
    other = f"{head}What did the two brothers find behind the counter when they came back from the harbour that evening in spring?"
    assert leaks.check([other]) == [None]
    # What one evaluation text alone has is still found, behind the same head or without it.
    found = leaks.check([evaluation[2], "Tell me: how many old lamps did Cy sell on the day before the corn market was closed?"])
    assert [leak and leak.rule for leak in found] == ["equal", "ngram"]
