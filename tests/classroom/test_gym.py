"""The classroom as Gymnasium sees it: its own checker, a policy of a user's, LLM2LLM as one of the policies."""

import ast
import importlib.util
import subprocess
import sys
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

import tutelage
from counting_student import SEED, classroom, engine
from tutelage.experiments.teaching import teaching_env
from tutelage.journal.folder import ArmJournal

gymnasium = pytest.importorskip("gymnasium")

EXAMPLE = Path(__file__).parents[2] / "examples" / "teaching_policy.py"
TOY = {"seeds": 4, "rows": 4, "validation": 4, "rounds": 2, "sft.epochs": 1}


def env(**options):
    from tutelage.classroom.gym import TeachingEnv

    return TeachingEnv(classroom(rounds_at_most=3), lambda: engine, seed=SEED, **options)


def test_gymnasiums_own_checker_passes_the_environment():
    from gymnasium.utils.env_checker import check_env

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # An int64 count has no upper bound that a policy could use, the environment is not made by name, and its text is no film.
        warnings.filterwarnings("ignore", message=".*(maximum|infinity|spec|render fps).*")
        check_env(env(render_mode="ansi"), skip_render_check=False)


def test_an_action_is_so_many_rows_like_each_seed_problem_and_the_reward_what_accuracy_gained():
    room = env()
    seen, info = room.reset()
    assert room.observation_space.contains(seen)
    assert seen["rows"].tolist() == [0, 0, 0]
    action = np.zeros(len(SEED), dtype=np.int64)
    action[[0, 1, 3]] = (1, 1, 3)  # two easy ones, three fair ones
    after, reward, done, spent, told = room.step(action)
    assert after["rows"].tolist() == [2, 3, 0]
    assert after["accuracy"].tolist() == [1.0, 0.5, 0.0]
    assert reward == pytest.approx(0.5) == told["seen"].accuracy - info["seen"].accuracy
    assert (done, spent, told["written"]) == (False, False, 5)


def test_an_action_that_asks_for_too_much_is_scaled_down_to_the_rows_of_a_step():
    room = env(most_rows=9)
    room.reset()
    orders = room.orders(np.full(len(SEED), 10))
    assert [o.wanted for o in orders] == [1] * 9
    assert room.orders(np.zeros(len(SEED), dtype=np.int64)) == []


def test_an_episode_is_truncated_after_its_rounds_and_terminated_when_nothing_is_wrong():
    room = env()
    room.reset()
    nothing = np.zeros(len(SEED), dtype=np.int64)
    assert [room.step(nothing)[2:4] for _ in range(3)] == [(False, False), (False, False), (False, True)]
    room.reset()
    everything = np.full(len(SEED), 10)
    room.step(everything)
    assert room.step(everything)[2] is True


def test_the_rendering_names_every_skill():
    room = env(render_mode="ansi")
    room.reset()
    assert room.render().splitlines()[0] == "round 0, accuracy 0.000, 0 rows"
    assert len(room.render().splitlines()) == 4
    assert env().render() is None


def test_without_the_package_the_error_names_the_extra():
    program = (
        "import sys; sys.modules['gymnasium'] = None\n"
        "import tutelage.classroom, tutelage.experiments.teaching, tutelage.recipes.dataenvgym\n"
        "from tutelage.errors import MissingExtra\n"
        "try:\n    import tutelage.classroom.gym\n"
        "except MissingExtra as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "gymnasium" in done.stdout
    assert "tutelage[gym]" in done.stdout


# -- on the bundled pair -------------------------------------------------------------------------------------------------------


def test_a_users_policy_of_twenty_lines_runs(tmp_path, capsys):
    spec = importlib.util.spec_from_file_location("teaching_policy", EXAMPLE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    source = EXAMPLE.read_text(encoding="utf-8")
    policy = next(node for node in ast.parse(source).body if isinstance(node, ast.ClassDef))
    assert policy.end_lineno - policy.lineno < 20
    small = {name: value for name, value in TOY.items() if name != "rounds"} | {"rows": 6, "seeds": 2}
    module.main(tmp_path, rounds=2, **small)
    printed = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in printed] == ["round 1", "round 2"]
    assert all("6 rows" in line for line in printed), "the ten that the policy asks for are scaled down to the rows of a step"


def test_the_same_actions_live_the_same_episode_without_asking_again(tmp_path):
    given = dict(task="folds/msum", teacher="bundled:teacher", student="bundled:student", settings=TOY)
    lived = []
    for _ in range(2):
        with teaching_env(**given, out=tmp_path / "run") as room:
            room.action_space.seed(7)
            episode = [room.reset()[0]]
            for _ in range(2):
                seen, reward, *_ = room.step(room.action_space.sample())
                episode += [seen, reward]
            lived.append(episode)
            again = room.reset()[0]
            assert all(np.array_equal(again[name], episode[0][name]) for name in again)
    for one, other in zip(*lived, strict=True):
        if isinstance(one, dict):
            assert all(np.array_equal(one[name], other[name]) for name in one)
        else:
            assert one == other


def test_llm2llm_is_a_policy_of_the_environment_and_writes_the_same_rows_as_the_recipe():
    given = dict(task="folds/msum", teacher="bundled:teacher", student="bundled:student", preset="toy", task_options={"test_size": 10})
    shared = {"seeds": 6, "validation": 4}
    recipe = tutelage.run("llm2llm", arms=["llm2llm"], settings=shared | {"rounds": 3, "per_round": 4}, **given)
    played = tutelage.run("dataenvgym", arms=["llm2llm"], settings=shared | {"rounds": 2, "rows": 4}, **given)
    ours, theirs = (
        ArmJournal(outcome.folder / "seeds" / "0" / "llm2llm").records(name) for outcome, name in ((recipe, "lookalikes"), (played, "rows"))
    )
    assert ours
    assert [x.id for x in ours] == [x.id for x in theirs]
    assert Counter(x.problem.skill for x in ours) == {"msum": len(ours)}
    assert [c.value for c in recipe.scorecards] == [c.value for c in played.scorecards]
