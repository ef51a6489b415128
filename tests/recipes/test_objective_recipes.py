"""What the arms of KDRL, semantic revision, ThinkTuning and SaySelf charge, held against the papers' lines."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from tutelage.capabilities import Completion, Sampling
from tutelage.experiments.request import parse_value, resolve_settings
from tutelage.prompts.dialects import ENGLISH
from tutelage.prompts.wording import Wording
from tutelage.recipes import kdrl, load_recipe, sayself, semantic_revision, thinktuning
from tutelage.recipes.kdrl import Settings, _objective
from tutelage.records import Problem, Solution
from tutelage.tasks.folds import verify
from tutelage.train import Lora


def kdrl_arm(name):
    return replace(Settings(), **kdrl.ARMS[name].changes)


def weights(settings, step):
    return {t.name: t.weight_at(step / settings.steps) for t in _objective(settings).terms}


def test_annealing_falls_by_the_papers_step_to_its_floor():
    s = kdrl_arm("annealed")
    for step in range(s.steps):
        assert weights(s, step)["sampled_kl_k2"] == pytest.approx(max(5e-3 - 5e-5 * step, 1e-3))
        assert weights(s, step)["grpo"] == 1.0


def test_the_hard_switch_never_charges_both():
    s = kdrl_arm("hard_switch")
    both = [weights(s, step) for step in range(s.steps)]
    assert all(w["grpo"] * w["sampled_kl_k2"] == 0 for w in both)
    assert sum(w["grpo"] for w in both) == s.steps / 2
    assert both[0]["sampled_kl_k2"] == s.beta == 2e-3


@pytest.mark.parametrize(
    ("arm", "terms", "marked"),
    [
        ("kdrl", ["grpo", "sampled_kl_k2"], ["", ""]),
        ("grpo", ["grpo"], [""]),
        ("kd_rkl", ["sampled_kl_k2"], [""]),
        ("k3", ["grpo", "sampled_kl_k3"], ["", ""]),
        ("top_k", ["grpo", "sparse_reverse_kl"], ["", ""]),
        ("exact", ["grpo", "reverse_kl"], ["", ""]),
        ("shaping", ["grpo"], [""]),
        ("masked", ["grpo", "sampled_kl_k2"], ["", "imitated"]),
        ("masked_groups", ["grpo", "sampled_kl_k2"], ["", "imitated"]),
        ("own_teacher", ["grpo", "sampled_kl_k2"], ["", ""]),
    ],
)
def test_arms_of_kdrl_charge_what_they_say(arm, terms, marked):
    objective = _objective(kdrl_arm(arm))
    assert [t.name for t in objective.terms] == terms
    assert [t.where for t in objective.terms] == marked
    assert all(t.unit == "token" and not t.over for t in objective.terms)
    assert all(t.weight == 2e-3 for t in objective.terms if t.name != "grpo")


@pytest.mark.parametrize(
    ("arm", "terms"),
    [
        ("semantic_revision", ["cross_entropy", "dac_kl", "span_correlation"]),
        ("on_policy", ["cross_entropy", "forward_kl"]),
        ("mended", ["cross_entropy", "forward_kl"]),
        ("random_place", ["cross_entropy", "forward_kl"]),
        ("dense", ["cross_entropy", "dac_kl"]),
        ("constant", ["cross_entropy", "clipped_kl"]),
        ("spans", ["cross_entropy", "forward_kl", "span_correlation"]),
        ("references", ["cross_entropy"]),
    ],
)
def test_arms_of_semantic_revision_charge_references_and_own_texts_apart(arm, terms):
    settings = replace(semantic_revision.Settings(), **semantic_revision.ARMS[arm].changes)
    objective = semantic_revision._objective(settings)
    assert [t.name for t in objective.terms] == terms
    assert [t.over for t in objective.terms] == ["given", *["own"] * (len(terms) - 1)]
    assert all(t.weight == 1.0 for t in objective.terms), "the paper adds its losses with unit weights"
    assert [t.where for t in objective.terms if t.name == "span_correlation"] in ([], ["in_span"])


@pytest.mark.parametrize(
    ("arm", "term", "options"),
    [
        ("grpo", "grpo", {"clip_low": 0.2, "clip_high": 0.2}),
        ("thinktuning", "guided_grpo", {"best": 0.001, "worst": -0.001, "reach": 4.0, "spare": 0.01}),
        ("constant", "guided_grpo", {"best": 0.1, "worst": 0.1}),
        ("degenerate", "guided_grpo", {"best": -0.001, "worst": -0.001}),
        ("no_exception", "guided_grpo", {"best": 0.001, "worst": -0.001, "spare": 0.0}),
    ],
)
def test_arms_of_thinktuning_shape_the_ratio_as_they_say(arm, term, options):
    (found,) = thinktuning._objective(replace(thinktuning.Settings(), **thinktuning.ARMS[arm].changes)).terms
    assert (found.name, found.unit, found.where, found.over) == (term, "token", "", "")
    assert options.items() <= dict(found.options).items()


@pytest.mark.parametrize(
    ("arm", "terms", "marked"),
    [("sayself", ["grpo"], ["stated"]), ("linear", ["grpo"], ["stated"]), ("unmasked", ["grpo"], [""])],
)
def test_sayself_charges_the_stated_number_alone(arm, terms, marked):
    settings = replace(sayself.Settings(), **sayself.ARMS[arm].changes)
    objective = sayself._objective(settings)
    assert ([t.name for t in objective.terms], [t.where for t in objective.terms]) == (terms, marked)
    held = sayself._objective(replace(settings, kl=0.1))
    assert [t.where for t in held.terms] == marked * 2, "the divergence is restricted likewise"


class Explainer:
    """A teacher that follows instructions and needs as many tries as the question says."""

    wording = SimpleNamespace(dialect=ENGLISH)

    def __init__(self):
        self.asked = []

    def generate(self, prompts, sampling):
        self.asked.append((len(prompts), sampling.temperature))
        usable = "<reflection>I am not sure of step 1.</reflection>"
        return [[Completion(text=usable if f"needs {len(self.asked)}" in p.text else "Most responses say 4.")] for p in prompts]


def test_a_reflection_that_cannot_be_used_is_asked_for_again():
    """Greedy first, then drawn; only what is missing is asked for; after the last try it is None."""
    teacher = Explainer()
    items = [([Solution(problem=Problem(text=f"needs {n}"), text="4", answer="4")], [[0]]) for n in (1, 3, 2, 9)]
    lab = SimpleNamespace(sampling=lambda name, **given: Sampling(**given, seed=1 if given["temperature"] else None))
    found = sayself._reflections(lab, sayself.Settings(), teacher, items)
    assert found == ["I am not sure of step 1."] * 3 + [None]
    assert teacher.asked == [(4, 0.0), (3, 1.0), (2, 1.0)]
    assert sayself._reflections(lab, replace(sayself.Settings(), reflect=False), teacher, items) == [""] * 4


def test_feedback_is_left_out_by_its_opinion_or_by_where_it_ends():
    """The opinion of the second is wrong (the response was right), and the third repairs a wrong response to another wrong answer."""
    replies = {
        "one": ("incorrect", "1"), "two": ("incorrect", "2"), "three": ("incorrect", "9"), "four": ("correct", "4"),
    }  # fmt: skip
    problems = [Problem(text=text, answer=str(i + 1)) for i, text in enumerate(replies)]
    responses = ["<ans>7</ans>", "<ans>2</ans>", "<ans>7</ans>", "<ans>4</ans>"]

    def generate(prompts, sampling):
        named = [p.text.rpartition("<question>\n")[2].partition("\n")[0] for p in prompts]
        form = "<opinion>{}</opinion><reason>Wait.</reason><phrase>So <ans>{}</ans></phrase>"
        return [[Completion(text=form.format(*replies[name]))] for name in named]

    wording = Wording(dialect=ENGLISH, description="Count.", answer_format="a number")
    teacher = SimpleNamespace(wording=wording, generate=generate, id="b2-t")
    lab = SimpleNamespace(
        sampling=lambda name, **given: Sampling(**given), note=lambda *told: None,
        task=SimpleNamespace(verify=verify, techniques=()),
    )  # fmt: skip

    def spliced(**changes):
        proceed = thinktuning._feedback(lab, replace(thinktuning.Settings(), **changes), teacher, problems)
        return [text is not None for text in proceed(list(enumerate(responses)))]

    assert spliced() == [True] * 4
    assert spliced(fair_only=True) == [True, False, True, True]
    assert spliced(right_only=True) == [True, True, False, True]
    assert spliced(fair_only=True, right_only=True) == [True, False, False, True]


def test_the_course_of_a_fit_is_told_in_numbers():
    notes = {}
    told = [
        {"reward": 0.5, "spliced": 0.25, "spliced_reward": 0.8, "foreign": 0.4, "surprise_nats": 1.0},
        {"reward": 0.5, "foreign": 0.0, "surprise_nats": 0.2},
    ]
    lab = SimpleNamespace(told=lambda model: {"rollouts": told}, note=notes.__setitem__)
    thinktuning._note_course(lab, None)
    assert notes == pytest.approx({"reward of spliced minus others": 0.4, "tokens spliced": 0.2, "surprise at the end": 0.2})
    notes.clear()
    thinktuning._note_course(SimpleNamespace(told=lambda model: {}, note=notes.__setitem__), None)
    assert notes == {}


class Asked(Exception):
    """Who is asked to write the questions."""


class Writer:
    def __init__(self, name):
        self.name = name

    @property
    def wording(self):
        raise Asked(self.name)


@pytest.mark.parametrize(
    ("recipe", "arms"),
    [(kdrl, ("kdrl", "grpo", "kd_rkl", "own_teacher", "sft")), (thinktuning, ("thinktuning", "grpo", "own_teacher", "rejection", "dealt"))],
)
def test_arms_that_are_compared_learn_from_questions_of_one_writer(recipe, arms):
    roles = {name: Writer(name) for name in ("teacher", "student")}
    lab = SimpleNamespace(**roles, roles=roles, task=SimpleNamespace(train=(), seed=(), name="", description=""))
    for arm in arms:
        with pytest.raises(Asked, match="teacher"):
            recipe.run(lab, replace(recipe.Settings(), **recipe.ARMS[arm].changes))
    alone = SimpleNamespace(student=roles["student"], roles={"student": roles["student"]}, task=lab.task)
    with pytest.raises(Asked, match="student"):
        recipe.run(alone, replace(recipe.Settings(), **recipe.ARMS["grpo"].changes))


def test_the_papers_adapter_of_sayself_can_be_set_as_its_card_says():
    named = next(d for d in sayself.CARD.deviations if "sft.lora=" in d)
    value = parse_value(named.partition("sft.lora=")[2].partition("'")[0])
    settings = resolve_settings(load_recipe("sayself"), "paper", {"sft.lora": value})
    assert settings.sft.lora == Lora(rank=64, alpha=16, dropout=0.1)
