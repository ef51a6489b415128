"""Sizes that fit a budget, found by rehearsal; and the cap that keeps an arm within it whatever the plan said."""

from dataclasses import replace

import pytest

from tutelage.backends.scripted import Script, open_script, register
from tutelage.backends.wrappers import Cached
from tutelage.capabilities import Sampling
from tutelage.errors import BudgetExhausted, SettingsError
from tutelage.experiments.caps import capped
from tutelage.experiments.plan import rehearse
from tutelage.experiments.request import resolve_request
from tutelage.experiments.sizing import size_request, sizing_budget
from tutelage.journal.cache import CallCache
from tutelage.journal.ledger import Budget, Ledger
from tutelage.records import ModelRef, Prompt

PAIR = {"task": "folds/msum", "teacher": "bundled:teacher", "student": "bundled:student", "preset": "toy", "task_options": {"test_size": 4}}


def request(recipe="sft", arm=None, **more):
    return resolve_request(recipe, arms=(arm or recipe.replace("-", "_"),), **(PAIR | more))


@pytest.mark.parametrize(("recipe", "budget", "size"), [("sft", 20, 20), ("sft", 21, 21), ("verified-sampling", 42, 10)])
def test_the_largest_size_that_fits(recipe, budget, size):
    found = size_request(request(recipe), Budget(calls=budget))
    assert found.sizes == {"examples": size}
    assert found.fits
    assert not found.exhausted
    assert found.planned.calls[1] <= budget
    larger = size_request(request(recipe), Budget(calls=budget + (1 if recipe == "sft" else 4)))
    assert larger.sizes == {"examples": size + 1}


def test_a_reward_model_that_the_run_trains_itself_is_asked_for_nothing_in_money():
    found = size_request(request("critic-rm", arm="scalar"), Budget(calls=300))
    assert 0 < found.planned.calls[1] <= 300
    assert found.planned.usd == (0.0, 0.0, 0.0)


def test_what_grows_along_keeps_the_proportion_of_the_preset_and_its_floor():
    base = request("arte", preset="laptop")
    found = size_request(base, Budget(calls=120))
    assert found.sizes["drafts"] == max(2, round(base.settings.drafts * found.sizes["tailored"] / base.settings.tailored))
    assert found.planned.calls[1] <= 120
    pinned = size_request(request("arte", preset="laptop", overrides={"drafts": 5}), Budget(calls=120))
    assert list(pinned.sizes) == ["tailored"]
    assert pinned.request.settings.drafts == 5


def test_sizes_are_part_of_the_identity_and_of_what_a_worker_resolves():
    one, other = (size_request(request(), Budget(calls=n)).request for n in (10, 11))
    assert one.id != other.id
    assert one.settings.examples == 10
    again = resolve_request(one.asked["recipe"], **{k: v for k, v in one.asked.items() if k != "recipe"})
    assert again.id == one.id


def test_a_task_that_has_no_more_to_ask_about_ends_the_search():
    found = size_request(request(), Budget(calls=100_000))
    assert found.exhausted
    assert found.sizes == {"examples": 120}  # the training problems of one skill
    assert found.planned.calls == (120, 120, 120)


@pytest.mark.parametrize(("recipe", "arm"), [("sayself", "sayself"), ("preference-attributes", "tree")])
def test_what_these_models_are_not_asked_is_not_planned_and_keeps_the_presets_size(recipe, arm):
    base = request(recipe, arm=arm)
    found = size_request(base, Budget(calls=1500))
    assert found.planned.calls == (0, 0, 0)
    assert found.sizes == {base.recipe.card.size: base.recipe.toy[base.recipe.card.size]}
    assert found.fits
    assert found.exhausted
    size = base.recipe.card.size
    pinned = size_request(request(recipe, arm=arm, overrides={size: 9}), Budget(calls=1500))
    assert pinned.sizes == {size: 9}


@pytest.mark.parametrize(("recipe", "arm"), [("sayself", "sayself"), ("critic-rm", "critic_rm")])
def test_a_teacher_that_follows_instructions_is_planned_for_what_it_is_asked_in_them(recipe, arm):
    own = request(recipe, arm=arm)
    ref, facts = own.models["teacher"]
    told = replace(own, models={**own.models, "teacher": (ref, replace(facts, dialect="english"))})
    kinds = [rehearse(r, arm, good=1.0).roles for r in (own, told)]
    calls = [found["teacher"].calls for found in kinds]
    assert calls[0] < calls[1]


def test_a_size_that_was_to_be_made_smaller_does_not_mean_that_the_task_has_no_more():
    found = size_request(request("verified-sampling", preset="laptop"), Budget(calls=1500), largest=7)
    assert found.sizes == {"examples": 7}
    assert not found.exhausted


def test_two_near_sizes_that_ask_the_same_are_not_the_end_of_the_task():
    base = request("thinktuning", preset="laptop")  # 99 and 100 steps ask the same
    found = size_request(base, Budget(calls=320))
    assert found.planned.calls[1] == 320
    assert not found.exhausted
    assert size_request(base, Budget(calls=340)).planned.calls[1] > 320


