"""Sources: rollouts are the student's own, edits and rewards reach the window, mixtures keep shares, choices follow the student."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from fits import digits

from checkpoints import tiny_checkpoint
from tutelage.engine.decode import score_ids
from tutelage.errors import DataError, SettingsError
from tutelage.hashing import canonical
from tutelage.objectives import Objective, cross_entropy, grpo, off_policy, rloo
from tutelage.records import Example, Problem, Prompt, Verdict
from tutelage.train import Checked, Domains, FitSettings, Fixed, Mixture, OnPolicy, Replay, Rollout, Selected, Source
from tutelage.train.batch import Batch
from tutelage.train.feeds import Site, decode_group, encode_group
from tutelage.train.loop import fit
from tutelage.train.mixing import DomainsFeed, group_losses
from tutelage.train.oracle import log_probs
from tutelage.train.window import Group, Window
from windows import examples, off, opened_site

PROMPTS = [e.prompt for e in examples()]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    folder = tiny_checkpoint(tmp_path_factory.mktemp("m") / "student")
    settings = FitSettings(lr=1e-3, batch=4, steps=12)
    return opened_site(folder, settings)


def first(source: OnPolicy | Replay | Mixture | Domains | Selected, site: Site) -> Window:
    window = source.open(site).next()
    assert window is not None
    return window


def test_behaviour_log_probs_are_those_of_the_loop_so_the_first_ratio_is_one(site: Site) -> None:
    window = first(OnPolicy(PROMPTS, max_tokens=10, samples=2, reward=digits), site)
    assert [len(g.rows) for g in window.groups] == [2, 2, 2, 2]
    batch = Batch(window.groups, site.network.device)
    with site.network.frozen():
        mine = log_probs(site.network, batch)
    assert off(batch.fact("behaviour_log_probs"), mine) < 1e-5
    assert len({r.key for g in window.groups for r in g.rows}) == 8
    assert site.network.layout == "packed"


def test_advantages_are_centred_in_each_group(site: Site) -> None:
    for advantage in ("group", "group_mean", "leave_one_out"):
        window = first(OnPolicy(PROMPTS, max_tokens=12, samples=4, reward=digits, advantage=advantage), site)
        for group in window.groups:
            assert sum(r.facts["advantages"][0] for r in group.rows) == pytest.approx(0, abs=1e-6)
    plain = first(OnPolicy(PROMPTS, max_tokens=12, reward=digits, advantage="reward"), site)
    assert any(r.facts["advantages"][0] > 0 for g in plain.groups for r in g.rows)


def repair(rollouts: Sequence[Rollout]) -> list[Rollout]:
    """The first is replaced, the second spliced after three ids, the third dropped, the fourth left alone."""
    a, b, c, d = rollouts
    return [a.replaced("It is 42."), b.spliced(3, " => 6"), c.dropped(), d]


def test_an_edit_replaces_splices_and_drops(site: Site) -> None:
    seen: list[Rollout] = []

    def looking(rollouts: Sequence[Rollout]) -> list[Rollout]:
        seen.extend(rollouts)
        return repair(rollouts)

    looking.__qualname__ = "looking"
    window = first(OnPolicy(PROMPTS, max_tokens=10, edit=looking), site)
    rows = [r for g in window.groups for r in g.rows]
    assert [r.role for r in rows] == ["edited", "edited", "own"]
    render = site.rendering
    assert render.text(rows[0].ids).endswith("It is 42.")
    assert rows[0].facts["behaviour_log_probs"] == (0.0,) * len(rows[0].charged)
    start = rows[1].charged[0]
    assert rows[1].ids[start : start + 3] == seen[1].ids[:3]
    assert rows[1].ids[start + 3 :] == tuple(render.completion_ids(" => 6"))
    assert rows[1].facts["behaviour_log_probs"][:4] == (*seen[1].log_probs[:3], 0.0)


def cut(rollouts: Sequence[Rollout]) -> list[Rollout]:
    return list(rollouts[1:])


def test_hooks_need_an_identity_and_keep_the_number(site: Site) -> None:
    with pytest.raises(SettingsError, match="identity"):
        OnPolicy(PROMPTS, max_tokens=4, edit=lambda rollouts: rollouts).describe()
    with pytest.raises(SettingsError, match="number of rollouts"):
        first(OnPolicy(PROMPTS, max_tokens=4, edit=cut), site)
    with pytest.raises(SettingsError, match="baseline"):
        OnPolicy(PROMPTS, max_tokens=4, reward=digits)
    assert canonical(OnPolicy(PROMPTS, max_tokens=4, edit=repair).describe()) != canonical(OnPolicy(PROMPTS, max_tokens=4).describe())


def test_groups_survive_json_to_the_last_bit(site: Site) -> None:
    import json

    window = first(OnPolicy(PROMPTS, max_tokens=10, samples=2, reward=digits), site)
    assert tuple(decode_group(json.loads(json.dumps(encode_group(g)))) for g in window.groups) == window.groups


def test_replay_mixes_old_with_new(site: Site) -> None:
    feed = Replay(OnPolicy(PROMPTS, max_tokens=4), capacity=6, fresh=0.5).open(site)
    windows = [w for _ in range(4) if (w := feed.next()) is not None]
    keys = [[r.key for g in w.groups for r in g.rows] for w in windows]
    assert [len(k) for k in keys] == [4, 4, 4, 4]
    assert len(set(keys[0])) == 4
    for i in (1, 2, 3):
        earlier = {k for w in keys[:i] for k in w}
        assert sum(k in earlier for k in keys[i]) == 2


def test_a_mixture_keeps_its_shares_over_windows(site: Site) -> None:
    feed = Mixture((Fixed(examples()), 0.7), (OnPolicy(PROMPTS, max_tokens=3), 0.3)).open(site)
    drawn = Counter(r.key.startswith("rollout") for _ in range(10) if (w := feed.next()) is not None for r in w.rows)
    assert drawn == {False: 28, True: 12}


def test_domains_with_more_loss_are_drawn_more(site: Site) -> None:
    hard = [Example(prompt=Prompt.user(f"Q {i}"), completion="zzz qqq xxx jjj") for i in range(8)]
    losses = {n: group_losses(Fixed(r).open(site).fixed[:4], site) for n, r in (("easy", examples()), ("hard", hard))}  # pyright: ignore[reportArgumentType]
    floor = {"easy": 10.0, "hard": min(losses["hard"]) - 2.0}
    feed = Domains({"easy": examples(), "hard": hard}, every=3, probes=4, floor=floor).open(site)
    assert isinstance(feed, DomainsFeed)
    for _ in range(10):
        assert feed.next() is not None
    assert len(feed.history) == 3
    assert feed.weights["hard"] > 0.9
    assert feed.weights["easy"] >= 0.05 - 1e-9
    again = Domains({"easy": examples(), "hard": hard}, every=3, probes=4, floor=floor).open(site)
    again.restore(feed.state())
    one, two = feed.next(), again.next()
    assert one == two


def test_selection_keeps_what_the_live_student_finds_hard(site: Site) -> None:
    everything = Fixed(examples()).open(site).fixed
    losses = dict(zip([g.rows[0].key for g in everything], group_losses(everything, site), strict=True))
    for hardest in (True, False):
        window = first(Selected(Fixed(examples()), pool=2, hardest=hardest), site)
        chosen = sorted(losses[r.key] for r in window.rows)
        rest = sorted(set(losses.values()) - set(chosen))
        assert len(chosen) == 4
        assert (chosen[0] >= rest[-1]) if hardest else (chosen[-1] <= rest[0])


@pytest.mark.parametrize("name", ["grpo", "rloo", "off_policy"])
def test_policy_gradients_raise_the_reward(site: Site, tmp_path: Path, name: str) -> None:
    rewards: list[float] = []

    def watched(rollouts: Sequence[Rollout]) -> list[float]:
        values = digits(rollouts)
        rewards.append(sum(values) / len(values))
        return values

    watched.__qualname__ = "watched"
    objective, advantage = {
        "grpo": (grpo(per="token", clip_high=0.28), "group"),
        "rloo": (rloo(), "leave_one_out"),
        "off_policy": (off_policy(), "group_mean"),
    }[name]
    source = OnPolicy(PROMPTS[:2], max_tokens=8, samples=8, reward=watched, advantage=advantage)
    settings = FitSettings(lr=1e-2, batch=2, steps=25)
    assert isinstance(site.model, Path)
    fit(model=site.model, source=source, objective=objective, settings=settings, seed=1, out=tmp_path / "out")
    assert sum(rewards[-5:]) / 5 > sum(rewards[:5]) / 5 + 0.1, rewards


def test_on_and_off_policy_terms_charge_their_own_rows(site: Site, tmp_path: Path) -> None:
    source = OnPolicy(PROMPTS[:4], max_tokens=6, samples=1, edit=repair)
    settings = FitSettings(lr=1e-3, batch=4, steps=1)
    objective = cross_entropy(over="edited") + grpo(over="own")
    assert isinstance(site.model, Path)
    result = fit(model=site.model, source=source, objective=objective, settings=settings, seed=0, out=tmp_path / "out")
    assert result.log[0]["terms"]["grpo"] == pytest.approx(0.0)
    assert result.log[0]["terms"]["cross_entropy"] > 1.0
    assert result.dropped == {"nothing to learn: all of it is masked or empty": 1}


def test_given_texts_beside_rollouts_are_charged_by_their_own_terms(site: Site, tmp_path: Path) -> None:
    """In a mixture each term charges its rows; the value of either is what it is without the other's rows."""
    given, own = Fixed(examples()[:2], role="given"), OnPolicy(PROMPTS[:2], max_tokens=6, samples=2, reward=digits)
    settings = FitSettings(lr=1e-3, batch=4, steps=1)

    def terms(source: Source, objective: Objective) -> dict[str, float]:
        assert isinstance(site.model, Path)
        done = fit(model=site.model, source=source, objective=objective, settings=settings, seed=0, out=tmp_path / "out")
        return done.log[0]["terms"]

    both = terms(Mixture((given, 0.5), (own, 0.5)), grpo(over="own") + cross_entropy(over="given"))
    assert both["cross_entropy"] == pytest.approx(terms(given, cross_entropy())["cross_entropy"], rel=1e-5)
    assert both["grpo"] == pytest.approx(0.0, abs=1e-6)
    with pytest.raises(DataError, match="do not bring"):
        terms(Mixture((given, 0.5), (own, 0.5)), grpo() + cross_entropy(over="given"))


