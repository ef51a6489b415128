from collections import Counter

import pytest

from tutelage import backends, bundled
from tutelage.engine.digest import inspect_folder
from tutelage.engine.rendering import open_rendering
from tutelage.errors import SettingsError
from tutelage.records import Problem
from tutelage.seeds import stream
from tutelage.tasks import list_tasks, open_task
from tutelage.tasks.chains import CLASSES, LONGEST, OWN, SHORTEST, WORDS, world


def rows_of(task):
    return (*task.seed, *task.train, *task.validation, *task.test)


@pytest.mark.parametrize("classes", CLASSES)
def test_every_row_is_of_its_class_and_stands_in_one_split(classes):
    name = f"chains/{classes}"
    assert name in list_tasks()
    task = open_task(name, {"train_size": 600, "test_size": 200})
    assert len(task.labels) == classes
    assert task.chance == 1 / classes
    rows = rows_of(task)
    assert len({p.text for p in rows}) == len(rows) == 120 + 600 + 400 + 200
    for problem in rows:
        assert task.verify(problem, task.answer_only(problem.answer)).right
        assert SHORTEST <= len(problem.text.split()) <= LONGEST
    assert not task.verify(rows[0], "").parsed
    counts = Counter(p.answer for p in task.test)
    assert max(counts.values()) - min(counts.values()) <= 1
    assert open_task(name, {"train_size": 600, "test_size": 200}).test == task.test
    assert not {p.text for p in open_task(name, {"test_seed": 1}).test} & {p.text for p in rows}


def test_twins_share_words_and_what_follows_them_and_strangers_share_little():
    ways = {label: held[0] for label, held in world(12).ways.items()}
    twins = set(ways["class_00"].words) & set(ways["class_01"].words)
    assert len(twins) == 10
    same = sum(ways["class_00"].followers[w] == ways["class_01"].followers[w] for w in twins)
    assert same >= 3
    strangers = set(ways["class_00"].words) & set(ways["class_02"].words)
    assert len(strangers) < 8
    assert all(len(set(way.words)) == OWN for held in world(40).ways.values() for way in held)
    assert len(world(12, shared=12, noise=0.0).ways["class_01"][0].words) == OWN


def test_a_text_tells_in_which_way_it_was_written():
    here = world(12)
    rng = stream(0, "ways")
    right = [here.nearest("class_04", here.draw("class_04", rng, way=way)) == way for way in (0, 1, 2) for _ in range(40)]
    assert sum(right) / len(right) > 0.9


def test_the_bundled_pair_reads_every_word_as_one_token():
    rendering = open_rendering(inspect_folder(bundled.folder("student")))
    assert all(len(row) == 1 for row in rendering.text_ids(list(WORDS), None))
    assert len(set(WORDS)) == len(WORDS)
    assert backends.resolve("scripted:chains-40") != backends.resolve("scripted:chains-5")


def test_what_cannot_be_is_refused():
    with pytest.raises(SettingsError, match="chains/12"):
        open_task("chains/13")
    with pytest.raises(SettingsError, match="shared"):
        open_task("chains/12", {"shared": 13})
    assert not open_task("chains/12").verify(Problem(text="Mon", answer="class_00"), "class_01").right
