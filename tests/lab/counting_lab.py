"""A lab around a task of counting, with models that answer it and a trainer that trains nothing."""

from dataclasses import replace

from tutelage.capabilities import Completion, ModelFacts, TokenScores
from tutelage.journal.folder import ArmJournal
from tutelage.lab import Lab
from tutelage.records import ModelRef, Problem, Verdict
from tutelage.tasks.task import Task

ABLE = frozenset({"generate", "score", "embed", "train"})
TEST = tuple(Problem(text=f"test {i} ?", answer=str(i), skill="s") for i in range(4))


def verify(problem, text):
    said = text.partition("=> ")[2]
    return Verdict(score=float(said == problem.answer), extracted=said or None, parsed=bool(said))


TASK = Task(
    name="counting",
    version="1",
    licence="Apache-2.0",
    chance=None,
    description="Count.",
    seed=tuple(Problem(text=f"seed {i} ?", answer=str(i), skill="s") for i in range(3)),
    validation=(),
    test=TEST,
    verify=verify,
    bare_answer="=> {answer}",
)


class Model:
    """Answers every test question with its number, and remembers what it was asked."""

    def __init__(self):
        self.asked = []

    def generate(self, prompts, sampling):
        self.asked.append(([p.text for p in prompts], sampling))
        return [[Completion(text=f"=> {p.text.rpartition(' ?')[0].split(' ')[-1]}")] * sampling.n for p in prompts]

    def score(self, prompts, completions):
        return [TokenScores(logprobs=(-0.5,)) for _ in completions]

    def embed(self, texts):
        return [(1.0, 0.0) for _ in texts]

    def classify(self, texts):
        return [(0.25, 0.75) for _ in texts]


class Trainer:
    """Trains nothing, but says what it was given; the digest of the result follows from its inputs."""

    def __init__(self):
        self.runs = []

    def __call__(self, *, model, source, objective, targets, settings, seed, out, progress):
        self.runs.append({"model": model, "seed": seed, "out": out, "records": source.records})
        progress(1, 1, 0.25)
        out.mkdir(parents=True)
        return {
            "digest": f"weights {len(self.runs)}",
            "examples": len(source.records),
            "log": [{"loss": 0.25}],
            "told": {"domains": {"drawn": {"a": 3}}},
            "secret": "not for the journal",
        }


REF = ModelRef(name="hf:/models/a", digest="b2-a", path="/models/a")
FACTS = ModelFacts(capabilities=ABLE, dialect="folds")


def lab(folder, *, task=TASK, models=None, arm="main", seed=0, train=None, **options):
    journal = ArmJournal(folder / "seeds" / str(seed) / arm)
    journal.start()
    opened = {}
    made = Lab(
        task=task,
        models={"teacher": (REF, FACTS), "student": (replace(REF, digest="b2-s"), FACTS)} if models is None else models,
        open_role=lambda role, ref, facts: opened.setdefault(role, Model()),
        journal=journal,
        fits=folder / "fits",
        arm=arm,
        seed=seed,
        train=train,
        **options,
    )
    return made, journal, opened