def test_fixed_costs_that_do_not_fit_are_told():
    found = size_request(request("verified-sampling"), Budget(calls=7))
    assert not found.fits
    assert found.sizes == {"examples": 2}
    assert found.planned.calls[1] == 8


def test_an_arm_that_asks_no_teacher_has_nothing_to_size():
    for recipe, arm in (("untouched", "untouched"), ("sft", "untouched")):
        found = size_request(request(recipe, arm), Budget(calls=1))
        assert found.sizes == {}
        assert found.fits
        assert found.planned.calls == (0, 0, 0)


def test_tokens_and_dollars_are_budgets_too():
    found = size_request(request(), sizing_budget("tokens=3000"))
    assert 0 < found.planned.tokens[1] <= 3000
    smaller = size_request(request(), Budget(tokens=int(found.planned.tokens[1]) - 1))
    assert smaller.sizes["examples"] == found.sizes["examples"] - 1
    both = size_request(request(), sizing_budget("calls=5,tokens=1M"))
    assert both.sizes == {"examples": 5}
    unpriced = request(teacher="openai:some-model-without-a-price@http://example.invalid/v1")
    with pytest.raises(SettingsError, match="price of a teacher's model is not known"):
        size_request(unpriced, sizing_budget("usd=1"))


def test_a_budget_in_money_is_refused_where_nothing_costs_any():
    """Else every size would fit it, and the leaderboard would say that a teacher who answered thousands of calls was asked nothing."""
    with pytest.raises(SettingsError, match=r"bounds nothing where the models that are asked cost no money(.|\n)*calls or tokens"):
        size_request(request(), sizing_budget("usd=1"))
    bounded = size_request(request(), sizing_budget("calls=5,usd=1"))
    assert bounded.sizes == {"examples": 5}


def test_recipes_that_cannot_be_sized_are_refused():
    unsized = request()
    unsized = replace(unsized, recipe=replace(unsized.recipe, card=replace(unsized.recipe.card, size="")))
    with pytest.raises(SettingsError, match="names no setting to size it by"):
        size_request(unsized, Budget(calls=9))
    odd = request()
    odd = replace(odd, recipe=replace(odd.recipe, card=replace(odd.recipe.card, size="shots")))
    with pytest.raises(SettingsError, match="whole-number setting"):
        size_request(odd, Budget(calls=9))
    with pytest.raises(SettingsError, match="is what the budget decides"):
        size_request(request(overrides={"examples": 3}), Budget(calls=9))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "needs a budget"),
        ("1500", "has no value"),
        ("minutes=5", "by minutes"),
        ("calls=0", "budget of nothing"),
        ("call=5", "unknown"),
    ],
)
def test_budgets_that_size_nothing_are_refused(text, said):
    with pytest.raises(SettingsError, match=said):
        sizing_budget(text)


# -- the cap -------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def teacher(tmp_path):
    """A capped teacher that answers with seven words, its tally, and its ledger."""
    script = register(Script(name="seven words", answer=lambda prompt, index, seed: "one two three four five six seven"))
    with CallCache(tmp_path / "cache.sqlite") as cache, Ledger(None) as ledger:

        def made(cap, role="teacher"):
            ref = ModelRef(name="scripted:seven words", digest="x")
            model = Cached(lambda: open_script(script), ref, cache=cache, ledger=ledger, role=role, arm="a")
            return capped(model, cap=cap, ledger=ledger, role=role, arm="a")

        yield made, script, ledger


def prompts(count, start=0):
    return [Prompt.user(f"question {i}") for i in range(start, start + count)]


def test_calls_are_capped_exactly_and_what_cannot_be_finished_is_not_begun(teacher):
    made, script, ledger = teacher
    model = made(Budget(calls=10))
    model.generate(prompts(4), Sampling(max_tokens=8, temperature=1.0, n=2, seed=1))
    with pytest.raises(BudgetExhausted, match="does not suffice"):
        model.generate(prompts(3, start=50), Sampling(max_tokens=8))
    assert script.calls["generate"] == 8 == ledger.logical(role="teacher", arm="a").calls
    model.generate(prompts(2, start=50), Sampling(max_tokens=8))
    assert script.calls["generate"] == 10


def test_answers_from_the_cache_count_in_full(teacher):
    made, script, _ = teacher
    model = made(Budget(calls=10))
    for _ in range(2):
        model.generate(prompts(5), Sampling(max_tokens=8))
    assert script.calls["generate"] == 5
    with pytest.raises(BudgetExhausted):
        model.generate(prompts(1), Sampling(max_tokens=8))


def test_tokens_are_never_exceeded_although_their_worst_case_is(teacher):
    made, _, ledger = teacher
    model = made(Budget(tokens=1_000))
    with pytest.raises(BudgetExhausted):
        model.generate(prompts(500), Sampling(max_tokens=8))
    used = ledger.logical(role="teacher", arm="a")
    one = used.tokens / used.calls
    assert used.tokens <= 1_000
    assert used.tokens > 1_000 - 12 * one, "what was reserved at its worst and not used is asked for again"


def test_a_role_that_no_budget_counts_is_not_capped(teacher):
    made, script, _ = teacher
    made(Budget(calls=1), role="student").generate(prompts(5), Sampling(max_tokens=8))
    assert script.calls["generate"] == 5