def test_scoring_elsewhere_agrees_with_the_loop(site: Site) -> None:
    group = Fixed(examples()).open(site).draw(1)[0]
    row = group.rows[0]
    start = row.charged[0]
    elsewhere = score_ids(site.network.module, [row.ids[:start]], [row.ids[start:]])[0]
    with site.network.frozen():
        mine = log_probs(site.network, Batch([Group(rows=(row,))], site.network.device))
    assert off(mine, torch.tensor(elsewhere)) < 1e-5


def test_a_stop_text_ends_a_rollout_and_is_trained_on_but_not_shown(site: Site) -> None:
    free = OnPolicy(PROMPTS, max_tokens=12).open(site).draw(8)
    texts = [site.rendering.text(g.rows[0].ids[g.rows[0].start :]) for g in free]
    letter = next(c for c in texts[0][2:] if c.isalpha() and c.isascii())
    seen: list[Rollout] = []

    def looking(rollouts: Sequence[Rollout]) -> list[Rollout]:
        seen.extend(rollouts)
        return list(rollouts)

    looking.__qualname__ = "looking"
    stopped = OnPolicy(PROMPTS, max_tokens=12, stop=(letter,), edit=looking).open(site).draw(8)
    for whole, group, rollout in zip(texts, stopped, seen, strict=True):
        assert rollout.text == whole.partition(letter)[0]
        trained = site.rendering.text(group.rows[0].ids[group.rows[0].start :])
        assert whole.startswith(trained)
        assert (letter in trained) == (letter in whole)
        assert rollout.finish == "stop" or letter not in whole


