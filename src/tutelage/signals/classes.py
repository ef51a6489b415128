"""What a model thinks of every class of a closed list, and how sure it is of one.

`class_confidence` asks a classifier, `label_confidence` any model that can score given texts (a language model as teacher),
`nearness_confidence` an encoder that is shown some labelled texts. They return one
Feedback per problem in order: `parts` are the probabilities in the order of the labels, `value` is the highest of them. `uncertainty`
turns any of them into the entropy.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence

from tutelage.capabilities import Classifies, Embeds, Scores
from tutelage.errors import DataError
from tutelage.records import Feedback, Origin, Problem, Prompt

Render = Callable[[Problem], Prompt]


def class_confidence(model: Classifies, problems: Sequence[Problem], *, model_id: str = "") -> list[Feedback]:
    """The class probabilities of a classifier, which reads the bare question."""
    return [
        _sure(p, shares, "class_confidence", model_id)
        for p, shares in zip(problems, model.classify([p.text for p in problems]), strict=True)
    ]


def label_confidence(
    model: Scores, problems: Sequence[Problem], *, labels: Sequence[str], render: Render, answer: str = "{label}", model_id: str = ""
) -> list[Feedback]:
    """Each label's log-probability per token as the completion of the rendered problem, normalised over the labels.

    Per token, so that a label of several words is not punished for its length (LLKD Sec. 3.1 normalises over the labels only). One scored
    label is one call. `answer` writes a label as the prompt asks for it; field: label.
    """
    if len(labels) < 2:
        raise DataError("confidence needs at least two labels", got=list(labels))
    prompts = [render(p) for p in problems]
    texts = [answer.format(label=label) for label in labels]
    scores = model.score([prompt for prompt in prompts for _ in texts], texts * len(prompts))
    rows = [[s.mean_nats for s in scores[i : i + len(labels)]] for i in range(0, len(scores), len(labels))]
    return [_sure(p, _softmax(row), "label_confidence", model_id) for p, row in zip(problems, rows, strict=True)]


def nearness_confidence(
    model: Embeds,
    problems: Sequence[Problem],
    *,
    known: Sequence[Problem],
    labels: Sequence[str],
    sharpness: float = 20.0,
    model_id: str = "",
) -> list[Feedback]:
    """The softmax of `sharpness` times the cosine to each label's mean vector over the `known` problems, whose answers are labels. A label
    without a known problem has probability 0."""
    vectors = [_unit(v) for v in model.embed([p.text for p in (*known, *problems)])]
    sums: dict[str, list[float]] = {}
    for problem, vector in zip(known, vectors, strict=False):
        held = sums.setdefault(problem.answer or "", [0.0] * len(vector))
        sums[problem.answer or ""] = [a + b for a, b in zip(held, vector, strict=True)]
    means = {label: _unit(sums[label]) for label in labels if label in sums}
    if not means:
        raise DataError("nearness needs a known problem of some label", got=f"{len(known)} known problems, {len(labels)} labels")
    found = []
    for problem, vector in zip(problems, vectors[len(known) :], strict=True):
        row = [sharpness * sum(map(operator.mul, vector, means[label])) if label in means else -math.inf for label in labels]
        found.append(_sure(problem, _softmax(row), "nearness_confidence", model_id))
    return found


def uncertainty(confidences: Sequence[Feedback]) -> list[Feedback]:
    """Entropy of each row's class probabilities over its largest possible value: 0 is sure, 1 knows nothing."""
    return [
        Feedback(
            item=c.item,
            signal="uncertainty",
            value=-math.fsum(p * math.log(p) for p in c.parts if p > 0) / math.log(len(c.parts)) if len(c.parts) > 1 else None,
            n=len(c.parts),
            model=c.model,
            origin=Origin(step="uncertainty", parents=(c.item,), model=c.model or None),
        )
        for c in confidences
    ]


def likeliest(confidence: Feedback, labels: Sequence[str]) -> str:
    """The label with the highest probability; of equals the first."""
    return labels[max(range(len(labels)), key=lambda i: confidence.parts[i])]


def _sure(problem: Problem, shares: Sequence[float], signal: str, model_id: str) -> Feedback:
    return Feedback(
        item=problem.id,
        signal=signal,
        value=max(shares),
        n=len(shares),
        parts=tuple(shares),
        model=model_id,
        origin=Origin(step=signal, parents=(problem.id,), model=model_id or None),
    )


def _unit(vector: Sequence[float]) -> list[float]:
    length = math.sqrt(math.fsum(x * x for x in vector))
    return [x / length for x in vector] if length > 0 else list(vector)


def _softmax(nats: Sequence[float]) -> list[float]:
    top = max(nats)
    if top == -math.inf:  # every label is impossible: nothing is known
        return [1 / len(nats)] * len(nats)
    raised = [math.exp(x - top) for x in nats]
    whole = math.fsum(raised)
    return [x / whole for x in raised]
