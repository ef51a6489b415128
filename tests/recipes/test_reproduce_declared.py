"""What the recipes of this package declare can be run, and what docs/claims.md says follows from the records."""

from dataclasses import replace
from functools import reduce
from pathlib import Path

import pytest

from tutelage.experiments.claims import claims_page, read_records
from tutelage.experiments.declaration import recipe_file, seal_of
from tutelage.recipes import load_recipe, recipe_names

DOCS = Path(__file__).parents[2] / "docs"
RECIPES = [r for r in map(load_recipe, recipe_names()) if r.experiments]


def test_there_are_declarations():
    assert {"arte", "sft", "verified-sampling"} <= {r.name for r in RECIPES}


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda r: r.name)
def test_a_declaration_names_arms_that_there_are_and_claims_in_sentences(recipe):
    assert seal_of(recipe_file(recipe).read_text(encoding="utf-8")) is not None
    for experiment in recipe.experiments.values():
        assert set(experiment.arms) <= set(recipe.arms)
        assert experiment.contrasts
        assert experiment.seeds >= 2
        for contrast in experiment.contrasts:
            assert contrast.claim.endswith("."), contrast.claim
            assert contrast.better != contrast.worse
            assert contrast.control is None or contrast.control not in (contrast.better, contrast.worse)


@pytest.mark.parametrize("recipe", [r for r in map(load_recipe, recipe_names()) if r.card.size], ids=lambda r: r.name)
def test_sizes_are_whole_numbers_in_every_preset(recipe):
    card = recipe.card
    defaults = recipe.settings()
    for name in (card.size, *card.size_along):
        for changes in ({}, recipe.laptop, recipe.toy):
            value = reduce(getattr, name.split("."), replace(defaults, **changes))
            assert isinstance(value, int)
            assert not isinstance(value, bool)
    assert 1 <= card.size_floor <= recipe.laptop.get(card.size, getattr(defaults, card.size))


def test_the_page_of_claims_is_what_the_records_say():
    page = DOCS / "claims.md"
    assert page.exists()
    assert page.read_text(encoding="utf-8") == claims_page(read_records(DOCS / "records")), "run `tutelage reproduce --write-claims`"
