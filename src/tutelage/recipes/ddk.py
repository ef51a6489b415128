"""DDK: while a student is distilled, the mix of domains follows how far its perplexity lags the teacher's in each.

Liu, Zhang, Guo, et al. 2024, "DDK: Distilling Domain Knowledge for Efficient Large Language Models", NeurIPS, arXiv 2407.16154.

 1. l_T[i] = exp(mean token cross-entropy of the teacher on held-out texts of domain i): fixed, computed once.
 2. l_S[i] likewise for the student; r_0[i] = exp(l_S[i] / l_T[i]) / sum_j exp(l_S[j] / l_T[j]) (Eq. 1).
 3. D_0, the data of the first interval, is drawn from the corpus at random.
 4. Train the student for K steps with L = CE(student, y) + gamma KL(softmax(z_T / T) || softmax(z_S / T)) on D_t.
 5. Measure l_S anew: psi[i] = r_t[i] exp(l_S[i] / l_T[i]), r_{t+1}[i] = alpha psi[i] / sum_j psi[j] + (1 - alpha) / N (Eq. 2).
 6. D_{t+1}: for each sample a domain by r_{t+1}, then the next unread text of it, from the beginning again where all are read.
 7. Go to 4 until the preset number of steps is done.

Domains are the skills of the task. Its texts are the training questions with the teacher's solutions under the task's first technique,
the held-out ones those of validation problems. The teacher reads them under the prompt that it wrote them under, the student under the
plain one. Every arm is measured as often as DDK and differs by the rule alone; draws come from the same random numbers.

Noted for each arm: the ratios l_S / l_T of the student that is tested (`worst ratio`), the accuracy of its worst skill (`worst skill`), how
far r moves from interval to interval (`movement`), tokens and epochs by domain. r_t and the losses are in the record of the fit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from tutelage import steps
from tutelage.card import Arm, Card, Claim, Contrast, Experiment
from tutelage.lab import Lab, Role
from tutelage.measure import mean_nats
from tutelage.objectives import Objective, cross_entropy, forward_kl, match_hidden_mse, reverse_kl
from tutelage.records import Example, Origin, Problem, Prompt, Solution
from tutelage.select.domain_weights import (
    Constant,
    ExcessLoss,
    PerplexityRatio,
    Reweighing,
    mean_weights,
    movement,
    perplexity_ratios,
)
from tutelage.tasks.task import by_skill
from tutelage.train import Domains, FitSettings, Instead, Teacher

CARD = Card(
    title="DDK: the domain mix follows the student's lag",
    claim="Drawing more from domains in which the student's perplexity lags the teacher's distils more than drawing equally.",
    source="Liu et al. 2024, arXiv 2407.16154",
    family="data selection",
    kind="system",
    # The teacher's whole distribution is needed, so its weights must be here: `train` stands for that.
    needs={"teacher": ("generate", "score", "train"), "student": ("generate", "score", "train")},
    steps=("questions", "texts", "held_out", "examples"),
    size="examples",
    size_floor=6,
    size_along={"validation": 2, "training.steps": 6},
    version=2,
    arm="ddk",
    baseline="kd",
    control="shuffled",
    claims=(
        Claim(what="mean of eleven benchmarks, Qwen-1.5 14B to 1.8B, against distillation on the natural mix",
              published="55.41 against 52.87 (+2.54 points)", where="Table 1"),
        Claim(what="the same against continued pre-training", published="55.41 against 50.48 (+4.93 points)", where="Table 1",
              arms=("ddk", "cpt")),
        Claim(what="mean of three, DDK against equal sampling", published="57.46 against 55.01 (+2.45 points)", where="ablations",
              arms=("ddk", "kd")),
        Claim(what="mean of three, with against without smoothing of the factor", published="57.46 against 56.56 (+0.90 points)",
              where="ablations", arms=("ddk", "no_smoothing")),
    ),
    deviations=(
        "The paper does not say in which direction its divergence goes: teacher to student, since it calls MiniLLM's the reverse.",
        "The sum of its third equation runs over validation texts, a slip: nothing is trained on them.",
        "Texts are short solutions behind prompts, and only the solutions are charged and measured.",
        "The cosine falls to 0, not to a tenth; optimiser, batch and length are not reported.",
        "No threshold ends training (its value is not reported): all arms take equally many steps.",
        "Of TED only the match of the last layer is an arm: filters of every layer would need a training of their own.",
        "DoReMi's proxy is the student itself; its excess losses are measured on held-out texts, not on the batch.",
        "Texts and held-out texts are the teacher's own likeliest solutions: its perplexity on them is near 1, so that the ratio is nearly "
        "the student's perplexity, and what the ratio has over the raw loss (domains hard for the teacher too) cannot show.",
        "Distillation on the natural mix (52.87 in Table 1) is not an arm: kd draws equally, as the ablations do.",
        "The laptop preset caps ratios at 5 before the exponential.",
    ),
    demo_arms=("untouched", "cpt", "kd", "ddk", "shuffled"),
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    examples: int = 10000
    """Texts per domain; ours (the paper has 15 billion tokens in ten domains)."""
    validation: int = 500
    """Held-out texts per domain (Sec. 4.1)."""
    interval: int = 1000
    """K, steps between measurements (Sec. 4.1, Table 6)."""
    alpha: float = 0.5
    """What is left to the lag; the rest is dealt out equally (Sec. 3.3). 1 smooths nothing."""
    cap: float | None = None
    """Largest ratio that is told apart; not in the paper."""
    gamma: float = 0.2
    """Weight of the divergence (Table 3)."""
    temperature: float = 1.0
    """T of both distributions (Table 4)."""
    training: FitSettings = FitSettings(  # noqa: RUF009
        lr=3e-5, batch=256, steps=30_000, schedule="cosine", warmup=1 / 30, betas=(0.9, 0.95), weight_decay=0.1, precision="bf16"
    )
    """Sec. 4.1; optimiser and batch are not reported, ours."""
    question_temperature: float = 1.0
    """Where questions are drafted; ours, as in ARTE."""
    question_tokens: int = 1024
    """Longest reply to a question prompt; ours."""
    rationale_tokens: int = 512
    """Longest text; ours."""
    shots: tuple[int, ...] = (0, 3)
    """Numbers of demonstrations in evaluation; zero for most of the paper's benchmarks."""

    mixture: Literal["lag", "equal", "natural", "doremi"] = "lag"
    """By the student's lag, equal shares, as the corpus is, or by DoReMi's proxy."""
    loss: Literal["kd", "reverse", "last_layer", "plain"] = "kd"
    """Cross-entropy with forward KL, with reverse KL, with forward KL and the teacher's last layer, or alone."""
    first: Literal["random", "measured"] = "random"
    """D_0: from the corpus at random (Algorithm 1), or by r_0."""
    shuffle: bool = False
    """Control: what was measured is dealt out among the domains anew each time."""
    teach: bool = True
    """False leaves the student untouched."""


