"""The bundled world as a scripted teacher: exact but for the faults that it declares."""

import pytest

from tutelage.backends import facts, open_backend, resolve
from tutelage.backends.folds_writer import FAULTS, WRONG
from tutelage.capabilities import Sampling
from tutelage.prompts.dialects import FOLDS
from tutelage.prompts.practice import parse_items, render_lookalikes
from tutelage.prompts.questions import parse_questions, render_questions
from tutelage.prompts.rewrite import parse_another, parse_rephrase, render_another, render_rephrase
from tutelage.prompts.solve import render_plain, render_technique
from tutelage.tasks import open_task
from tutelage.tasks.folds_world import parse_question, solve, style_of, trace_errors

NAMES = ["scripted:folds", "scripted:folds-weak"]
PROBLEMS = [*open_task("folds/*").seed, *open_task("folds/*").validation]
DRAWN = Sampling(max_tokens=200, temperature=1.0, seed=3)
ASKED = {"description": "", "answer_format": ""}


def replies(name, prompts, sampling=DRAWN):
    return [row[0].text for row in open_backend(resolve(name)).generate(prompts, sampling)]


def share(flags):
    flags = list(flags)
    return sum(flags) / len(flags)


@pytest.mark.parametrize("name", NAMES)
def test_it_is_found_by_name_and_speaks_the_bundled_wording(name):
    assert facts(resolve(name)).dialect == "folds"
    assert facts(resolve(name)).capabilities == {"generate"}


@pytest.mark.parametrize("name", NAMES)
def test_its_solutions_are_right_but_for_the_declared_share_and_a_slip_shows_in_the_steps(name):
    found = replies(name, [render_plain(FOLDS, **ASKED, question=p.text) for p in PROBLEMS])
    assert all(style_of(text) == "steps" for text in found)
    wrong = [bool(trace_errors(p.text, text)) for p, text in zip(PROBLEMS, found, strict=True)]
    assert share(wrong) == pytest.approx(WRONG, abs=0.05)
    assert any(wrong)


def test_a_named_style_is_obeyed():
    for style in ("terse", "posthoc", "steps"):
        prompts = [render_technique(FOLDS, **ASKED, question=p.text, technique=style, instruction="") for p in PROBLEMS[:20]]
        assert {style_of(text) for text in replies("scripted:folds", prompts)} == {style}


@pytest.mark.parametrize("name", NAMES)
def test_a_rephrased_question_has_other_days_and_the_same_values_but_for_the_declared_faults(name):
    texts = replies(name, [render_rephrase(FOLDS, task=p.skill, description="", question=p.text) for p in PROBLEMS])
    same = []
    for p, text in zip(PROBLEMS, texts, strict=True):
        before, after = parse_question(p.text), parse_question(parse_rephrase(FOLDS, text))
        assert after.days != before.days
        assert after.skill == before.skill
        same.append(after.values == before.values)
        if same[-1]:
            assert solve(after.text) == p.answer
    assert share(not s for s in same) == pytest.approx(FAULTS[name.removeprefix("scripted:")], abs=0.08)


@pytest.mark.parametrize("name", NAMES)
def test_an_invented_question_is_of_the_skill_but_for_the_declared_faults(name):
    texts = replies(name, [render_another(FOLDS, task=p.skill, description="", question=p.text) for p in PROBLEMS])
    invented = [parse_question(parse_another(FOLDS, text)) for text in texts]
    assert None not in invented
    off = [q.skill != p.skill for p, q in zip(PROBLEMS, invented, strict=True)]
    assert share(off) == pytest.approx(FAULTS[name.removeprefix("scripted:")], abs=0.08)


def test_it_writes_lists_of_questions_and_worked_items():
    seed = PROBLEMS[0]
    asked = render_questions(FOLDS, task=seed.skill, description="", seeds=[seed], count=5, first_id=1)
    assert len(parse_questions(FOLDS, replies("scripted:folds", [asked])[0])) == 5
    prompt = render_lookalikes(FOLDS, description="", answer_format="", question=seed.text, solution=seed.context["rationale"], count=1)
    items = parse_items(FOLDS, replies("scripted:folds", [prompt])[0])
    assert len(items) == 1
    assert solve(items[0].question) is not None


def test_the_same_request_gives_the_same_answer_and_another_sample_another():
    prompt = render_another(FOLDS, task="msum", description="", question=PROBLEMS[0].text)
    model = open_backend(resolve("scripted:folds"))
    one, two = (model.generate([prompt], Sampling(max_tokens=99, temperature=1.0, seed=1, n=3)) for _ in range(2))
    assert one == two
    assert len({c.text for c in one[0]}) > 1
    assert replies("scripted:folds", [prompt], Sampling(max_tokens=99)) == replies("scripted:folds", [prompt], Sampling(max_tokens=99))


def test_what_it_does_not_understand_it_leaves_unanswered():
    from tutelage.records import Prompt

    assert replies("scripted:folds", [Prompt.user("Tell me a story."), Prompt.user("Q : what ?\nA :")]) == ["", ""]
