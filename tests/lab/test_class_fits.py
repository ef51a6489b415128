"""What recipes of classifiers need of a lab: early stopping, what a fit told of itself, the facts of a student under a class head."""

from dataclasses import replace

import orjson
import pytest

from checkpoints import tiny_encoder
from tutelage import backends
from tutelage.errors import DataError
from tutelage.experiments.plan import _PlanLab
from tutelage.experiments.training import train
from tutelage.journal.folder import ArmJournal
from tutelage.lab import Lab
from tutelage.objectives import classification
from tutelage.records import Problem
from tutelage.tasks import open_task
from tutelage.tasks.labels import MOST, label_examples, labels_of
from tutelage.train import FitSettings, Fixed, Gated, Gates, Watch

LABELS = ("no", "yes")
ROWS = label_examples([Problem(text=f"{'ja' if i % 2 else 'nee'} {i}", answer=LABELS[i % 2]) for i in range(16)], LABELS)
SETTINGS = FitSettings(lr=3e-3, batch=8, epochs=6, head="class", labels=LABELS)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tiny_encoder(tmp_path_factory.mktemp("m") / "encoder")
    ref = backends.resolve(f"hf:{folder}")
    return {"student": (ref, backends.facts(ref))}


def lab_of(kind, folder, models, **more):
    journal = ArmJournal(folder / "arm")
    journal.start()
    return kind(
        task=open_task("folds/msum"), models=models, open_role=lambda role, ref, facts: None, journal=journal, fits=folder / "fits",
        arm="main", seed=0, **more,
    )  # fmt: skip


def test_a_fit_tells_what_it_used_and_stops_early_where_it_is_watched(models, tmp_path):
    lab = lab_of(Lab, tmp_path, models, train=train)
    plain = lab.fit("student", lab.student, Fixed(ROWS), classification(), settings=SETTINGS, step="plain")
    assert lab.told(plain) == {}
    watch = Watch.on([replace(e, label=1 - (e.label or 0)) for e in ROWS], every=1, patience=2)
    watched = lab.fit("student", lab.student, Fixed(ROWS), classification(), settings=SETTINGS, watch=watch, step="plain")
    assert watched.id != plain.id
    steps = {folder.parent.name: orjson.loads(folder.read_bytes())["steps"] for folder in tmp_path.glob("fits/*/fit.json")}
    assert min(steps.values()) < max(steps.values()) == 12, "what it learns makes the watched loss rise"
    gated = lab.fit("student", lab.student, Gated(ROWS, [0.9] * 16, Gates()), classification(), settings=SETTINGS)
    told = lab.told(gated)
    assert sum(told["uses"].values()) == sum(told["sizes"]) > 0
    assert set(told["uses"]) <= {e.id for e in ROWS}


def test_a_rehearsal_knows_what_a_class_head_can_do(models, tmp_path):
    lab = lab_of(_PlanLab, tmp_path, models, counts={})
    student = lab.fit("student", lab.student, Fixed(ROWS), classification(), settings=SETTINGS, watch=Watch.on(ROWS, every=1, patience=1))
    assert student.facts.capabilities == {"classify", "embed", "train"}
    assert student.facts.labels == LABELS
    assert lab.told(student) == {}


def test_the_labels_of_a_task():
    assert labels_of(open_task("folds/msum")) == tuple("0123456789")
    closed = replace(open_task("folds/msum"), labels=("x", "y"))
    assert labels_of(closed) == ("x", "y")
    for answers in (["one"], [str(i) for i in range(MOST + 1)]):
        problems = tuple(Problem(text=f"q {i}", answer=a) for i, a in enumerate(answers))
        with pytest.raises(DataError, match="no closed list"):
            labels_of(replace(closed, labels=(), seed=problems, train=(), validation=()))
