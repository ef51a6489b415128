"""A small classifier taught by a larger one on real requests: CLINC150 and the encoder that `encoder:minilm` names.

    TUTELAGE_DATA=... python benchmarks/clinc_students.py --seeds 0 1 2 [--out FOLDER] [--texts 1800] [--test 4500]

Teacher, standing in for a language model behind an API: all six layers of the encoder, frozen, under a softmax regression on the labels of
all training requests. Student: its first two layers under a class head, trained whole. Arms, at equal steps and equal rows per step:

    gold    the 300 seed requests (two an intent) with their published labels
    taught  `--texts` further training requests, each labelled by the teacher; their published labels are not looked at

See docs/experiments/clinc-students.md, which was declared before the seeds of record.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from tutelage import backends
from tutelage.capabilities import Classifies, Embeds
from tutelage.engine.loading import no_bars
from tutelage.evaluate import evaluate_classifier
from tutelage.measure import bootstrap_mean, paired_t, per_class
from tutelage.objectives import classification
from tutelage.records import Problem, Scorecard
from tutelage.seeds import stream
from tutelage.signals.classes import class_confidence, likeliest
from tutelage.tasks import Task, open_task
from tutelage.tasks.labels import label_examples
from tutelage.train import FitSettings, Fixed
from tutelage.train.loop import fit

LAYERS = 2
BATCH = 64
STEPS = 240
LR = 1e-3


class Remembering:
    """A classifier that is asked about each text once."""

    def __init__(self, classifier: Classifies) -> None:
        self._classifier = classifier
        self._known: dict[str, tuple[float, ...]] = {}

    def classify(self, texts: Sequence[str]) -> list[tuple[float, ...]]:
        new = [text for text in dict.fromkeys(texts) if text not in self._known]
        self._known.update(zip(new, self._classifier.classify(new), strict=True))
        return [self._known[text] for text in texts]


class Teacher:
    """Softmax regression on frozen sentence vectors."""

    def __init__(self, encoder: Embeds, problems: Sequence[Problem], labels: Sequence[str]) -> None:
        self._encoder = encoder
        self._known: dict[str, tuple[float, ...]] = {}
        places = {label: i for i, label in enumerate(labels)}
        inputs = self._vectors([p.text for p in problems])
        wanted = torch.tensor([places[p.answer or ""] for p in problems])
        self._weights = torch.zeros(inputs.shape[1], len(labels), requires_grad=True)
        optimiser = torch.optim.LBFGS([self._weights], max_iter=60, line_search_fn="strong_wolfe")

        def loss() -> torch.Tensor:
            optimiser.zero_grad()
            value = torch.nn.functional.cross_entropy(inputs @ self._weights, wanted) + 1e-5 * self._weights.square().sum()
            value.backward()
            return value

        optimiser.step(loss)  # pyright: ignore[reportArgumentType]

    def classify(self, texts: Sequence[str]) -> list[tuple[float, ...]]:
        with torch.no_grad():
            return [tuple(row) for row in (self._vectors(texts) @ self._weights).softmax(-1).tolist()]

    def _vectors(self, texts: Sequence[str]) -> torch.Tensor:
        """Unit vectors times a fixed length, with a one for the bias."""
        new = [text for text in dict.fromkeys(texts) if text not in self._known]
        self._known.update(zip(new, self._encoder.embed(new), strict=True))
        rows = torch.tensor([self._known[text] for text in texts])
        return torch.cat([20 * torch.nn.functional.normalize(rows, dim=-1), torch.ones(len(rows), 1)], 1)


def first_layers(source: Path, layers: int, folder: Path) -> Path:
    """The encoder without its later layers, as a checkpoint of its own."""
    from transformers import AutoModel, AutoTokenizer

    with no_bars():
        model = AutoModel.from_pretrained(str(source), num_hidden_layers=layers, local_files_only=True)
        model.save_pretrained(str(folder))
    AutoTokenizer.from_pretrained(str(source), local_files_only=True).save_pretrained(str(folder))
    return folder


def taught_on(problems: Sequence[Problem], base: Path, task: Task, *, seed: int, lr: float, folder: Path) -> Remembering:
    """The student after `STEPS` windows of `BATCH` rows, whatever the number of problems."""
    examples = label_examples(problems, task.labels)
    settings = FitSettings(
        lr=lr, batch=BATCH, epochs=-(-STEPS * BATCH // len(examples)) + 1, steps=STEPS, head="class", labels=task.labels,
        schedule="linear", warmup=0.1,
    )  # fmt: skip
    fit(model=base, source=Fixed(examples), objective=classification(), settings=settings, seed=seed, out=folder)
    return Remembering(backends.open_backend(backends.resolve(f"hf:{folder}")))


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--seeds", type=int, nargs="+", required=True)
    options.add_argument("--texts", type=int, default=1800)
    options.add_argument("--on", choices=("test", "validation"), default="test", help="tuning scores on validation")
    options.add_argument("--lr", type=float, default=LR)
    options.add_argument("--out", type=Path)
    asked = options.parse_args()
    begun, used = time.perf_counter(), time.process_time()
    task = open_task("clinc150", {"oos": "no"})
    problems = task.test if asked.on == "test" else task.validation
    encoder_ref = backends.resolve("encoder:minilm")
    encoder = backends.open_backend(encoder_ref)
    teacher = Teacher(encoder, (*task.seed, *task.train), task.labels)

    def scored(model: Classifies, name: str, seed: int = 0) -> Scorecard:
        return evaluate_classifier(model, name=name, task=task, problems=problems, labels=task.labels, model_id=name, seed=seed, arm=name)

    cards = [scored(teacher, "teacher")]
    print(f"teacher: {told(cards[0])}; {time.process_time() - used:.0f} s of processor time", flush=True)
    differences: list[float] = []
    with tempfile.TemporaryDirectory() as held:
        base = first_layers(Path(str(encoder_ref.path)), LAYERS, Path(held) / "base")
        for seed in asked.seeds:
            started = time.process_time()
            texts = stream(seed, "texts").sample(task.train, asked.texts)
            sure = class_confidence(teacher, texts)
            labelled = [replace(p, answer=likeliest(s, task.labels)) for p, s in zip(texts, sure, strict=True)]
            right = sum(p.answer == q.answer for p, q in zip(texts, labelled, strict=True)) / len(texts)
            pair = []
            for arm, rows in (("gold", task.seed), ("taught", labelled)):
                model = taught_on(rows, base, task, seed=seed, lr=asked.lr, folder=Path(held) / f"{arm}-{seed}")
                pair.append(scored(model, arm, seed))
                print(f"seed {seed}, {arm}: {told(pair[-1])}", flush=True)
            gold = [p.answer or "" for p in problems]
            said = [likeliest(s, task.labels) for s in class_confidence(model, problems)]
            report = per_class(gold, said, task.labels)
            worst = sorted(report.classes, key=lambda c: (c.f1 or 0.0, c.label))[:3]
            print(
                f"seed {seed}: teacher's labels right on {right:.3f} of {len(texts)} texts; macro F1 of taught {report.macro_f1:.3f}, "
                f"worst {', '.join(f'{c.label} {c.f1 or 0:.2f}' for c in worst)}; {time.process_time() - started:.0f} s of processor time",
                flush=True,
            )
            differences.append(pair[1].value - pair[0].value)
            cards += pair
    if len(differences) > 1:
        gap = paired_t(differences)
        print(f"taught minus gold: {gap.value:+.3f} [{gap.low:+.3f}, {gap.high:+.3f}], paired t over {len(differences)} seeds")
    print(f"{time.perf_counter() - begun:.0f} s in all, {time.process_time() - used:.0f} s of processor time")
    if asked.out is not None:
        asked.out.mkdir(parents=True, exist_ok=True)
        rows = [{"arm": c.arm, "seed": c.seed, "value": c.value, "n": c.n, "fingerprint": c.fingerprint} for c in cards]
        (asked.out / "clinc-students.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def told(card: Scorecard) -> str:
    inside = bootstrap_mean(card.scores)
    return f"{card.value:.3f} [{inside.low:.3f}, {inside.high:.3f}] of {card.n}"


if __name__ == "__main__":
    main()