LAPTOP: dict[str, Any] = dict(
    examples=90, validation=20, interval=5, cap=5.0, training=FitSettings(lr=4e-3, batch=8, steps=120, schedule="linear", warmup=0.03),
    question_tokens=160, rationale_tokens=48, shots=(0, 1),
)  # fmt: skip
"""Training as in the other recipes, but shorter: with six epochs all domains are learned under any mix; see docs/log.md."""

TOY: dict[str, Any] = LAPTOP | dict(examples=4, validation=2, interval=1, training=FitSettings(lr=4e-3, batch=4, steps=2), shots=(0,))

ARMS: dict[str, Arm] = {
    "untouched": Arm(summary="the student as it is", changes={"teach": False}, needs={"student": ("generate",)}),
    "cpt": Arm(summary="continued training on the corpus as it is, no teacher's distribution",
               changes={"mixture": "natural", "loss": "plain"}),
    "cpt_doremi": Arm(summary="continued training under DoReMi's weights", changes={"mixture": "doremi", "loss": "plain"}),
    "kd": Arm(summary="distillation, every domain drawn equally", changes={"mixture": "equal"}),
    "reverse_kl": Arm(summary="the same under the reverse divergence (MiniLLM)", changes={"mixture": "equal", "loss": "reverse"}),
    "last_layer": Arm(summary="the same with the teacher's last layer (of TED)", changes={"mixture": "equal", "loss": "last_layer"}),
    "ddk": Arm(summary="distillation, domains drawn by the student's lag"),
    "no_smoothing": Arm(summary="the lag alone, without equal shares", changes={"alpha": 1.0}),
    "less_smoothing": Arm(summary="the same with a fifth of equal shares instead of half", changes={"alpha": 0.8}),
    "measured_first": Arm(summary="the first interval by the lag too", changes={"first": "measured"}),
    "shuffled": Arm(summary="control: the lags dealt out among the domains", changes={"shuffle": True}, control=True),
}  # fmt: skip