class Half:
    """A verifier: half right where there is a digit, unreadable where there is nothing."""

    def __call__(self, problem: Problem, text: str) -> Verdict:
        return Verdict(score=0.5 * any(c.isdigit() for c in text) + 0.5 * text.startswith(problem.answer or "?"), parsed=bool(text))


def test_a_verifier_is_a_reward_with_an_identity(site: Site) -> None:
    problems = [Problem(text=str(i), answer=str(i)) for i in range(3)]
    reward = Checked(problems, verify=Half(), by="half 1")
    prompt = PROMPTS[0]
    rollouts = [
        Rollout(prompt=prompt, place=p, number=0, sample=0, ids=(), log_probs=(), text=t, finish="stop")
        for p, t in ((0, "0 is it"), (1, "0 is it"), (2, "none"), (2, ""))
    ]
    assert reward(rollouts) == [1.0, 0.5, 0.0, 0.0]
    assert (reward.asked, reward.unparsed) == (4, 1)
    other = Checked(problems[:2], verify=Half(), by="half 1")
    assert len({canonical(r.describe()) for r in (reward, other, Checked(problems, verify=Half(), by="half 2"))}) == 3
    with pytest.raises(SettingsError, match="name of its verifier"):
        Checked(problems, verify=Half(), by="")
