import pytest

from tutelage.capabilities import Completion, Sampling
from tutelage.generate.rewrites import rewrite_questions
from tutelage.records import Problem, Prompt
from tutelage.select.novelty import Novelty

SEEDS = [Problem(text=f"seed {i}", answer=str(i), skill="s", choices=("0", "1")) for i in range(2)]
DRAWN = Sampling(max_tokens=9, temperature=1.0, seed=50)


class Writer:
    def __init__(self, reply):
        self.reply, self.asked, self.seeds = reply, [], []

    def generate(self, prompts, sampling):
        self.seeds.append(sampling.seed)
        replies = []
        for prompt in prompts:
            replies.append([Completion(text=self.reply(len(self.asked), prompt.text))])
            self.asked.append(prompt.text)
        return replies


def rewrite(writer, wanted, **options):
    given = dict(keep_answer=True, is_new=Novelty().take, tries=2) | options
    return rewrite_questions(
        writer,
        wanted,
        render=lambda p: Prompt.user(p.text),
        parse=lambda text: text.removeprefix("ok ") if text.startswith("ok ") else None,
        sampling=DRAWN,
        writer_id="b2-w",
        **given,
    )


def test_every_seed_gets_as_many_rewrites_as_wanted_one_per_call_with_other_noise_each_round():
    writer = Writer(lambda n, text: f"ok {text} in version {n}")
    done = rewrite(writer, [(SEEDS[0], 1), (SEEDS[1], 3)])
    assert [p.origin.parents for p in done.problems] == [(SEEDS[0].id,)] + [(SEEDS[1].id,)] * 3
    assert writer.asked == ["seed 0", "seed 1", "seed 1", "seed 1"]
    assert writer.seeds == [50, 52, 53]
    assert (done.calls, done.parsed, done.dropped) == (4, 4, {})


def test_a_rephrased_question_keeps_its_answer_and_choices_and_an_invented_one_has_none():
    kept = rewrite(Writer(lambda n, text: "ok other words"), [(SEEDS[1], 1)]).problems[0]
    assert (kept.answer, kept.choices, kept.skill) == ("1", ("0", "1"), "s")
    new = rewrite(Writer(lambda n, text: "ok other words"), [(SEEDS[1], 1)], keep_answer=False).problems[0]
    assert (new.answer, new.choices, new.skill) == (None, (), "s")


def test_what_cannot_be_read_leaks_or_repeats_is_counted_and_a_fruitless_seed_is_given_up():
    # The good one begins the count of fruitless calls anew; three more end it.
    replies = ["no", "ok leaked", "ok good one here", "ok good one here", "no", "no"]
    writer = Writer(lambda n, text: replies[n])
    done = rewrite(writer, [(SEEDS[0], 5)], refuse=lambda texts: ["leak: equal" if t == "leaked" else None for t in texts], tries=3)
    assert [p.text for p in done.problems] == ["good one here"]
    assert done.dropped == {"no question could be read": 3, "leak: equal": 1, "not new": 1}
    assert done.parsed == 3
    assert done.calls == 6 == len(done.problems) + sum(done.dropped.values())
    assert done.unreadable == "no"


@pytest.mark.parametrize("wanted", [[], [(SEEDS[0], 0)]])
def test_nothing_wanted_asks_nothing(wanted):
    assert rewrite(Writer(lambda n, text: "ok x"), wanted).calls == 0
