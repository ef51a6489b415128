import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.capabilities import Completion, Sampling
from tutelage.generate.questions import draft_by_skill, draft_questions
from tutelage.generate.solutions import solve
from tutelage.prompts.dialects import ENGLISH, FOLDS
from tutelage.prompts.wording import Wording
from tutelage.records import Problem, Verdict

SEEDS = [Problem(text=f"seed {i} ?", answer=str(i), skill="s") for i in range(5)]
DRAWN = Sampling(max_tokens=64, temperature=1.0, seed=100)


class Writer:
    """Answers the n-th question prompt with the n-th reply, the last one for ever."""

    def __init__(self, *replies):
        self.replies = replies
        self.prompts = []
        self.samplings = []

    def generate(self, prompts, sampling):
        self.samplings.append((len(prompts), sampling))
        rows = []
        for prompt in prompts:
            rows.append([Completion(text=self.reply(len(self.prompts)))])
            self.prompts.append(prompt)
        return rows

    def reply(self, number):
        return self.replies[min(number, len(self.replies) - 1)]


class Diligent(Writer):
    """Every reply holds `items` questions nobody has seen."""

    def __init__(self, items=5):
        super().__init__()
        self.items = items

    def reply(self, number):
        return "\n".join(f"Q : new {number} {i} ?" for i in range(self.items))


def draft(writer, *, wanted=10, calls_at_most=40, dialect=FOLDS, seeds=SEEDS, **options):
    return draft_questions(
        writer,
        seeds,
        wanted=wanted,
        task="t",
        description="d",
        dialect=dialect,
        sampling=options.pop("sampling", DRAWN),
        rng=random.Random(options.pop("rng", 0)),
        teacher_id="b2-teacher",
        calls_at_most=calls_at_most,
        **options,
    )


def test_a_writer_that_keeps_to_the_format_gives_what_was_wanted():
    writer = Diligent()
    drafted = draft(writer, wanted=10)
    assert len(drafted.problems) == len({p.id for p in drafted.problems}) == 10
    assert drafted.calls == len(writer.prompts)
    assert drafted.parsed == 5 * drafted.calls
    assert drafted.dropped == {"beyond the number wanted": drafted.parsed - 10}
    assert {p.skill for p in drafted.problems} == {"s"}
    assert {p.answer for p in drafted.problems} == {None}


def test_every_problem_knows_its_prompt_and_the_seeds_that_were_shown():
    drafted = draft(Diligent(), seeds_per_prompt=2)
    by_text = {s.id: s.text for s in SEEDS}
    assert len(drafted.prompts) == len(drafted.problems)
    for problem, prompt in zip(drafted.problems, drafted.prompts, strict=True):
        assert problem.origin is not None
        assert problem.origin.prompt == prompt.id
        assert problem.origin.model == "b2-teacher"
        assert len(problem.origin.parents) == 2
        assert all(by_text[i] in prompt.text for i in problem.origin.parents)


def test_the_writers_own_claim_is_the_answer_where_the_dialect_has_one():
    reply = Wording(dialect=ENGLISH, description="", answer_format="").question_reply([Problem(text="new ?", answer="7")])
    drafted = draft(Writer(reply), wanted=1, dialect=ENGLISH)
    assert (drafted.problems[0].text, drafted.problems[0].answer) == ("new ?", "7")


def test_a_garbage_writer_costs_a_bounded_number_of_calls():
    writer = Writer("I am not sure what you mean.")
    drafted = draft(writer, wanted=10, calls_at_most=9)
    assert (drafted.problems, drafted.prompts) == ([], [])
    assert drafted.calls == len(writer.prompts) == 9
    assert drafted.parsed == 0
    assert drafted.dropped == {"reply without a readable item": 9}


@pytest.mark.parametrize("limit", [0, 1, 7])
def test_the_bound_on_calls_holds_for_every_writer(limit):
    for writer in (Diligent(1), Writer("?"), Writer("Q : the same ?")):
        assert draft(writer, wanted=100, calls_at_most=limit).calls == len(writer.prompts) == limit


def test_repeats_are_dropped_whatever_their_spacing_and_capitals():
    writer = Writer("Q : one ?\nQ : ONE  ?\nQ : seed 3 ?\nQ : known ?\nQ : two ?", "Q : two ?\nQ : three ?")
    drafted = draft(writer, wanted=3, calls_at_most=6, known=[Problem(text="Known ?")])
    assert [p.text for p in drafted.problems] == ["one ?", "two ?", "three ?"]
    # Of the seven items read before the third question was there, four were repeats; the rest of that round repeats, too.
    assert drafted.dropped["repeat"] == drafted.parsed - 3
    assert drafted.dropped["repeat"] >= 4


