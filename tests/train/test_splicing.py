"""Rollouts that somebody else writes on: which, where the seam is, what they are rewarded with and how their tokens are charged."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tutelage.errors import SettingsError
from tutelage.hashing import canonical
from tutelage.objectives import guided_grpo
from tutelage.records import Problem, Verdict
from tutelage.train import FOREIGN, Checked, FitSettings, Foreign, Guidance, OnPolicy, Rollout, Spliced
from tutelage.train.feeds import Site
from tutelage.train.loop import fit
from windows import Opened, examples, off, opened_site

PROMPTS = [e.prompt for e in examples()[:3]]


def test_the_released_constants_guide_for_eight_steps() -> None:
    released = Guidance(start=0.1, floor=0.01, slack=0.05, share=16 / 58)
    on = [step for step in range(58) if released.at(step / 58)]
    assert on == list(range(8))
    assert released.at(4 / 58) == pytest.approx(0.1 - 0.09 * 4 / 16)
    assert [Guidance(shape="constant").at(p) for p in (0.0, 1.0)] == [0.1, 0.1]
    for shape in ("exponential", "cosine"):
        falling = [Guidance(start=0.5, slack=0.0, share=0.5, shape=shape).at(p / 10) for p in range(5)]
        assert falling == sorted(falling, reverse=True)
        assert falling[0] == pytest.approx(0.5)
    assert Guidance(start=0.5, slack=0.0, shape="cosine").at(0.5) == pytest.approx(0.255)
    assert Guidance(start=0.5, slack=0.0, shape="exponential").at(0.5) == pytest.approx(math.sqrt(0.005))
    with pytest.raises(SettingsError, match="no such shape"):
        Guidance(shape="liner")
    with pytest.raises(SettingsError, match="floor"):
        Guidance(start=0.0)


def said(items: Sequence[tuple[int, str]]) -> list[str | None]:
    return [f" | {place} again" for place, _ in items]


def spliced(site: Site, **options: object) -> Spliced:
    given = {"by": {"who": "test"}, "guidance": Guidance(start=0.5, slack=0.0), "steps": 4, "max_tokens": 99, **options}
    return Spliced(said, **given)  # pyright: ignore[reportArgumentType]


def rollout(site: Site, text: str, *, number: int = 0, sample: int = 0, finish: str = "stop", stop: str = "\n") -> Rollout:
    """As the student would have written it: the text, a stop text, an end."""
    ids = tuple(site.rendering.completion_ids(text + stop))
    return Rollout(
        prompt=PROMPTS[number % 3], place=number % 3, number=number, sample=sample, ids=ids, log_probs=(-1.0,) * len(ids), text=text,
        finish=finish,
    )  # fmt: skip


@pytest.mark.parametrize("text", ["Mon 8 8 ; Tue 3 2 => 2", "", "ü and € 5 ", "a  b", "=> 7;"])
@pytest.mark.parametrize("stop", ["\n", "", " \n\n"])
def test_the_seam_leaves_one_text_and_one_end(site: Site, text: str, stop: str) -> None:
    (longer,) = spliced(site).open(site)([rollout(site, text, stop=stop)])
    whole = f"{text.rstrip()} | 0 again"
    assert longer.text == whole
    assert longer.keep is not None
    assert longer.new is not None
    ids = [*longer.ids[: longer.keep], *site.rendering.completion_ids(longer.new)]
    assert site.rendering.text(ids) == whole
    assert [i for i in ids if i in site.rendering.stop_ids] == [site.rendering.eos_id]
    assert ids[-1] == site.rendering.eos_id


def test_who_is_chosen(site: Site) -> None:
    rollouts = [
        rollout(site, f"{number} {sample}", number=number, sample=sample, finish="length" if number == 2 or sample == 3 else "stop")
        for number in range(3)
        for sample in range(6)
    ]
    edit = spliced(site).open(site)
    found = edit(rollouts)
    by_number = [[r.sample for r in found if r.number == n and r.new is not None] for n in range(3)]
    assert [len(mine) for mine in by_number] == [2, 2, 0], "half of five, and none of those that were cut off"
    assert 3 not in by_number[0] + by_number[1]
    assert [replace(r, new=None, keep=None, text="") for r in found] == [replace(r, text="") for r in rollouts]
    assert edit(rollouts) == found
    later = spliced(site).open(site)([replace(r, number=r.number + 30) for r in rollouts])
    assert not any(r.new for r in later), "guidance is over"
    one = spliced(site, guidance=Guidance(start=0.1, slack=0.0)).open(site)(rollouts)
    assert sum(r.new is not None for r in one) == 2, "at least one of each prompt"


def test_what_does_not_fit_stays_and_dealt_feedback_is_anothers(site: Site) -> None:
    rollouts = [rollout(site, "=> 4", number=n) for n in range(3)]
    assert spliced(site, max_tokens=5).open(site)(rollouts) == rollouts
    dealt = spliced(site, deal=True).open(site)(rollouts)
    assert [r.text for r in dealt] == ["=> 4 | 1 again", "=> 4 | 2 again", "=> 4 | 0 again"]
    assert spliced(site, deal=True).open(site)(rollouts[:1]) == rollouts[:1], "nobody else has anything to give"
    keys = {canonical(spliced(site, **o).describe()) for o in ({}, {"deal": True}, {"steps": 5}, {"max_tokens": 5}, {"by": {}})}
    assert len(keys) == 5


def test_a_plan_hears_what_would_be_asked() -> None:
    asked: list[int] = []

    def counting(items: Sequence[tuple[int, str]]) -> list[str | None]:
        asked.append(len(items))
        return [None] * len(items)

    edit = Spliced(counting, by={}, guidance=Guidance(start=0.5, slack=0.0, share=0.5), steps=6, max_tokens=9)
    OnPolicy(PROMPTS, max_tokens=4, samples=4, edit=edit).rehearse(FitSettings(lr=1e-3, batch=2))
    assert asked == [4, 2, 2], "floor(0.5 x 4), floor(0.34 x 4), floor(0.17 x 4) or one, for two prompts; then it is over"
    OnPolicy(PROMPTS, max_tokens=4).rehearse(FitSettings(lr=1e-3, batch=2))


def ends_in_again(problem: Problem, text: str) -> Verdict:
    return Verdict(score=float(text.endswith("again")))


def test_spliced_texts_are_rewarded_marked_and_charged(student: Path, tmp_path: Path) -> None:
    """Through a fit: the reward reads the whole text, the marks cover all of it or the tail, and the record tells how many there were."""
    site = opened_site(student, FitSettings(lr=1e-3, batch=3))
    problems = [Problem(text=p.text) for p in PROMPTS]

    def source(appended: bool) -> OnPolicy:
        return OnPolicy(
            PROMPTS, max_tokens=30, samples=4, edit=Halved(), reward=Checked(problems, verify=ends_in_again, by="x", ended=True),
            marks=Foreign(appended=appended),
        )  # fmt: skip

    for appended in (False, True):
        window = source(appended).open(site).next()
        assert window is not None
        edited = [r for r in window.rows if r.role == "edited"]
        assert len(edited) == 6
        for row in window.rows:
            marks = row.facts[FOREIGN]
            assert (1.0 in marks) == (row.role == "edited")
            assert row.facts["advantages"][0] > 0 if row.role == "edited" else row.facts["advantages"][0] < 0
            if row.role == "edited":
                known = [b != 0 for b in row.facts["behaviour_log_probs"]]
                assert [m == 0 for m in marks] == (known if appended else [False] * len(known))
    done = fit(
        model=student, source=source(False), objective=guided_grpo(), settings=FitSettings(lr=1e-3, batch=3, steps=2), seed=0,
        out=tmp_path / "out",
    )  # fmt: skip
    assert [told["spliced"] for told in done.told["rollouts"]] == [0.5, 0.5]
    assert [told["spliced_reward"] for told in done.told["rollouts"]] == [1.0, 1.0]
    assert all(0.5 < told[FOREIGN] < 1 for told in done.told["rollouts"]), "the share of tokens whose ratio is shaped"


def test_a_text_that_was_cut_off_earns_nothing_where_an_end_is_asked_for(site: Site) -> None:
    cut = [rollout(site, "x again", finish="length"), rollout(site, "x again")]
    problems = [Problem(text="q")] * 3
    assert Checked(problems, verify=ends_in_again, by="x")(cut) == [1.0, 1.0]
    assert Checked(problems, verify=ends_in_again, by="x", ended=True)(cut) == [0.0, 1.0]
    assert "ended" not in Checked(problems, verify=ends_in_again, by="x").describe()


class Halved:
    """Tiny models never end: what they wrote counts as ended, half of it is written on."""

    def describe(self) -> str:
        return "halved"

    def open(self, site: Site):
        inner = spliced(site, guidance=Guidance(start=0.5, slack=0.0, shape="constant")).open(site)
        return lambda rollouts: inner([replace(r, finish="stop") for r in rollouts])


def some_are_right(rollouts: Sequence[Rollout]) -> list[float]:
    return [float((r.number + r.sample) % 3 == 0) for r in rollouts]


@pytest.mark.parametrize("appended", [False, True])
@pytest.mark.parametrize(("best", "worst", "spare"), [(0.001, -0.001, 0.0015), (0.4, -0.05, 0.0), (0.1, 0.1, 1.0)])
def test_the_gradient_of_spliced_rollouts_is_its_twins(student: Path, appended: bool, best: float, worst: float, spare: float) -> None:
    """Ratios and masks from the paper's lines, token by token in float64, the seam found in the text and not in the marks; by every road of
    the loop, under weights that have moved on since the rollouts were drawn."""
    source = OnPolicy(PROMPTS, max_tokens=12, samples=4, edit=Halved(), reward=some_are_right, marks=Foreign(appended=appended))
    window = source.open(opened_site(student, FitSettings(lr=1e-3, batch=3))).next()
    assert window is not None
    objective = guided_grpo(best=best, worst=worst, spare=spare)
    network = Opened(student, window.groups, objective).network
    rendering = opened_site(student, FitSettings(lr=1e-3, batch=3)).rendering
    network.restore_attention()
    module = network.module.double()
    loss, kinds = torch.zeros((), dtype=torch.float64), {"shaped": 0, "spared": 0, "ordinary": 0}
    for row in window.rows:
        ids = torch.tensor([row.ids])
        logits = module(ids, attention_mask=torch.ones_like(ids)).logits[0].log_softmax(-1)
        written = row.ids[row.start :]
        whole = rendering.text(written)
        own = len(whole) if row.role != "edited" else whole.rindex(" | ")
        advantage = row.facts["advantages"][0]
        for place, drawn in zip(row.charged, row.facts["behaviour_log_probs"], strict=True):
            pi = logits[place - 1, row.ids[place]].exp()
            theirs = row.role == "edited" and len(rendering.text(written[: place - row.start + 1])) > own
            foreign = theirs if appended else row.role == "edited"
            if foreign and (advantage >= 0 or pi.item() >= spare):
                gamma = best + (worst - best) * min(1.0, max(0.0, (4 - advantage) / 8))
                below = pi.item() + gamma
                below = pi.item() / 1.0001 if below <= 0 else pi.item() / 0.9999 if below > 1 else below
                kinds["shaped"] += 1
                loss = loss - advantage * pi / below
                continue
            kinds["spared" if foreign else "ordinary"] += 1
            ratio = pi / (pi.item() if theirs else math.exp(drawn))
            loss = loss - torch.minimum(ratio * advantage, ratio.clamp(0.8, 1.2) * advantage)
    loss = loss / sum(len(r.charged) for r in window.rows)
    assert kinds["shaped"] > 20 < kinds["ordinary"]
    assert (kinds["spared"] > 5) == (spare > 0)
    wanted = torch.autograd.grad(loss, list(module.parameters()), allow_unused=True)
    flat = torch.cat([g.flatten() for g in wanted if g is not None])
    opened = Opened(student, window.groups, objective)
    for road in ({}, {"size": 1}, {"tile_bytes": 1}, {"layout": "right"}):
        value, gradient = opened.value_and_gradient(**road)  # pyright: ignore[reportArgumentType]
        assert value == pytest.approx(loss.item(), rel=1e-4), road
        assert off(gradient.double(), flat) < 1e-4, road
