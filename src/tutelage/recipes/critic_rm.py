"""Critic-RM: a reward model that first writes a critique of a reply, then rates it, trained from preference pairs alone.

Yu, Chen, Zhang, Tan, Zhu, Pang, Qian, Wang, Gururangan, Zhang, Kambadur, Mahajan, Hou 2025, "Self-Generated Critiques Boost Reward Modeling
for Language Models", NAACL 2025, arXiv 2411.16646.

 1. Preference triples (x, y+, y-): solutions of the task's questions, right over wrong; given with the question, or drawn from the student.
 2. The teacher, as critic, draws N critiques c_i with a score s_i for each (x, y), both sides.
 3. Instance filter: a pair stays where mean s_i(y+) > mean s_i(y-); ties go. The scores are taken out of the texts.
 4. Refinement by the teacher itself. Rank: every critique is rated, the best k stay. Summ: k summaries of all N stand in their place.
 5. The teacher's weights are fine-tuned to L(t) = lambda(t) L_c + (1 - lambda(t)) L_r, with L_c = - sum_t log p(c_t | x, y, c_<t) and
    L_r = - log sigmoid(r(x, y+, c+) - r(x, y-, c-)), r a linear head at the critique's last token; lambda is 1 for K - 1 epochs, then falls
    from beta to 0 over the last one.
 6. Inference: m critiques are drawn, r(x, y) = (1/m) sum_i r(x, y, c_i).
 7. The reward at work, best of n: of the student's n solutions of further questions the one with the highest reward is kept, and the
    student is fine-tuned on those.

How often the reward puts a right solution of a validation question over a wrong one, and how often the best of n is right, are noted (`pair
accuracy`, `best of n`). Where the test's questions carry marked solutions, the scorecard is pair accuracy on them, and step 7 is left out.

A teacher that follows no instructions first learns the form of critiques from the world's own critic, a share of whose marks is turned
round (`seeded`, `noise`), and draws candidates only then; its critiques are rated by how far they agree, and summed up by a vote.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from tutelage import steps
from tutelage.card import Arm, Card, Claim, Contrast, Experiment
from tutelage.evaluate.rewards import pair_accuracy
from tutelage.generate.critiques import ScoringCritic, evaluate_replies, mean_score, noisy_critiques, rate_critiques, summarise_critiques
from tutelage.lab import Lab, Role
from tutelage.objectives import Ramp, bradley_terry, critique_bradley_terry, cross_entropy
from tutelage.prompts.critics import render_judged
from tutelage.records import Example, Origin, Pair, Problem, Prompt, Solution
from tutelage.select import rewarded as choose
from tutelage.select.rewarded import Marked, Rewarded
from tutelage.signals.reward import RewardModel
from tutelage.tasks.task import by_skill
from tutelage.train import Compared, FitSettings, Fixed
from tutelage.train.rewards import Rates

CARD = Card(
    title="Critic-RM: self-generated critiques for reward modelling",
    claim="A reward model that writes a critique before it rates, learned from its own filtered critiques, tells better from worse.",
    source="Yu et al. 2025, arXiv 2411.16646",
    family="reward model",
    kind="system",
    needs={"teacher": ("generate", "train"), "student": ("generate", "train")},
    steps=("questions", "responses", "pairs", "critiques", "chosen", "examples"),
    size="questions",
    size_floor=6,
    size_along={"taught": 4},
    arm="critic_rm",
    baseline="scalar",
    control="dealt",
    claims=(
        Claim(what="RewardBench, Llama-3.1-70B-Instruct: Critic-RM-Rank against a scalar reward model", published="90.5 against 86.4",
              where="Table 1", arms=("critic_rm", "scalar"), metric="note:pair accuracy"),
        Claim(what="the same against the same model as judge", published="90.5 against 84.0", where="Table 1",
              arms=("critic_rm", "judge"), metric="note:pair accuracy"),
        Claim(what="the same against critiques of another model fed as text (SynRM)", published="90.5 against 87.3", where="Table 1",
              arms=("critic_rm", "borrowed"), metric="note:pair accuracy"),
    ),
    deviations=(
        "Pairs are right over wrong solutions of the task's questions, not public preference sets.",
        "K - 1 epochs of critiques and the last, joint one are two fits with an optimiser each; in the paper it is one run.",
        "L_c is a mean over tokens, so that lambda weighs numbers of one size.",
        "The reward is read at the end of text behind the critique, never at padding.",
        "In training the head reads kept critiques only; at inference it reads its own, which no label has filtered.",
        "A teacher that follows no instructions learns from the world's critic first, and cannot rate or sum up its critiques itself.",
        "Step 7 trains a student on the reward's choices; the paper revises wrong solutions by the critiques.",
    ),
    demo_arms=("untouched", "first", "scalar", "critic_rm", "dealt"),
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    questions: int = 10000
    """Questions per skill, at most, whose solutions make pairs (tens of thousands in the paper)."""
    draws: int = 4
    """Solutions per question, where the task gives none; ours."""
    per_question: int = 1
    """Pairs per question, at most; ours."""
    candidates: int = 10
    """N, critiques per reply (recalled from the paper)."""
    kept: int = 2
    """k, critiques per reply that are trained on (1 to 4 in the paper; ours)."""
    temperature: float = 1.0
    """Of candidates and solutions; ours."""
    top_p: float = 0.9
    """Of candidates; ours."""
    beta: float = 0.9
    """Of lambda at the beginning of the last epoch (recalled from the paper)."""
    fixed: float = 0.5
    """Of lambda in the arm fixed_lambda; ours."""
    learn: FitSettings = FitSettings(lr=1e-5, batch=64, epochs=1, warmup=0.03, precision="bf16")  # noqa: RUF009
    """The first K - 1 epochs, critiques alone. The paper has 1e-6 to 2e-6 at 70 B; for smaller models ours."""
    joint: FitSettings = FitSettings(lr=1e-5, batch=64, epochs=1, schedule="linear", precision="bf16")  # noqa: RUF009
    """The last epoch."""
    scalar: FitSettings = FitSettings(  # noqa: RUF009
        lr=1e-5, batch=64, epochs=1, schedule="linear", head="class", classes=1, precision="bf16"
    )
    """Of the scalar reward model; ours, tuned by itself."""
    averaged: int = 1
    """m, critiques per reply at inference (1, up to 16 for scaling)."""
    seeded: int = 0
    """Questions per skill on whose solutions a teacher without instructions learns to criticise; 0 for those that follow them."""
    noise: float = 0.25
    """Share of the marks that are turned round for it; the laptop check's."""
    seeding: FitSettings = FitSettings(lr=1e-5, batch=64)  # noqa: RUF009
    """How it learns them; ours."""
    taught: int = 2000
    """Further questions per skill for the best of n; ours."""
    best_of: int = 8
    """n; ours."""
    sft: FitSettings = FitSettings(lr=2e-5, batch=64, epochs=1, schedule="linear", warmup=0.03)  # noqa: RUF009
    """Of the student, on the chosen solutions; ours, as in ARTE."""
    validation: int = 500
    """Validation questions per skill on which the reward is measured; ours."""
    question_temperature: float = 1.0
    """Where questions are drafted; ours, as in ARTE."""
    question_tokens: int = 1024
    """Longest reply to a question prompt; ours."""
    rationale_tokens: int = 512
    """Longest solution; ours."""
    critique_tokens: int = 512
    """Longest critique; ours."""
    shots: tuple[int, ...] = (0, 3)
    """Numbers of demonstrations in evaluation; ours."""

    reward: Literal["critic", "borrowed", "scalar", "judge", "first"] = "critic"
    """What rates: the model that learned to write, one that reads the teacher's critiques (SynRM), a scalar one, the teacher's mean score,
    or nothing (the first solution stands)."""
    check: bool = True
    """Step 3's filter."""
    refine: Literal["rank", "summ", "none"] = "rank"
    """Step 4; none keeps the first k."""
    schedule: bool = True
    """False: lambda is `fixed` in all epochs."""
    deal: bool = False
    """Every reply gets the critiques of another pair's."""
    teach: bool = True
    """False leaves the student untouched."""


