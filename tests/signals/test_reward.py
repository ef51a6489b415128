"""A reward model in the places of a judge, a verifier, a chooser, and a reward of rollouts."""

from __future__ import annotations

from pathlib import Path

import pytest

from checkpoints import tiny_checkpoint
from rewarding import PAIRS, critic_model, shared
from tutelage import backends
from tutelage.capabilities import Sampling
from tutelage.errors import CapabilityError, SettingsError
from tutelage.objectives import grpo
from tutelage.records import Problem, Prompt
from tutelage.signals.reward import RewardModel
from tutelage.train import FitSettings, OnPolicy, Rated, Rollout
from tutelage.train.loop import fit

PROBLEMS = [Problem(text=p.prompt.text) for p in PAIRS]
CHOSEN, REJECTED = [p.chosen for p in PAIRS], [p.rejected for p in PAIRS]


def plain(problem: Problem) -> Prompt:
    return Prompt.user(problem.text)


@pytest.fixture(scope="module", params=["scalar", "critic"])
def rater(request: pytest.FixtureRequest) -> RewardModel:
    return opened(shared(request.param))


def opened(folder: Path, **options: object) -> RewardModel:
    ref = backends.resolve(f"hf:{folder}")
    sampling = Sampling(max_tokens=24, **options)  # pyright: ignore[reportArgumentType]
    return RewardModel(backends.open_backend(ref), backends.facts(ref), model_id=ref.id, sampling=sampling, render=plain)


def test_it_chooses_and_says_nothing_of_order(rater: RewardModel) -> None:
    forward, back = rater.choose(PROBLEMS, CHOSEN, REJECTED), rater.choose(PROBLEMS, REJECTED, CHOSEN)
    assert [p.winner for p in forward] == [0] * 8
    assert [p.winner for p in back] == [1] * 8
    assert all(p.agreed and p.parsed for p in forward + back)
    assert rater.choose(PROBLEMS[:1], CHOSEN[:1], CHOSEN[:1])[0].winner is None


def test_it_marks_within_bounds_and_calls_nothing_right_by_itself(rater: RewardModel) -> None:
    marks = rater.mark(PROBLEMS, CHOSEN), rater.mark(PROBLEMS, REJECTED)
    assert all(better.score > worse.score for better, worse in zip(*marks, strict=True))
    assert all(0 <= v.score < 1 and v.parsed and not v.right for side in marks for v in side)
    alone = rater(PROBLEMS[0], CHOSEN[0])
    assert alone.score == pytest.approx(marks[0][0].score, abs=1e-6)
    assert alone.reason == marks[0][0].reason


def test_best_of_n(rater: RewardModel) -> None:
    groups = [(worse, better, worse) for better, worse in zip(CHOSEN, REJECTED, strict=True)]
    assert rater.best([p.prompt for p in PAIRS], groups) == [1] * 8
    assert rater.best([PAIRS[0].prompt], [(CHOSEN[0], CHOSEN[0])]) == [0]
    assert rater.best([PAIRS[0].prompt], [()]) == [None]


def test_what_does_not_fit_is_unparsed_not_zero(rater: RewardModel) -> None:
    long = "Bob lies. " * 800
    assert rater.rate([PAIRS[0].prompt] * 2, [CHOSEN[0], long])[1] is None
    verdict = rater.mark(PROBLEMS[:1], [long])[0]
    assert (verdict.parsed, verdict.score) == (False, 0.0)
    preference = rater.choose(PROBLEMS[:1], CHOSEN[:1], [long])[0]
    assert (preference.winner, preference.parsed) == (None, False)
    rollouts = [
        Rollout(prompt=PAIRS[0].prompt, place=0, number=0, sample=i, ids=(), log_probs=(), text=text, finish="stop")
        for i, text in enumerate((CHOSEN[0], REJECTED[0], long))
    ]
    reward = Rated(rater)
    values = reward(rollouts)
    assert values[2] == min(values) == values[1]
    assert (reward.asked, reward.unrated) == (3, 1)


def test_the_reward_of_a_critic_is_the_mean_over_its_critiques(tmp_path: Path) -> None:
    folder = critic_model(tmp_path, epochs=5)
    several, one = opened(folder, temperature=1.0, n=3, seed=5), opened(folder)
    ratings = several.ratings([p.prompt for p in PAIRS], CHOSEN)
    assert all(len(r.critiques) == len(r.parts) == 3 for r in ratings)
    assert all(r.value == pytest.approx(sum(r.parts) / 3) for r in ratings)
    assert len({c for r in ratings for c in r.critiques}) > 1, "drawn, not greedy"
    assert len(one.ratings([PAIRS[0].prompt], CHOSEN[:1])[0].critiques) == 1
    assert several.describe() != one.describe()


def test_a_policy_learns_from_it(rater: RewardModel, tmp_path: Path) -> None:
    student = tiny_checkpoint(tmp_path / "student")
    source = OnPolicy([p.prompt for p in PAIRS[:4]], max_tokens=6, samples=3, reward=Rated(rater))
    settings = FitSettings(lr=1e-3, batch=2, steps=2)
    result = fit(model=student, source=source, objective=grpo(), settings=settings, seed=0, out=tmp_path / "out")
    assert result.steps == 2
    assert any(entry["gradient_norm"] > 0 for entry in result.log)
    assert source.describe()["reward"] == {"rated": rater.describe()}


def test_a_model_without_a_reward_is_refused(tmp_path: Path, rater: RewardModel) -> None:
    folder = tiny_checkpoint(tmp_path / "plain")
    with pytest.raises(CapabilityError, match="gives no reward"):
        opened(folder)
    ref = backends.resolve(f"hf:{folder}")
    assert "reward" not in backends.facts(ref).capabilities
    rater_without = RewardModel(rater._model, backends.facts(ref).__class__(capabilities=frozenset({"reward"})), model_id="x")
    with pytest.raises(SettingsError, match="how problems are asked"):
        rater_without(PROBLEMS[0], "42")
