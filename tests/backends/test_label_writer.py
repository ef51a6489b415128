import os
from collections import Counter

import pytest

from tutelage import backends
from tutelage.backends.label_writer import HELD_BACK, WRONG, read_request
from tutelage.capabilities import Sampling
from tutelage.generate.labelled import report_lines
from tutelage.measure import per_class
from tutelage.prompts.dialects import ENGLISH
from tutelage.prompts.tutoring import UNNAMED, Judged, parse_tutoring, render_tutoring
from tutelage.records import Prompt
from tutelage.seeds import stream
from tutelage.tasks import open_task
from tutelage.tasks.chains import world

LABELS = ("balance", "timer", "transfer")
MISSED = Judged(text="send money to bob", label="transfer", said="balance", sure=0.9)


def asked(**changes):
    given = {"description": "Name the intent: balance, timer, transfer.", "labels": LABELS, "count": 8}
    return render_tutoring(ENGLISH, **{**given, **changes})


def test_it_reads_what_the_prompt_tells():
    report = report_lines(per_class(["balance", "balance", "timer"], ["balance", "timer", "timer"], LABELS))
    mild = Judged(text="how long", label="timer", said="balance", sure=0.4)
    found = read_request(asked(report=report, wrong=[mild], surely_wrong=[MISSED]).text, LABELS)
    assert found is not None
    assert (found.count, found.listed) == (8, LABELS)
    assert found.weights == pytest.approx((1 - 0.67, 1 - 0.67, 1.0))
    assert found.missed == (("transfer", "send money to bob"), ("timer", "how long"))
    blind = read_request(asked().text, LABELS)
    assert blind is not None
    assert (blind.listed, blind.weights, blind.missed) == (LABELS, (1.0, 1.0, 1.0), ())


def test_without_a_list_it_knows_the_labels_of_the_examples_alone():
    found = read_request(asked(description=UNNAMED, labels=(), right=[MISSED], wrong=[MISSED]).text, LABELS)
    assert found is not None
    assert (found.listed, found.missed) == (("transfer",), (("transfer", "send money to bob"),))
    assert read_request("What is the capital of Peru?", LABELS) is None


needs_data = pytest.mark.skipif(
    not os.path.isfile(os.path.join(os.environ.get("TUTELAGE_DATA", ""), "clinc150", "data_full.json")),
    reason="TUTELAGE_DATA has no clinc150",
)


def written(prompt, seed=1, name="clinc150"):
    backend = backends.open_backend(backends.resolve(f"scripted:{name}"))
    [[reply]] = backend.generate([prompt], Sampling(max_tokens=4000, temperature=0.7, seed=seed))
    return parse_tutoring(reply.text)


@needs_data
def test_it_hands_out_real_requests_that_the_task_does_not_show_and_one_in_ten_is_wrong():
    task = open_task("clinc150", {"oos": "no", "held_back": HELD_BACK})
    shown = {p.text for p in (*task.seed, *task.train, *task.validation, *task.test)}
    whole = open_task("clinc150", {"oos": "no"})
    true = {p.text: p.answer for p in (*whole.seed, *whole.train)}
    assert 0.45 < len(task.train) / len(whole.train) < 0.55
    items = [
        item for seed in range(4)
        for item in written(render_tutoring(ENGLISH, description=task.description, labels=task.labels, count=100), seed=seed)
    ]  # fmt: skip
    assert len(items) == 400
    assert not {x.text for x in items} & shown
    wrong = sum(true[x.text] != x.label for x in items) / len(items)
    assert WRONG / 2 < wrong < 2 * WRONG
    assert len({x.label for x in items}) > 120, "blindly, over all labels"


@needs_data
def test_it_writes_to_the_report_and_near_the_errors():
    task = open_task("clinc150", {"oos": "no", "held_back": HELD_BACK})
    gold = [label for label in task.labels for _ in range(4)]
    weak = task.labels[:10]
    said = [task.labels[-1] if label in weak else label for label in gold]
    report = report_lines(per_class(gold, said, task.labels))
    given = {"description": task.description, "labels": task.labels, "count": 60}
    labels = Counter(x.label for x in written(render_tutoring(ENGLISH, **given, report=report)))
    assert sum(labels[label] for label in weak) > 40
    near = written(render_tutoring(ENGLISH, **given, surely_wrong=[MISSED]))
    assert Counter(x.label for x in near)["transfer"] > 20
    assert written(Prompt.user("Write a poem")) == []


def test_the_writer_of_chains_writes_in_the_way_that_is_missed():
    here = world(40)
    task = open_task("chains/40")
    text = here.draw("class_03", stream(0, "rare"), way=2)
    missed = Judged(text=text, label="class_03", said="class_09", sure=0.8)
    given = {"description": task.description, "labels": task.labels, "count": 80}
    items = written(render_tutoring(ENGLISH, **given, wrong=[missed]), name="chains-40")
    assert len(items) == 80
    mine = [x.text for x in items if x.label == "class_03"]
    assert len(mine) > 25
    assert sum(here.nearest("class_03", text) == 2 for text in mine) / len(mine) > 0.8
    shown = {p.text for p in (*task.seed, *task.train, *task.validation, *task.test)}
    assert not shown & {x.text for x in items}