LAPTOP: dict[str, Any] = dict(
    questions=60, draws=6, per_question=2, candidates=6, kept=2, top_p=1.0, seeded=40, taught=20, best_of=4, validation=20,
    seeding=FitSettings(lr=3e-3, batch=16, epochs=4, schedule="linear", warmup=0.05),
    learn=FitSettings(lr=1e-3, batch=32, epochs=2, warmup=0.05), joint=FitSettings(lr=1e-3, batch=16, epochs=1, schedule="linear"),
    scalar=FitSettings(lr=1e-3, batch=16, epochs=3, schedule="linear", head="class", classes=1),
    sft=FitSettings(lr=4e-3, batch=8, epochs=6, schedule="linear", warmup=0.03), question_tokens=160, rationale_tokens=48,
    critique_tokens=64, shots=(0, 1),
)  # fmt: skip

TOY: dict[str, Any] = LAPTOP | dict(
    questions=8, draws=4, per_question=2, candidates=2, kept=1, seeded=4, taught=2, best_of=2, validation=2, critique_tokens=40,
    seeding=FitSettings(lr=5e-3, batch=8, epochs=8), learn=FitSettings(lr=1e-3, batch=8, epochs=1),
    joint=FitSettings(lr=1e-3, batch=4, epochs=1), scalar=FitSettings(lr=1e-3, batch=4, epochs=1, head="class", classes=1),
    sft=FitSettings(lr=1e-3, batch=8, epochs=1), shots=(0,),
)  # fmt: skip

