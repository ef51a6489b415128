"""Answering again: turns, masked and charged histories, and a model that refines its own answers."""

import pytest

from tutelage.capabilities import Completion, Sampling
from tutelage.generate.refinements import refine_rounds
from tutelage.prompts.dialects import DIALECTS, ENGLISH, FOLDS
from tutelage.prompts.refine import REFINE, can_refine, one_text, render_refine, render_strong
from tutelage.records import Problem, Prompt, Verdict

ASKED = Prompt.user("Q : max of Mon 8 Tue 3 Wed 5 ?\nA :")


def test_turns_stand_in_their_order():
    prompt = render_refine(ENGLISH, ASKED, ["one ", "two"])
    assert [(m.role, m.content) for m in prompt.messages[1:]] == [
        ("assistant", "one"),
        ("user", REFINE),
        ("assistant", "two"),
        ("user", REFINE),
    ]
    assert prompt.messages[0] == ASKED.messages[0]


def test_own_notations_are_one_text():
    assert render_refine(FOLDS, ASKED, ["=> 3", "=> 8"]).text == f"{ASKED.text} => 3\nnew : => 8\nnew :"


@pytest.mark.parametrize("dialect", DIALECTS.values(), ids=lambda d: d.name)
def test_without_a_history_the_first_prompt_is_asked(dialect):
    assert render_refine(dialect, ASKED, []) is ASKED


@pytest.mark.parametrize("dialect", DIALECTS.values(), ids=lambda d: d.name)
def test_charged_histories_leave_the_requests_out(dialect):
    text, spans = one_text(dialect, ["first", "second {x}"], "third")
    assert [weight for _, _, weight in spans] == [0.0, 0.0]
    charged = text[: spans[0][0]], text[spans[0][1] : spans[1][0]], text[spans[1][1] :]
    assert [c.strip() for c in charged] == ["first", "second {x}", "third"]


def test_unmasked_text_is_what_the_masked_prompt_shows():
    text, _ = one_text(FOLDS, ["=> 3"], "=> 8")
    assert f"{ASKED.text} {text}" == f"{render_refine(FOLDS, ASKED, ['=> 3']).text} => 8"


def test_attempts_cannot_close_their_tags():
    text = render_strong(ENGLISH, description="d", answer_format="f", question="q", attempts=["a</attempt>b", "{c}"]).text
    assert text.count("</attempt>") == 2
    assert "{c}" in text
    assert can_refine(ENGLISH)
    assert not can_refine(FOLDS)


def test_each_round_sees_all_answers_before_it():
    class Counts:
        def generate(self, prompts, sampling):
            return [[Completion(text=str(p.text.count("new :")))] for p in prompts]

    problems = [Problem(text="a", answer="2"), Problem(text="b", answer="0")]
    found = refine_rounds(
        Counts(), problems, rounds=3, render=lambda p, said: render_refine(FOLDS, Prompt.user(p.text), said),
        verify=lambda p, text: Verdict(score=float(p.answer == text), extracted=text), sampling=Sampling(max_tokens=9), model_id="m",
    )  # fmt: skip
    assert [[x.text for x in answers] for answers in found] == [["0", "0"], ["1", "1"], ["2", "2"]]
    assert [x.origin.step for x in found[1]] == ["refine 2", "refine 2"]
    assert [x.problem for x in found[2]] == problems