@given(st.lists(st.lists(st.integers(0, 12), max_size=5), min_size=1, max_size=6), st.integers(0, 12), st.integers(0, 12))
def test_nothing_that_was_read_is_lost_from_the_count(replies, wanted, limit):
    writer = Writer(*("\n".join(f"Q : number {n} ?" for n in reply) for reply in replies))
    drafted = draft(writer, wanted=wanted, calls_at_most=limit)
    assert len(drafted.problems) <= wanted
    assert drafted.calls <= limit
    lost = drafted.dropped.get("repeat", 0) + drafted.dropped.get("beyond the number wanted", 0)
    assert len(drafted.problems) + lost == drafted.parsed
    assert len({p.text for p in drafted.problems}) == len(drafted.problems)


def test_the_next_round_does_not_repeat_the_noise_of_the_one_before():
    writer = Diligent(1)
    draft(writer, wanted=12)
    assert len(writer.samplings) > 1
    before = 0
    for count, sampling in writer.samplings:
        assert sampling.seed == 100 + before
        before += count
    greedy = Diligent(1)
    draft(greedy, wanted=3, sampling=Sampling(max_tokens=64))
    assert {s.seed for _, s in greedy.samplings} == {None}


def test_a_low_yield_is_met_with_fuller_rounds():
    writer = Diligent(1)
    drafted = draft(writer, wanted=20, items_per_call=5, calls_at_most=200)
    assert len(drafted.problems) == 20
    assert len(writer.samplings) <= 5, "rounds, not single stragglers"


def test_the_same_stream_asks_the_same_prompts():
    one, other, third = Diligent(), Diligent(), Diligent()
    draft(one, rng=1), draft(other, rng=1), draft(third, rng=2)
    assert one.prompts == other.prompts
    assert one.prompts != third.prompts


def test_skills_are_drafted_apart_with_noise_and_streams_of_their_own():
    seeds = [*SEEDS, *(Problem(text=f"other {i} ?", skill="o") for i in range(3))]
    writer, streams = Diligent(), []

    def rng(skill):
        streams.append(skill)
        return random.Random(skill)

    drafted = draft_by_skill(
        writer, seeds, wanted=4, task="t", description="d", dialect=FOLDS, sampling=DRAWN, rng=rng, teacher_id="b2-t", items_per_call=4
    )
    assert [p.skill for p in drafted.problems] == ["s"] * 4 + ["o"] * 4
    assert streams == ["s", "o"]
    assert len({s.seed for _, s in writer.samplings}) == len(writer.samplings)
    assert drafted.calls == len(writer.prompts)
    assert all(("other" in p.text) != ("seed" in p.text) for p in writer.prompts), "a prompt shows seeds of one skill"


def test_patience_bounds_the_calls_of_each_skill():
    seeds = [*SEEDS, Problem(text="other ?", skill="o")]
    writer = Writer("nonsense")
    drafted = draft_by_skill(
        writer, seeds, wanted=10, task="t", description="d", dialect=FOLDS, sampling=DRAWN, rng=random.Random, teacher_id="b2-t",
        items_per_call=5, patience=2.0,
    )  # fmt: skip
    assert drafted.calls == 2 * (2 * 10 // 5 + 1)
    assert drafted.dropped == {"reply without a readable item": drafted.calls}


def test_a_failed_answer_of_an_endpoint_is_a_reply_without_an_item():
    class Broken:
        def generate(self, prompts, sampling):
            return [[Completion(text="", finish="error", error="500")] for _ in prompts]

    assert draft(Broken(), wanted=2, calls_at_most=3).dropped == {"reply without a readable item": 3}


# -- solutions -----------------------------------------------------------------------------------------------------------------


class Solver:
    def generate(self, prompts, sampling):
        return [[Completion(text=f" {p.text[4:9]} try {i} => {i} \n") for i in range(sampling.n)] for p in prompts]


def numbered(problem, text):
    said = text.partition("=> ")[2]
    return Verdict(score=1.0, extracted=said if said != "1" else None, parsed=said != "1")


def test_every_sample_of_every_problem_in_order_and_the_unreadable_ones_kept():
    wording = Wording(dialect=FOLDS, description="", answer_format="")
    found = solve(
        Solver(), SEEDS[:2], render=wording.plain, verify=numbered, sampling=Sampling(max_tokens=9, temperature=1.0, n=3),
        model_id="b2-m", technique="steps", step="drafts",
    )  # fmt: skip
    assert [(s.problem, s.sample, s.answer) for s in found] == [
        (SEEDS[p], i, None if i == 1 else str(i)) for p in range(2) for i in range(3)
    ]
    assert all(s.text == s.text.strip() for s in found)
    assert {s.technique for s in found} == {"steps"}
    assert found[3].origin is not None
    assert found[3].origin.parents == (SEEDS[1].id,)
    assert found[3].origin.prompt == wording.plain(SEEDS[1]).id
    assert (found[3].origin.model, found[3].origin.step) == ("b2-m", "drafts")


def test_no_problem_no_solution():
    wording = Wording(dialect=FOLDS, description="", answer_format="")
    assert solve(Solver(), [], render=wording.plain, verify=numbered, sampling=DRAWN, model_id="b2-m") == []