ARMS: dict[str, Arm] = {
    "untouched": Arm(summary="the student as it is", changes={"teach": False}, needs={"student": ("generate",)}),
    "first": Arm(summary="no reward: the student's first solutions", changes={"reward": "first"}),
    "judge": Arm(summary="the teacher's own scores as the reward", changes={"reward": "judge"}),
    "scalar": Arm(summary="a scalar reward model on the same pairs", changes={"reward": "scalar"}),
    "borrowed": Arm(summary="a reward model that reads the teacher's critiques and writes none", changes={"reward": "borrowed"}),
    "critic_rm": Arm(summary="critiques filtered, ranked and learned with the reward"),
    "no_filter": Arm(summary="without the instance filter", changes={"check": False}),
    "no_refinement": Arm(summary="critiques as they were drawn", changes={"refine": "none"}),
    "summ": Arm(summary="critiques summed up instead of ranked", changes={"refine": "summ"}),
    "fixed_lambda": Arm(summary="both losses weighed alike throughout", changes={"schedule": False}),
    "dealt": Arm(summary="control: critiques of other replies", changes={"deal": True}, control=True),
}

REPRODUCE = {
    "folds": Experiment(
        task="folds/*",
        task_options={"test_seed": 6, "validation_size": 60},
        tune_options={"test_seed": 0},
        teacher="bundled:teacher",
        student="bundled:student",
        settings={"questions": 120, "seeded": 100, "seeding.epochs": 3},
        contrasts=(
            Contrast(
                claim="A reward model that writes a critique first puts right over wrong more often than a scalar one on the same pairs.",
                better="critic_rm", worse="scalar", metric="note:pair accuracy", control="dealt",
                published="90.5 against 86.4 (RewardBench, Table 1)",
            ),
            Contrast(claim="The instance filter helps it.", better="critic_rm", worse="no_filter", metric="note:pair accuracy"),
            Contrast(claim="A student learns more from its choices than from a scalar reward's.", better="critic_rm", worse="scalar",
                     rule=False),
        ),
        shrunk="Pairs of the bundled student's own solutions; the bundled teacher, which follows no instructions, learned to criticise "
        "from the world's critic with a quarter of the marks turned round.",
        full="tutelage run critic-rm --preset paper --task gsm8k --teacher hf:MODEL --student hf:MODEL --seeds 5",
    ),
    "gsm8k": Experiment(
        task="gsm8k-marked",
        task_options={"validation_size": 80, "test_size": 240},
        tune_options={"test_on": "validation"},
        teacher="hf:$TUTELAGE_READER",
        student="hf:$TUTELAGE_READER",
        settings={
            "questions": 750, "seeded": 250, "taught": 0, "per_question": 2, "candidates": 4, "kept": 1, "seeding.epochs": 1,
            "learn.epochs": 1, "scalar.epochs": 2, "validation": 40, "critique_tokens": 96,
        },
        contrasts=(
            Contrast(
                claim="On solutions of unseen GSM8K questions a critic puts right over wrong more often than a scalar reward on the same "
                "decoder (pair accuracy).",
                better="critic_rm", worse="scalar", metric="accuracy, 0-shot", control="dealt",
                published="94.1 against 88.0 (RewardBench Reasoning, Table 1)",
            ),
        ),
        shrunk="The metric is pair accuracy, ties as half, mean over 240 held-out questions; questions are split, never solutions. A "
        "decoder of 0.4 million parameters, raised by scripts/raise_reader.py on GSM8K's training questions, none of which shares ten "
        "words in a row with a marked one, learned to criticise from a program that checks equations without knowing the answer; about "
        "400 pairs of 300 questions.",
        full="tutelage run critic-rm --preset paper --task gsm8k-marked --teacher hf:MODEL --student hf:MODEL --seeds 5",
    ),
}  # fmt: skip