REPRODUCE = Experiment(
    task="folds/*",
    settings={"shots": [0]},
    task_options={"test_seed": 14, "test_size": 150},
    tune_options={"test_seed": 0},
    teacher="bundled:teacher",
    student="bundled:student",
    contrasts=(
        Contrast(claim="Domains drawn by the student's lag teach more than domains drawn equally.", better="ddk", worse="kd",
                 control="shuffled", published="57.46 against 55.01 (ablations), 55.41 against 52.87 (Table 1)"),
        Contrast(claim="They leave a smaller ratio of perplexities in the domain where it is largest.", better="ddk", worse="kd",
                 metric="note:worst ratio", lower=True, control="shuffled"),
        Contrast(claim="Smoothing keeps the mix steadier than the lag alone.", better="ddk", worse="no_smoothing",
                 metric="note:movement", lower=True),
        Contrast(claim="With a fifth of equal shares instead of half, the lag teaches more than domains drawn equally.",
                 better="less_smoothing", worse="kd", control="shuffled"),
        Contrast(claim="Smoothing teaches more than the lag alone.", better="ddk", worse="no_smoothing", rule=False,
                 published="57.46 against 56.56 (ablations)"),
        Contrast(claim="Distillation teaches more than continued training.", better="kd", worse="cpt", rule=False,
                 published="52.87 against 50.48 (Table 1)"),
    ),
    also=("untouched",),
    shrunk="Four skills of the bundled world as domains instead of five made for it; 120 steps and measurements every 5 instead of "
    "600 and 50; one student, unequal by its own upbringing, instead of one made unequal.",
    full="tutelage run ddk --task folds/* --teacher bundled:teacher --student bundled:student --arm all --set training.steps=600 "
    "--set interval=50 --seeds 5",
)  # fmt: skip


Scores = Mapping[str, Sequence[Sequence[float]]]
"""Log-probabilities of the tokens of every held-out text, by domain."""


