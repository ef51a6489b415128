"""Rollouts mended at their worst token: the place and the word against a search by hand, what is kept, and who writes the rest."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from checkpoints import tiny_checkpoint
from tutelage.engine.decode import generate_ids, score_ids
from tutelage.errors import SettingsError
from tutelage.hashing import canonical
from tutelage.objectives import cross_entropy, dac_kl, span_correlation
from tutelage.select.phrases import phrases
from tutelage.train import IN_SPAN, FitSettings, Fixed, InSpans, Mixture, OnPolicy, Revised, Rollout, Teacher
from tutelage.train.feeds import Site
from tutelage.train.loop import fit
from tutelage.train.opening import open_frozen
from tutelage.train.revising import Reviser, SpanMarks
from windows import examples, opened_site, ref

PROMPTS = [e.prompt for e in examples()]
TOKENS = 12


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    place = tmp_path_factory.mktemp("models")
    return tiny_checkpoint(place / "student", spread=1.0), tiny_checkpoint(place / "teacher", seed=5, spread=1.0, hidden=48)


@pytest.fixture(scope="module")
def site(models: tuple[Path, Path]) -> Site:
    return opened_site(models[0], FitSettings(lr=1e-3, batch=4))


def drawn(site: Site) -> list[Rollout]:
    seen: list[Rollout] = []

    class Watching:
        def describe(self) -> str:
            return "watching"

        def __call__(self, rollouts: list[Rollout]) -> list[Rollout]:
            seen.extend(rollouts)
            return rollouts

    OnPolicy(PROMPTS, max_tokens=TOKENS, samples=2, edit=Watching()).open(site).next()  # pyright: ignore[reportArgumentType]
    return seen


def reviser(models: tuple[Path, Path], site: Site, **options: object) -> Reviser:
    how = Revised(ref(models[1]), max_tokens=TOKENS, **options)  # pyright: ignore[reportArgumentType]
    edit = how.open(site)
    assert isinstance(edit, Reviser)
    return edit


@torch.no_grad()
def by_hand(models: tuple[Path, Path], site: Site, rollout: Rollout) -> tuple[int, int] | None:
    """One token after another: the largest KL(p || q) among the places where the teacher would have said something else."""
    _, teacher, _ = open_frozen(models[1], site.settings, device=torch.device("cpu"))
    for network in (site.network, teacher):
        network.restore_attention()
    prompt, best = site.rendering.prompt_ids(rollout.prompt), None
    for i, token in enumerate(rollout.ids):
        ids = torch.tensor([[*prompt, *rollout.ids[:i]]])
        q, p = (n.module(ids).logits[0, -1, : site.network.tokenizer_ids].double().log_softmax(-1) for n in (site.network, teacher))
        kl, said = float((p.exp() * (p - q)).sum()), int(p.argmax())
        if said != token and (best is None or kl > best[0]):
            best = kl, i, said
    site.network.claim_attention()
    return best[1:] if best is not None else None


def test_the_error_is_where_a_search_by_hand_finds_it(models: tuple[Path, Path], site: Site) -> None:
    rollouts = drawn(site)
    found = reviser(models, site).corrections(rollouts)
    places = set()
    for rollout, correction in zip(rollouts, found, strict=True):
        wanted = by_hand(models, site, rollout)
        assert (correction is None) == (wanted is None)
        if correction is not None:
            assert (correction.place, correction.token) == wanted
            places.add(correction.place)
    assert len(places) > 2


def test_the_student_writes_on_from_the_correction(models: tuple[Path, Path], site: Site) -> None:
    rollouts, edit = drawn(site), reviser(models, site)
    corrections, revised = edit.corrections(rollouts), edit(rollouts)
    assert len(revised) == len(rollouts)
    longer = 0
    for old, correction, new in zip(rollouts, corrections, revised, strict=True):
        assert correction is not None
        assert new.ids[: correction.place] == old.ids[: correction.place]
        assert new.ids[correction.place] == correction.token != old.ids[correction.place]
        assert len(new.ids) == len(new.log_probs) <= TOKENS
        assert new.log_probs[correction.place] == 0.0
        assert new.text == site.rendering.text([i for i in new.ids if i not in site.rendering.stop_ids])
        head = [*site.rendering.prompt_ids(new.prompt), *new.ids[: correction.place + 1]]
        site.network.restore_attention()
        told = score_ids(site.network.module, [head], [new.ids[correction.place + 1 :]])[0]
        site.network.claim_attention()
        assert new.log_probs[correction.place + 1 :] == pytest.approx(told, abs=1e-4)
        longer += len(told) > 0
        if len(new.ids) < TOKENS:
            assert new.ids[-1] in site.rendering.stop_ids
    assert longer > 4
    assert edit(rollouts) == revised, "the same rollouts are mended in the same way"


def test_rollouts_that_begin_alike_go_on_apart(models: tuple[Path, Path], site: Site) -> None:
    first = drawn(site)[0]
    twins = [replace(first, sample=i) for i in range(6)]
    revised = reviser(models, site)(twins)
    assert len({r.ids for r in revised}) > 1


def test_nothing_is_mended_where_the_teacher_would_have_said_the_same(models: tuple[Path, Path], site: Site) -> None:
    _, teacher, _ = open_frozen(models[1], site.settings, device=torch.device("cpu"))
    teacher.restore_attention()
    prompt = site.rendering.prompt_ids(PROMPTS[0])
    ((text,),) = generate_ids(
        teacher.module, [prompt], max_tokens=8, stop_ids=site.rendering.stop_ids, logprobs=True, vocabulary=site.network.tokenizer_ids
    )
    told = Rollout(prompt=PROMPTS[0], place=0, number=0, sample=0, ids=text.ids, log_probs=text.logprobs or (), text="", finish=text.finish)
    edit = reviser(models, site)
    assert edit.corrections([told]) == [None]
    assert edit([told]) == [told]
    assert edit.corrections([]) == []


def test_random_places_and_drawn_words_are_what_they_say(models: tuple[Path, Path], site: Site) -> None:
    rollouts = drawn(site)
    worst, random, said = (reviser(models, site, **o).corrections(rollouts) for o in ({}, {"at": "random"}, {"say": "drawn"}))
    assert random == reviser(models, site, at="random").corrections(rollouts)
    assert [c.place for c in random if c] != [c.place for c in worst if c]
    assert all(c is not None and c.place < len(r.ids) for c, r in zip(random, rollouts, strict=True))
    assert [c.token for c in said if c] != [c.token for c in worst if c]
    once, twice = reviser(models, site)(rollouts), reviser(models, site, times=2)(rollouts)
    assert once != twice
    teacher = ref(models[1])
    ways = [Revised(teacher, max_tokens=8), Revised(teacher, max_tokens=8, at="random")]
    ways += [Revised(teacher, max_tokens=8, say="drawn"), Revised(teacher, max_tokens=8, times=2)]
    keys = {canonical(way.describe()) for way in ways}
    assert len(keys) == 4
    with pytest.raises(SettingsError, match="did you mean 'worst'"):
        Revised(ref(models[1]), max_tokens=8, at="wors")


def test_a_stop_text_ends_the_mended_text_too(models: tuple[Path, Path], site: Site) -> None:
    rollouts = drawn(site)
    free = reviser(models, site)(rollouts)
    corrections = reviser(models, site).corrections(rollouts)
    tail = next(r for r, c in zip(free, corrections, strict=True) if c and len(r.ids) > c.place + 3)
    place = next(c for r, c in zip(free, corrections, strict=True) if r is tail)
    assert place is not None
    letter = next((x for x in site.rendering.text(tail.ids[place.place + 2 : -1]) if x.isalnum() and x.isascii()), None)
    assert letter is not None
    stopped = reviser(models, site, stop=(letter,))(rollouts)
    assert all(letter not in r.text for r, c in zip(stopped, corrections, strict=True) if c)
    assert sum(len(r.ids) for r in stopped) < sum(len(r.ids) for r in free)


def test_a_mended_text_is_over_where_the_correction_ends_it(models: tuple[Path, Path], site: Site) -> None:
    rollouts = drawn(site)
    corrections = reviser(models, site).corrections(rollouts)
    said = [site.rendering.text([c.token]).strip() for c in corrections if c is not None]
    end = next(x for x in said if x)
    mend = reviser(models, site, stop=(end,))
    revised = [r for r, c in zip(mend([replace(r, finish="length") for r in rollouts]), corrections, strict=True) if c is not None]
    over = [r.ids[-1] in site.rendering.stop_ids or end in site.rendering.text(r.ids) for r in revised]
    assert [r.finish == "stop" for r in revised] == over
    assert any(over)
    ended = next(i for i, c in enumerate(corrections) if c is not None and site.rendering.text([c.token]).strip() == end)
    cut = mend([replace(rollouts[ended], finish="length")])[0]
    assert (cut.finish, cut.ids[-1]) == ("stop", corrections[ended].token)  # pyright: ignore[reportOptionalMemberAccess]


@pytest.mark.parametrize("family", ["llama", "gpt2", "qwen3"])
def test_marks_stand_on_tokens_whose_predecessor_is_in_the_same_phrase(family: str, tmp_path: Path) -> None:
    """Tokens are mapped to the text by what they decode to: pieces of words, leading spaces and the end of text all find their place."""
    site = opened_site(tiny_checkpoint(tmp_path / family, family), FitSettings(lr=1e-3))
    marks = SpanMarks(phrases, site.rendering)
    for text in ("the price of three lamps is 12", "Mon 8 8 ; Tue 3 1 => 1", "It is 42.", "No, he does not."):
        ids = site.rendering.completion_ids(text)
        found = marks.marks(ids)
        assert len(found) == len(ids)
        assert found[0] == 0.0
        spans, reached, owners = phrases(text), 0, []
        for i in ids:
            stripped = site.rendering.text([i]).strip()
            if not stripped or i in site.rendering.stop_ids:
                owners.append(None)
                continue
            at = text.index(stripped[0], reached)
            reached = at + len(stripped)
            owners.append(next((n for n, (a, b) in enumerate(spans) if a <= at < b), None))
        assert found == [0.0, *(float(a is not None and a == b) for a, b in pairwise(owners))]
        assert sum(found) > 0


def one_span(text: str) -> list[tuple[int, int]]:
    """Random models write no phrases, so all they write is one."""
    return [(0, len(text))]


def test_the_whole_objective_trains_on_references_and_mended_texts(models: tuple[Path, Path], tmp_path: Path) -> None:
    student, teacher = models
    own = OnPolicy(PROMPTS, max_tokens=10, edit=Revised(ref(teacher), max_tokens=10), marks=InSpans(one_span))
    objective = cross_entropy(over="given") + dac_kl(classes=8, width=4, over="own") + span_correlation(over="own")
    settings = FitSettings(lr=1e-3, batch=4, steps=3)
    source = Mixture((Fixed(examples(), role="given"), 0.5), (own, 0.5))
    done, again = (
        fit(model=student, source=source, objective=objective, targets=Teacher(ref(teacher)), settings=settings, seed=1, out=tmp_path / n)
        for n in ("a", "b")
    )
    assert (tmp_path / "a" / "model.safetensors").read_bytes() == (tmp_path / "b" / "model.safetensors").read_bytes()
    assert done.log == again.log
    for entry in done.log:
        assert all(entry["terms"][n] > 0 for n in ("cross_entropy", "dac_kl", "span_correlation")), entry
    assert IN_SPAN in objective.terms[2].where