def run(lab: Lab, s: Settings) -> Role:
    teacher, student = lab.teacher if s.teach else None, lab.student

    if teacher is not None:
        judged, seeds, further = _questions(lab, s, teacher)
        responses = _responses(lab, s, student, judged, "responses", n=s.draws)
        pairs = _pairs(lab, s, teacher, responses)

        critic = _raised(lab, s, teacher, _responses(lab, s, student, seeds, "seeds", n=s.draws)) if s.seeded else teacher
        reward, rater = _reward_model(lab, s, critic, pairs)

        validation = [p for mine in by_skill(lab.task.validation).values() for p in mine[: s.validation]]
        held = _responses(lab, s, student, validation, "validation", n=s.draws)
        given = choose.carries_solutions(lab.task.validation)
        drawn = [] if given else _responses(lab, s, student, further, "best of n", n=s.best_of)
        rewarded = _rewarded(critic, rater, [*held, *drawn])  # one call is cheaper than two
        _note_accuracy(lab, rewarded[: len(held)])
        if given:
            if rater is not None:
                lab.evaluate_reward("reward model", reward, rater.rate)
            return reward

        student = steps.teach(lab, student, _chosen(lab, rewarded[len(held) :]), settings=s.sft)

    lab.evaluate("student", student, shots=s.shots, max_tokens=s.rationale_tokens)
    return student


def _questions(lab: Lab, s: Settings, teacher: Role) -> list[list[Problem]]:
    """Questions for pairs, for raising a critic, and for the best of n; where there are too few, in the same proportion."""
    wanted = (s.questions, s.seeded, s.taught)
    drawn = steps.training_questions(lab, teacher, "questions", wanted=sum(wanted), temperature=s.question_temperature,
                                     max_tokens=s.question_tokens)  # fmt: skip
    parts = [choose.in_proportion(mine, wanted) for mine in by_skill(drawn).values()]
    return [[p for part in parts for p in part[i]] for i in range(len(wanted))]


def _responses(lab: Lab, s: Settings, student: Role, problems: list[Problem], name: str, *, n: int) -> list[Marked]:
    """Step 1's solutions with their marks: those that the questions carry, or draws of the student."""
    found = steps.marked_solutions(lab, student, problems, n=n, temperature=s.temperature, max_tokens=s.rationale_tokens, name=name)
    if name == "responses":
        lab.keep(name, [x for x, _ in found])
    return found


def _pairs(lab: Lab, s: Settings, teacher: Role, responses: list[Marked]) -> list[Pair]:
    pairs = [
        Pair(prompt=teacher.wording.plain(right.problem), chosen=right.text, rejected=wrong.text, kind="solution",
             context={"question": right.problem.text}, origin=Origin(step="pairs", parents=(right.id, wrong.id)))
        for right, wrong in choose.right_over_wrong(responses, most=s.per_question)
    ]  # fmt: skip
    left = len(responses) - 2 * len(pairs)
    dropped = {"nothing left to compare with": left} if left else {}
    lab.tally("pairs", asked=len(responses), parsed=len(responses), kept=2 * len(pairs), dropped=dropped)
    if len(pairs) < 2:
        lab.refuse("too few questions have a right and a wrong solution", got=f"{len(pairs)} pairs", fix="more questions or draws")
    return lab.keep("pairs", pairs)


