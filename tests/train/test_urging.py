"""Rollouts that lack what every text must say: which are drawn anew or led on, and that their log-probabilities are the student's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tutelage.errors import SettingsError
from tutelage.hashing import canonical
from tutelage.objectives import grpo
from tutelage.prompts.confidence import cue, read_stated, unstated
from tutelage.prompts.dialects import FOLDS
from tutelage.train import STATED, FitSettings, OnPolicy, Onward, Rollout, Urged
from tutelage.train.feeds import Site
from tutelage.train.loop import fit
from windows import examples, opened_site

PROMPTS = [e.prompt for e in examples()[:3]]


def rollout(site: Site, text: str, *, number: int = 0, sample: int = 0, end: bool = True) -> Rollout:
    ids = tuple(site.rendering.completion_ids(text, end=end))
    return Rollout(
        prompt=PROMPTS[number % 3], place=number % 3, number=number, sample=sample, ids=ids, log_probs=(-1.0,) * len(ids), text=text,
        finish="stop" if end else "length",
    )  # fmt: skip


def urged(**options: object) -> Urged:
    given = {"by": "test", "tries": 0, "cue": " ?", "tokens": 4, "max_tokens": 6, **options}
    lacking = given.pop("lacking", lambda text: unstated(FOLDS, text))
    return Urged(lacking, **given)  # pyright: ignore[reportArgumentType]


def own_log_probs(site: Site, told: Rollout) -> list[float]:
    prompt = site.rendering.prompt_ids(told.prompt)
    ids = torch.tensor([[*prompt, *told.ids]])
    site.network.restore_attention()
    with torch.no_grad():
        logits = site.network.module(ids, attention_mask=torch.ones_like(ids)).logits[0].log_softmax(-1)
    site.network.claim_attention()
    return [float(logits[len(prompt) + i - 1, token]) for i, token in enumerate(told.ids)]


def test_what_lacks_nothing_stays_and_the_rest_is_led_on_from_what_it_has(site: Site) -> None:
    texts = ["Mon 8 8 => 8 ; 8 1 ? 7", "Mon 8 8 => 8", "=> 8 ; 8 ? 12", "=> 6 ;", "no answer ü"]
    given = [rollout(site, text, number=i % 3, sample=i // 3, end=i != 3) for i, text in enumerate(texts)]
    found = urged().open(site)(given)
    assert found[0] == given[0]
    for before, after, kept in zip(given[1:], found[1:], ["Mon 8 8 => 8", "=> 8 ; 8", "=> 6 ;", "no answer ü"], strict=True):
        assert after.text.startswith(f"{kept} ?")
        assert (after.prompt, after.place, after.number, after.sample) == (before.prompt, before.place, before.number, before.sample)
        assert len(after.ids) == len(after.log_probs)
        first = next(n for n in range(len(after.ids) + 1) if site.rendering.text(after.ids[:n]).startswith(f"{kept} ?"))
        assert len(after.ids) - first <= 4
        assert not set(after.ids[:first]) & site.rendering.stop_ids, "it is open again"
        unknown = [i for i, x in enumerate(after.log_probs) if x == 0.0]
        assert unknown
        assert site.rendering.text([after.ids[i] for i in unknown]).strip().endswith("?"), "the cue is nobody's choice"
        assert unknown[-1] == first - 1
        assert list(after.log_probs[first:]) == pytest.approx(own_log_probs(site, after)[first:], abs=1e-4)
    assert urged().open(site)(given) == found


def test_equal_beginnings_are_led_on_differently(site: Site) -> None:
    given = [rollout(site, "=> 8", sample=i) for i in range(6)]
    assert len({r.ids for r in urged().open(site)(given)}) > 1


def test_those_drawn_anew_are_the_students_own_and_only_those_that_lack_something(site: Site) -> None:
    given = [rollout(site, "fine" if i in (1, 4) else "x", number=i // 3, sample=i % 3) for i in range(6)]
    mute = [i for i in range(6) if i not in (1, 4)]
    found = urged(lacking=lambda text: None if text == "fine" else text, tries=1, cue="").open(site)(given)
    assert [found[i] for i in (1, 4)] == [given[i] for i in (1, 4)]
    for i in mute:
        assert found[i].ids != given[i].ids
        assert len(found[i].ids) <= 6
        assert found[i].number == given[i].number
        assert list(found[i].log_probs) == pytest.approx(own_log_probs(site, found[i]), abs=1e-4)
    assert found[0].ids != found[2].ids, "two of one prompt are two draws"
    asked: list[str] = []

    def after_two(text: str) -> str | None:
        asked.append(text)
        return text

    again = urged(lacking=after_two, tries=2, cue="").open(site)(given[:1])
    assert len(asked) == 2
    assert asked[0] != asked[1] != again[0].text, "every turn is another draw"
    assert urged(tries=0, cue="").open(site)(given) == given


def test_a_full_context_is_left_alone(site: Site) -> None:
    told = rollout(site, "=> 8")
    full = replace(site, context_tokens=len(site.rendering.prompt_ids(told.prompt)) + len(told.ids))
    assert urged().open(full)([told]) == [told]


def test_the_key_holds_all_that_can_change_a_rollout() -> None:
    changes: list[dict[str, object]] = [
        {}, {"by": "x"}, {"tries": 1}, {"cue": "!"}, {"tokens": 5}, {"max_tokens": 7}, {"temperature": 0.5}, {"top_p": 0.5},
        {"stop": ("\n",)},
    ]  # fmt: skip
    assert len({canonical(urged(**c).describe()) for c in changes}) == len(changes)
    for wrong in ({"tries": -1}, {"tokens": 0}, {"temperature": 0.0}):
        with pytest.raises(SettingsError, match="urging"):
            urged(**wrong)


def begin(text: str) -> int | None:
    place = text.find("?")
    return place + 1 if 0 <= place < len(text) - 1 else None


def rated(rollouts: Sequence[Rollout]) -> list[float]:
    assert all("?" in r.text for r in rollouts), "rewards read what was led on"
    return [float(r.sample % 2) for r in rollouts]


def test_a_fit_charges_what_was_stated_behind_the_cue_and_tells_how_much(student: Path, tmp_path: Path) -> None:
    source = OnPolicy(
        PROMPTS, max_tokens=4, samples=2, reward=rated, marks=Onward(begin, by="after the mark"),
        edit=urged(lacking=lambda text: None if "?" in text else text, max_tokens=4),
    )  # fmt: skip
    window = source.open(opened_site(student, FitSettings(lr=1e-3, batch=3))).next()
    assert window is not None
    for row in window.rows:
        for mark, behaviour in zip(row.facts[STATED], row.facts["behaviour_log_probs"], strict=True):
            assert not mark or behaviour < 0, "no token of the cue is charged"
    settings = FitSettings(lr=1e-3, batch=3, steps=1)
    done = fit(model=student, source=source, objective=grpo(per="token").where(STATED), settings=settings, seed=0, out=tmp_path / "out")
    (told,) = done.told["rollouts"]
    shares = [sum(r.facts[STATED]) for r in window.rows]
    assert told[STATED] == pytest.approx(sum(shares) / sum(len(r.charged) for r in window.rows))
    assert 0 < told[STATED] < 1
    assert read_stated(FOLDS, f"=> 8{cue(FOLDS)} 3").confidence == 3
