"""Policy gradient on the stated confidence alone: which tokens carry it, what they are rewarded with, and the gradient against a twin."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tutelage.hashing import canonical
from tutelage.measure.calibration import linear_score, quadratic_score
from tutelage.objectives import grpo
from tutelage.prompts.confidence import read_stated
from tutelage.prompts.dialects import ENGLISH
from tutelage.records import Problem, Verdict
from tutelage.train import STATED, OnPolicy, Onward, Rollout, Staked
from tutelage.train.feeds import Site
from tutelage.train.window import Group, Row
from windows import Opened, examples, off

PROMPTS = [e.prompt for e in examples()[:3]]


def begin(text: str) -> int | None:
    return read_stated(ENGLISH, text).begin


def rollout(site: Site, text: str, place: int = 0, stop: str = "") -> Rollout:
    ids = tuple(site.rendering.completion_ids(text + stop))
    return Rollout(
        prompt=PROMPTS[place], place=place, number=place, sample=0, ids=ids, log_probs=(-1.0,) * len(ids), text=text, finish="stop"
    )


@pytest.mark.parametrize("number", [0, 7, 10])
@pytest.mark.parametrize("stop", ["", "\n"])
def test_marks_begin_with_the_first_digit_and_hold_the_end(site: Site, number: int, stop: str) -> None:
    text = f"It is 10, or 7 or 0.\nSelf-reflection: 10 or 7\nConfidence: {number}"
    told = rollout(site, text, stop=stop)
    (facts,) = Onward(begin, by="x").open(site)([told])
    marks = facts[STATED]
    assert isinstance(marks, Sequence)
    assert len(marks) == len(told.ids)
    first = marks.index(1.0)
    assert marks == [0.0] * first + [1.0] * (len(marks) - first), "nothing before it, all behind it, the end included"
    before, charged = site.rendering.text(told.ids[:first]), site.rendering.text(told.ids[first:])
    assert charged.strip() == str(number)
    assert before + charged == text + stop
    assert before.rstrip().endswith("Confidence:"), "the cue is not charged"


def test_without_a_confidence_nothing_is_charged(site: Site) -> None:
    for text in ("It is 4.", "", "It is 4.\nConfidence: 11"):
        (facts,) = Onward(begin, by="x").open(site)([rollout(site, text)])
        assert not any(facts[STATED])  # pyright: ignore[reportArgumentType]


def four(problem: Problem, text: str) -> Verdict:
    return Verdict(score=float("4" in text))


def read(text: str) -> tuple[str, float | None]:
    told = read_stated(ENGLISH, text)
    return told.answer, None if told.confidence is None else told.confidence / 10


def test_what_is_staked_is_scored_on_the_answer_alone(site: Site) -> None:
    problems = [Problem(text=str(i)) for i in range(3)]
    texts = ["It is 4.\nConfidence: 10", "It is 5.\nConfidence: 4", "It is 4."]
    rollouts = [rollout(site, text, place) for place, text in enumerate(texts)]

    def staked(**options: object) -> Staked:
        given = {"verify": four, "read": read, "rule": quadratic_score, "by": "x", **options}
        return Staked(problems, **given)  # pyright: ignore[reportArgumentType]

    assert staked()(rollouts) == pytest.approx([1.0, 1 - 2 * 0.16, -1.0]), "the 4 of a confidence is no answer"
    assert staked(rule=linear_score)(rollouts) == pytest.approx([1.0, -0.4, -1.0])
    assert staked(deal=True)(rollouts)[0] == pytest.approx(-1.0), "the second one's answer is wrong"
    assert staked(missing=0.0)(rollouts)[2] == 0.0
    keys = {canonical(staked(**o).describe()) for o in ({}, {"rule": linear_score}, {"deal": True}, {"missing": 0.0}, {"by": "y"})}
    assert len(keys) == 5


def test_the_gradient_of_a_marked_span_is_its_twins(student: Path, site: Site) -> None:
    """Against minus the sum over marked tokens of A times the log-probability, token by token in float64, over their number; the ratio is 1
    where behaviour is the student itself. By every road of the loop."""
    rows: list[Row] = []
    for i, (text, advantage) in enumerate([("It is 4.\nConfidence: 10", 0.7), ("No 5\nConfidence: 3", -1.2), ("none at all", 2.0)]):
        prompt, told = site.rendering.prompt_ids(PROMPTS[i]), rollout(site, text, i)
        (facts,) = Onward(begin, by="x").open(site)([told])
        charged = tuple(range(len(prompt), len(prompt) + len(told.ids)))
        marks = tuple(facts[STATED])  # pyright: ignore[reportArgumentType]
        held = {STATED: marks, "advantages": (advantage,) * len(charged), "behaviour_log_probs": (0.0,) * len(charged)}
        rows.append(Row(key=str(i), ids=(*prompt, *told.ids), charged=charged, spans=(1.0,) * len(charged), start=len(prompt), facts=held))
    twin = Opened(student, [Group(rows=(r,)) for r in rows], grpo(per="token").where(STATED)).network
    twin.restore_attention()
    module = twin.module.double()

    def log_probs(row: Row) -> torch.Tensor:
        ids = torch.tensor([row.ids])
        logits = module(ids, attention_mask=torch.ones_like(ids)).logits[0].log_softmax(-1)
        return torch.stack([logits[i - 1, row.ids[i]] for i in row.charged])

    known = [replace(r, facts={**r.facts, "behaviour_log_probs": tuple(log_probs(r).tolist())}) for r in rows]
    number = sum(sum(r.facts[STATED]) for r in rows)
    assert 4 <= number <= 8
    loss = torch.zeros((), dtype=torch.float64)
    for row in known:
        for one, mark, advantage in zip(log_probs(row), row.facts[STATED], row.facts["advantages"], strict=True):
            if mark:
                loss = loss - advantage * one / number
    wanted = torch.autograd.grad(loss, list(module.parameters()), allow_unused=True)
    flat = torch.cat([g.flatten() for g in wanted if g is not None])
    opened = Opened(student, [Group(rows=(r,)) for r in known], grpo(per="token").where(STATED))
    for road in ({}, {"size": 1}, {"tile_bytes": 1}, {"layout": "right"}):
        _, gradient = opened.value_and_gradient(**road)  # pyright: ignore[reportArgumentType]
        assert off(gradient.double(), flat) < 1e-4, road


@pytest.mark.parametrize("chance", [0.2, 0.62])
def test_the_expected_gradient_is_that_of_the_expected_reward_and_leads_to_the_truth(chance: float) -> None:
    """Exact sums over the eleven numbers, no sampling: the score-function gradient is the slope of E[R], and following it ends at
    p = P(right) under the quadratic rule and at an end under the linear one."""
    for rule, wanted in ((quadratic_score, round(10 * chance)), (linear_score, 10 * (chance > 0.5))):
        rewards = torch.tensor([chance * rule(n / 10, 1.0) + (1 - chance) * rule(n / 10, 0.0) for n in range(11)], dtype=torch.float64)
        logits = torch.zeros(11, dtype=torch.float64, requires_grad=True)
        for step in range(1000):
            log_probs = logits.log_softmax(-1)
            chances = log_probs.detach().exp()
            (slope,) = torch.autograd.grad((chances * -(rewards - (chances * rewards).sum()) * log_probs).sum(), logits)
            if step in (0, 100):
                (exact,) = torch.autograd.grad(-(logits.softmax(-1) * rewards).sum(), logits)
                assert float((slope - exact).norm() / exact.norm()) < 1e-10
            with torch.no_grad():
                logits -= 5.0 * slope
        assert int(logits.argmax()) == wanted


def test_it_runs_through_a_source(site: Site) -> None:
    problems = [Problem(text=p.text) for p in PROMPTS]
    reward = Staked(problems, verify=four, read=lambda text: (text, 0.5), rule=quadratic_score, by="x")
    source = OnPolicy(PROMPTS, max_tokens=5, samples=2, reward=reward, marks=Onward(lambda text: len(text) // 2, by="half"))
    window = source.open(site).next()
    assert window is not None
    assert all(0 < sum(r.facts[STATED]) < len(r.charged) for r in window.rows if len(r.charged) == 5)
    assert canonical(source.describe())