def _raised(lab: Lab, s: Settings, teacher: Role, responses: list[Marked]) -> Role:
    """The teacher once it has seen critiques of the world's own critic, whose marks are turned round with probability `noise`."""
    examples = noisy_critiques(
        [x for x, _ in responses], criticise=lab.task.criticise, render=teacher.wording.plain, dialect=teacher.wording.dialect,
        noise=s.noise, rng=lab.rng("noise"),
    )  # fmt: skip
    if not examples:
        lab.refuse("there is nothing to learn criticising from", got=f"none of {len(responses)} solutions could be criticised",
                   fix="a task with a critic of its own, or seeded=0 with a teacher that follows instructions")  # fmt: skip
    return lab.fit("teacher", teacher, Fixed(examples), cross_entropy(), settings=s.seeding, step="raise critic")


def _reward_model(lab: Lab, s: Settings, critic: Role, pairs: list[Pair]) -> tuple[Role, Rates | None]:
    """Steps 2 to 6, or a baseline in their place. The role is the one whose weights the reward rests on."""
    dialect = critic.wording.dialect
    if s.reward == "first":
        return critic, None
    if s.reward == "judge":
        sampling = lab.sampling("judging", max_tokens=s.critique_tokens, temperature=s.temperature, n=s.candidates, top_p=s.top_p,
                                stop=dialect.solution_stop)  # fmt: skip
        return critic, ScoringCritic(critic, dialect=dialect, sampling=sampling, steps=True)
    if s.reward == "scalar":
        reward = lab.fit("judge", critic, Fixed(pairs), bradley_terry(), settings=s.scalar, step="reward")
        return reward, RewardModel(reward, reward.facts, model_id=reward.id)
    compared, reward = _compared(lab, s, critic, pairs), critic
    language, preference, settings = 0.0, 1.0, replace(s.joint, epochs=s.joint.epochs + s.learn.epochs)  # as many epochs in all
    if s.reward == "critic" and s.schedule:
        written = list(dict.fromkeys(side for pair in compared for side in pair))
        reward = lab.fit("judge", critic, Fixed(written), cross_entropy(), settings=s.learn, step="critiques")
        language, preference, settings = Ramp(start=s.beta, end=0.0), Ramp(start=1 - s.beta, end=1.0), s.joint
    elif s.reward == "critic":
        language, preference = s.fixed, 1 - s.fixed
    joint = critique_bradley_terry(language=language, preference=preference)
    reward = lab.fit("judge", reward, Compared(compared), joint, settings=settings, step="reward")
    drawn = {"n": s.averaged, "temperature": s.temperature} if s.averaged > 1 else {}
    sampling = lab.sampling("inference", max_tokens=s.critique_tokens, stop=dialect.solution_stop, **drawn)
    return reward, RewardModel(
        reward, reward.facts, model_id=reward.id, sampling=sampling, critic=critic if s.reward == "borrowed" else None
    )


