"""Sources: rollouts are the student's own, edits and rewards reach the window, mixtures keep shares, choices follow the student."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from fits import digits

from checkpoints import tiny_checkpoint
from tutelage.engine.decode import score_ids
from tutelage.errors import DataError, SettingsError
from tutelage.hashing import canonical
from tutelage.objectives import Objective, cross_entropy, grpo, off_policy, rloo
from tutelage.records import Example, Problem, Prompt, Verdict
from tutelage.select.domain_weights import Constant, PerplexityRatio
from tutelage.train import Checked, Domains, FitSettings, Fixed, Mixture, OnPolicy, Replay, Rollout, Selected, Source
from tutelage.train.batch import Batch
from tutelage.train.feeds import Site, decode_group, encode_group
from tutelage.train.loop import FitResult, fit
from tutelage.train.mixing import DomainsFeed, group_losses, mean_loss
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


def long_answer(rollouts: Sequence[Rollout]) -> list[Rollout]:
    """Longer than the context: the prompt is cut to one id and the text at its end."""
    return [r.spliced(2, " and so on" * 40) for r in rollouts]


def test_facts_of_an_edited_rollout_that_was_cut_stand_at_their_tokens(tmp_path: Path) -> None:
    settings = FitSettings(lr=1e-3, batch=4, overflow="truncate", context_tokens=40)
    site = opened_site(tiny_checkpoint(tmp_path / "student"), settings)

    class Places:
        def describe(self) -> str:
            return "places"

        def __call__(self, rollouts: Sequence[Rollout]) -> list[dict[str, list[float]]]:
            return [{"place": [float(i) for i in range(len(r.final_ids(site.rendering)))]} for r in rollouts]

    source = OnPolicy(PROMPTS, max_tokens=6, edit=long_answer, marks=Places())
    rows = first(source, site).rows
    for row in rows:
        assert (len(row.ids), row.start, row.charged[0]) == (40, 1, 1)
        known = row.facts["behaviour_log_probs"]
        assert all(x < 0 for x in known[:2])
        assert known[2:] == (0.0,) * 37
        assert row.facts["place"] == tuple(float(i) for i in range(39))


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


def hard_examples(n: int = 8) -> list[Example]:
    return [Example(prompt=Prompt.user(f"Q {i}"), completion="zzz qqq xxx jjj") for i in range(n)]


def excess(site: Site) -> dict[str, float]:
    """Floors under which the easy domain has nothing to lose and the hard one two nats."""
    hard = group_losses(Fixed(hard_examples()).open(site).fixed[:4], site)
    return {"easy": 10.0, "hard": min(hard) - 2.0}


def test_domains_with_more_loss_are_drawn_more(site: Site) -> None:
    source = Domains({"easy": examples(), "hard": hard_examples()}, every=3, probes=4, floor=excess(site))
    feed = source.open(site)
    assert isinstance(feed, DomainsFeed)
    for _ in range(10):
        assert feed.next() is not None
    assert [entry["window"] for entry in feed.history] == [0, 3, 6, 9]
    assert feed.weights["hard"] > 0.9
    assert feed.weights["easy"] >= 0.05 - 1e-9
    again = source.open(site)
    again.restore(feed.state())
    one, two = feed.next(), again.next()
    assert one == two
    assert site.told["domains"] == {"intervals": feed.history, "drawn": feed.state()["drawn"], "tokens": feed.state()["tokens"],
                                    "examples": {"easy": 8, "hard": 8}}  # fmt: skip


def test_domains_are_measured_on_what_is_held_out_and_nothing_of_it_is_drawn(site: Site) -> None:
    corpus, held = {"easy": examples(), "hard": hard_examples(8)}, {"easy": examples()[:2], "hard": hard_examples(12)[8:]}
    feed = Domains(corpus, every=2, probes=held, rule=PerplexityRatio(alpha=0.5), first={"easy": 3.0, "hard": 1.0}).open(site)
    drawn = Counter(r.key for _ in range(12) if (w := feed.next()) is not None for r in w.rows)
    assert not set(drawn) & {x.id for x in held["hard"]}
    told = site.told["domains"]
    assert told["intervals"][0]["losses"]["hard"] == pytest.approx(mean_loss(Fixed(held["hard"]).open(site).fixed, site))
    assert told["intervals"][0]["drawn_by"] == {"easy": 0.75, "hard": 0.25}
    assert told["intervals"][0]["weights"] == PerplexityRatio().start(told["intervals"][0]["losses"], {})
    for before, after in pairwise(told["intervals"]):
        assert after["weights"] == after["drawn_by"] == PerplexityRatio(alpha=0.5).after(before["weights"], after["losses"], {})
    assert sum(told["drawn"].values()) == 12 * 4
    assert told["drawn"]["hard"] == sum(n for key, n in drawn.items() if key in {x.id for x in corpus["hard"]})
    one_pass = {name: sum(g.tokens for g in Fixed(records).open(site).fixed) for name, records in corpus.items()}
    per_text = one_pass["hard"] / 8
    assert told["tokens"]["hard"] == pytest.approx(told["drawn"]["hard"] * per_text, rel=0.05)


def test_dealt_lags_belong_to_other_domains_while_the_record_stays_true(site: Site) -> None:
    corpus = {"easy": examples(), "hard": hard_examples(), "bare": examples()[:3]}
    given = {"every": 1, "probes": 3, "rule": PerplexityRatio(alpha=1.0)}
    straight, dealt = (Domains(corpus, **given, dealt=d).open(site) for d in (False, True))  # pyright: ignore[reportArgumentType]
    assert isinstance(straight, DomainsFeed)
    assert isinstance(dealt, DomainsFeed)
    for _ in range(9):
        assert straight.next() is not None
        assert dealt.next() is not None
    assert [e["losses"] for e in straight.history] == [e["losses"] for e in dealt.history]
    gains = [[after["weights"][n] / before["weights"][n] for n in corpus] for before, after in pairwise(dealt.history)]
    assert len({max(range(3), key=lambda i, g=g: g[i]) for g in gains}) > 1, "the one that gains most changes"
    assert straight.weights["hard"] > 0.99


def test_equal_draws_share_their_random_numbers_with_weighted_ones(site: Site) -> None:
    corpus = {"easy": examples(), "hard": hard_examples()}
    equal = Domains(corpus, every=3, rule=Constant()).open(site)
    weighted = Domains(corpus, every=3, rule=PerplexityRatio(), first={"easy": 1.0, "hard": 1.0}).open(site)
    for _ in range(3):
        assert equal.next() == weighted.next()


def test_domains_without_a_held_out_example_or_with_shares_of_others_are_refused() -> None:
    with pytest.raises(DataError, match="no held-out example"):
        Domains({"easy": examples(), "hard": hard_examples()}, every=1, probes={"easy": examples()})
    with pytest.raises(SettingsError, match="name each domain"):
        Domains({"easy": examples()}, every=1, first={"other": 1.0})
    with pytest.raises(SettingsError, match="at least 1"):
        Domains({"easy": examples()}, every=1, probes=0)


def test_what_changes_the_draws_of_domains_changes_their_description() -> None:
    corpus = {"easy": examples(), "hard": hard_examples()}
    sources = [
        Domains(corpus, every=3),
        Domains(corpus, every=4),
        Domains(corpus, every=3, probes=2),
        Domains(corpus, every=3, probes=corpus),
        Domains(corpus, every=3, floor={"easy": 1.0}),
        Domains(corpus, every=3, rule=Constant()),
        Domains(corpus, every=3, first={"easy": 2.0, "hard": 1.0}),
        Domains(corpus, every=3, dealt=True),
    ]
    assert len({canonical(s.describe()) for s in sources}) == len(sources)
    assert [r.id for r in sources[0].records] == [r.id for r in (*examples(), *hard_examples())]


def test_the_record_of_a_fit_tells_what_was_measured_and_drawn_also_after_a_kill(tmp_path: Path) -> None:
    folder = tiny_checkpoint(tmp_path / "student")
    source = Domains({"easy": examples(), "hard": hard_examples()}, every=2, probes=3, rule=PerplexityRatio())
    settings = FitSettings(lr=1e-3, batch=4, steps=6, checkpoint_every=3)

    def trained(name: str, progress: Any = None, checkpoint: Path | None = None) -> FitResult:
        return fit(
            model=folder, source=source, objective=cross_entropy(), settings=settings, seed=3, out=tmp_path / name, progress=progress,
            checkpoint=checkpoint,
        )  # fmt: skip

    def killed(done: int, total: int, loss: float) -> None:
        if done == 5:
            raise KeyboardInterrupt

    whole = trained("whole")
    with pytest.raises(KeyboardInterrupt):
        trained("part", killed, tmp_path / "held")
    again = trained("part", checkpoint=tmp_path / "held")
    assert whole.told == again.told
    assert [entry["window"] for entry in whole.told["domains"]["intervals"]] == [0, 2, 4]
    assert sum(whole.told["domains"]["drawn"].values()) == whole.examples == 24
    assert sum(whole.told["domains"]["tokens"].values()) == whole.tokens


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