def run(lab: Lab, s: Settings) -> Role:
    student = lab.student

    if s.teach:
        teacher, technique = lab.teacher, steps.techniques(lab, 1)[0]
        asked = teacher.wording.technique(technique.name, technique.instruction)
        questions = steps.training_questions(
            lab, teacher, "questions", wanted=s.examples, temperature=s.question_temperature, max_tokens=s.question_tokens
        )
        validation = [p for mine in by_skill(lab.task.validation).values() for p in mine[: s.validation]]
        texts, held_out = (
            steps.draft_solutions(lab, teacher, problems, techniques=[technique], temperature=0.0, max_tokens=s.rationale_tokens, name=name)
            for name, problems in (("texts", questions), ("held_out", validation))
        )
        corpus = {domain: _examples(student, mine) for domain, mine in _by_domain(texts).items()}
        lab.keep("examples", [x for mine in corpus.values() for x in mine])
        held = {domain: mine for domain, mine in _by_domain(held_out).items() if domain in corpus}
        probes = {domain: _examples(student, mine) for domain, mine in held.items()}

        known = _scores(teacher, held, asked)
        floor = _losses(known)
        _note_lag(lab, "ratios before", _same_tokens(lab, _scores(student, held, student.wording.plain), known), floor)

        targets = Teacher(teacher, asked=Instead((student.wording.plain(p), asked(p)) for p in (*questions, *validation)))

        def taught(rule: Reweighing, *, floor: Mapping[str, float] = floor, first: Mapping[str, float] | None = None) -> Role:
            source = Domains(corpus, every=s.interval, probes=probes, floor=floor, rule=rule, first=first, dealt=s.shuffle)
            return lab.fit(
                "student", lab.student, source, _objective(s), targets=None if s.loss == "plain" else targets, settings=s.training,
                step="teach",
            )  # fmt: skip

        sizes = {domain: float(len(mine)) for domain, mine in corpus.items()}
        if s.mixture == "lag":
            student = taught(PerplexityRatio(alpha=s.alpha, cap=s.cap), first=sizes if s.first == "random" else None)
        elif s.mixture == "doremi":
            reference = taught(Constant())
            proxy = taught(ExcessLoss(rate=1.0, smoothing=1e-3), floor=_losses(_scores(reference, held, reference.wording.plain)))
            student = taught(Constant(shares=mean_weights(_weights(lab, proxy)) or None))
        else:
            student = taught(Constant(shares=sizes if s.mixture == "natural" else None))

        ratios = _note_lag(lab, "ratios after", _scores(student, held, student.wording.plain), floor)
        lab.note("worst ratio", max(ratios.values()))
        lab.note("movement", movement(_weights(lab, student)))
        drawn = lab.told(student).get("domains", {})
        lab.note("tokens by domain", drawn.get("tokens", {}))
        lab.note("epochs by domain", {domain: n / sizes[domain] for domain, n in drawn.get("drawn", {}).items()})

    cards = lab.evaluate("student", student, shots=s.shots, max_tokens=s.rationale_tokens)
    lab.note("worst skill", min(cards[0].by_skill.values()))
    return student


def _objective(s: Settings) -> Objective:
    """Step 4."""
    if s.loss == "plain":
        return cross_entropy()
    divergence = reverse_kl(temperature=s.temperature) if s.loss == "reverse" else forward_kl(temperature=s.temperature)
    both = cross_entropy() + s.gamma * divergence
    return both + s.gamma * match_hidden_mse() if s.loss == "last_layer" else both


def _by_domain(texts: Sequence[Solution]) -> dict[str, list[Solution]]:
    found: dict[str, list[Solution]] = {}
    for x in texts:
        found.setdefault(x.problem.skill, []).append(x)
    return found


def _examples(student: Role, texts: Sequence[Solution]) -> list[Example]:
    return [
        Example(
            prompt=student.wording.plain(x.problem), completion=x.text, context={"skill": x.problem.skill},
            origin=Origin(step="examples", parents=(x.id,), model=None if x.origin is None else x.origin.model),
        )
        for x in texts
    ]  # fmt: skip


def _scores(model: Role, held: Mapping[str, Sequence[Solution]], ask: Callable[[Problem], Prompt]) -> Scores:
    found = {domain: model.score([ask(x.problem) for x in mine], [x.text for x in mine]) for domain, mine in held.items()}
    return {domain: [x.logprobs for x in mine] for domain, mine in found.items()}


def _losses(scores: Scores) -> dict[str, float]:
    """Steps 1 and 2, before the exponential."""
    return {domain: mean_nats(texts) for domain, texts in scores.items()}


def _same_tokens(lab: Lab, student: Scores, teacher: Scores) -> Scores:
    """Perplexities of unlike tokens do not compare."""
    mine, theirs = ([len(text) for texts in scores.values() for text in texts] for scores in (student, teacher))
    if mine != theirs:
        lab.refuse(
            "teacher and student cut the held-out texts into different tokens", got=f"{sum(theirs)} and {sum(mine)} tokens",
            fix="use two models with one tokenizer",
        )  # fmt: skip
    return student


def _note_lag(lab: Lab, name: str, student: Scores, floor: Mapping[str, float]) -> dict[str, float]:
    ratios = perplexity_ratios(_losses(student), floor)
    lab.note(name, ratios)
    return ratios


def _weights(lab: Lab, model: Role) -> list[Mapping[str, float]]:
    """r_0, r_1, ... of the fit that made the model."""
    return [interval["weights"] for interval in lab.told(model).get("domains", {}).get("intervals", ())]