def _compared(lab: Lab, s: Settings, critic: Role, pairs: list[Pair]) -> list[tuple[Example, Example]]:
    """Steps 2 to 4: pairs of critiques, each under the question and its reply."""
    items = [(pair.prompt, reply) for pair in pairs for reply in (pair.chosen, pair.rejected)]
    sampling = lab.sampling("candidates", max_tokens=s.critique_tokens, temperature=s.temperature, n=s.candidates, top_p=s.top_p,
                            stop=critic.wording.dialect.solution_stop)  # fmt: skip
    read = evaluate_replies(critic, items, dialect=critic.wording.dialect, sampling=sampling, steps=True)
    found = [[e for e in group if e is not None] for group in read]
    scores = [mean_score(group) for group in found]
    told = [(p, scores[2 * p], scores[2 * p + 1]) for p in range(len(pairs))]
    agreeing = [p for p, better, worse in told if better is not None and worse is not None and (better > worse or not s.check)]
    places = [place for p in agreeing for place in (2 * p, 2 * p + 1)]
    texts = _refined(lab, s, critic, [items[i] for i in places], [[e.text for e in found[i]] for i in places])
    drawn, parsed, left, chosen = sum(map(len, read)), sum(map(len, found)), sum(len(found[i]) for i in places), sum(map(len, texts))
    dropped = Counter({"unparsed": drawn - parsed, "scores against the label": parsed - left, "less well rated": max(0, left - chosen)})
    lab.tally("critiques", asked=drawn, parsed=parsed, kept=chosen, dropped=+dropped)
    lab.note("instance filter", {"pairs": len(pairs), "kept": len(agreeing)})
    kept = dict(zip(places, texts, strict=True))
    complete = [p for p in agreeing if kept[2 * p] and kept[2 * p + 1]]
    if not complete:
        lab.refuse("no pair is left after the filter", got=f"0 of {len(pairs)}", fix="a better critic, or more candidates")
    rows: list[tuple[Example, Example]] = []
    for p, (giver, turned) in zip(complete, choose.dealt(complete) if s.deal else [(p, False) for p in complete], strict=True):
        better, worse = kept[2 * giver + turned], kept[2 * giver + (not turned)]
        for i in range(max(len(better), len(worse))):
            one = _example(critic, pairs[p], pairs[p].chosen, better[i % len(better)])
            rows.append((one, _example(critic, pairs[p], pairs[p].rejected, worse[i % len(worse)])))
    lab.keep("critiques", [side for row in rows for side in row])
    return rows


def _refined(lab: Lab, s: Settings, critic: Role, items: Sequence[tuple[Prompt, str]], texts: list[list[str]]) -> list[list[str]]:
    """Step 4."""
    dialect, most = critic.wording.dialect, s.critique_tokens
    if s.refine == "none":
        return [group[: s.kept] for group in texts]
    if s.refine == "summ":
        drawn = {"n": s.kept, "temperature": s.temperature} if s.kept > 1 else {}
        return summarise_critiques(critic, items, texts, dialect=dialect, sampling=lab.sampling("summaries", max_tokens=most, **drawn))
    rated = rate_critiques(critic, items, texts, dialect=dialect, sampling=lab.sampling("ratings", max_tokens=most))
    return [choose.best_rated(group, ratings, s.kept) for group, ratings in zip(texts, rated, strict=True)]


def _example(critic: Role, pair: Pair, reply: str, text: str) -> Example:
    prompt = render_judged(critic.wording.dialect, asked=pair.prompt, response=reply)
    return Example(prompt=prompt, completion=text, origin=Origin(step="critiques", parents=(pair.id,), model=critic.id))


def _rewarded(critic: Role, rater: Rates | None, responses: list[Marked]) -> list[Rewarded]:
    """In order. Without a reward nothing is better than what came first."""
    prompts, texts = [critic.wording.plain(x.problem) for x, _ in responses], [x.text for x, _ in responses]
    values = [None] * len(responses) if rater is None else rater.rate(prompts, texts)
    return [(x, right, value) for (x, right), value in zip(responses, values, strict=True)]


def _note_accuracy(lab: Lab, rewarded: list[Rewarded]) -> None:
    """What the reward is worth on validation questions, which nothing here was trained on or chosen by."""
    groups = choose.by_question(rewarded)
    count, any_right = max(1, len(groups)), sum(any(right for _, right, _ in g) for g in groups)
    lab.note("pair accuracy", pair_accuracy([[(right, value) for _, right, value in g] for g in groups]))
    lab.note("best of n", sum(choose.best_rewarded(g)[1] for g in groups) / count)
    lab.note("validation", {"questions": len(groups), "any of n": any_right / count})


def _chosen(lab: Lab, rewarded: list[Rewarded]) -> list[Solution]:
    """Step 7's data."""
    groups = choose.by_question(rewarded)
    dropped = {"lower reward": len(rewarded) - len(groups)} if len(rewarded) > len(groups) else {}
    lab.tally("chosen", asked=len(rewarded), parsed=len(rewarded), kept=len(groups), dropped=dropped)
    return lab.keep("chosen", [choose.best_rewarded(g)[0] for g in groups])
