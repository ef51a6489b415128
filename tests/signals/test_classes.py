import math

import pytest

from tutelage.capabilities import TokenScores
from tutelage.errors import DataError
from tutelage.records import Problem, Prompt
from tutelage.signals.classes import class_confidence, label_confidence, likeliest, nearness_confidence, uncertainty

PROBLEMS = [Problem(text=text) for text in ("one", "two", "three")]
LABELS = ("book a table", "pay")


class Classifier:
    def classify(self, texts):
        return [{"one": (0.9, 0.1), "two": (0.5, 0.5), "three": (0.0, 1.0)}[text] for text in texts]


class Scorer:
    """Every token costs 1 nat, but for the label it believes in."""

    def __init__(self):
        self.asked = []

    def score(self, prompts, completions):
        self.asked += [(p.text, c) for p, c in zip(prompts, completions, strict=True)]
        believed = {"one": "book a table", "two": "pay", "three": ""}
        return [
            TokenScores(logprobs=((-0.25 if believed[p.text.removeprefix("ask ")] == c else -1.0),) * len(c.split()))
            for p, c in zip(prompts, completions, strict=True)
        ]


def test_a_classifiers_confidence_and_entropy():
    sure = class_confidence(Classifier(), PROBLEMS, model_id="b2-m")
    assert [s.item for s in sure] == [p.id for p in PROBLEMS]
    assert [s.value for s in sure] == [0.9, 0.5, 1.0]
    assert sure[0].parts == (0.9, 0.1)
    assert sure[0].model == "b2-m"
    assert [likeliest(s, LABELS) for s in sure] == ["book a table", "book a table", "pay"]
    unsure = uncertainty(sure)
    assert [u.item for u in unsure] == [p.id for p in PROBLEMS]
    assert unsure[0].value == pytest.approx(-(0.9 * math.log(0.9) + 0.1 * math.log(0.1)) / math.log(2))
    assert [u.value for u in unsure][1:] == [pytest.approx(1.0), 0.0]


def test_a_language_models_confidence_is_normalised_over_the_labels_and_not_by_their_length():
    model = Scorer()
    sure = label_confidence(model, PROBLEMS, labels=LABELS, render=lambda p: Prompt.user(f"ask {p.text}"))
    assert len(model.asked) == 6
    assert model.asked[1] == ("ask one", "pay")
    share = 1 / (1 + math.exp(-0.75))
    assert sure[0].parts == pytest.approx((share, 1 - share))
    assert sure[1].parts == pytest.approx((1 - share, share))
    assert sure[2].parts == pytest.approx((0.5, 0.5))  # three tokens against one, each as unlikely
    assert [s.signal for s in sure] == ["label_confidence"] * 3


def test_confidence_needs_something_to_choose_from():
    with pytest.raises(DataError, match="two labels"):
        label_confidence(Scorer(), PROBLEMS, labels=("pay",), render=lambda p: Prompt.user(p.text))


def test_impossible_labels_leave_nothing_known():
    class Never:
        def score(self, prompts, completions):
            return [TokenScores(logprobs=(-math.inf,)) for _ in prompts]

    assert label_confidence(Never(), PROBLEMS[:1], labels=LABELS, render=lambda p: Prompt.user(p.text))[0].parts == (0.5, 0.5)


class Compass:
    """Vectors by the first word."""

    def embed(self, texts):
        return [{"north": (0.0, 2.0), "east": (3.0, 0.0), "both": (1.0, 1.0)}[text.split()[0]] for text in texts]


def test_nearness_to_the_means_of_known_texts():
    known = [Problem(text="north 1", answer="n"), Problem(text="east 1", answer="e"), Problem(text="east 2", answer="e")]
    asked = [Problem(text="north 5"), Problem(text="both 5"), Problem(text="east 5")]
    found = nearness_confidence(Compass(), asked, known=known, labels=("e", "n", "w"), sharpness=2.0, model_id="m")
    high = math.exp(2) / (math.exp(2) + 1)
    assert [f.value for f in found] == pytest.approx([high, 0.5, high])
    assert [likeliest(f, ("e", "n", "w")) for f in found] == ["n", "e", "e"]
    assert all(f.parts[2] == 0.0 for f in found), "nothing is known of this label"
    assert [f.item for f in found] == [p.id for p in asked]
    with pytest.raises(DataError, match="known problem"):
        nearness_confidence(Compass(), asked, known=[], labels=("e", "n"))
