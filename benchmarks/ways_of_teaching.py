"""Seven ways of teaching the bundled student, and what each adds to what it can do.

    python benchmarks/ways_of_teaching.py run --seeds 100 101          # tuning: scored on validation problems
    python benchmarks/ways_of_teaching.py run --seeds 0 1 2            # the run of record: scored on fresh test problems
    python benchmarks/ways_of_teaching.py table --seeds 0 1 2

Declared in docs/experiments/ways-of-teaching.md. Every (way, seed) is one process of one thread; finished ones are in --out and are not
done again. Seeds of 100 and more never touch a test problem.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

STUDENT, TEACHER, TASK = "bundled:student", "bundled:teacher", "folds/*"
STYLE = "steps"
"""The style the teacher is prompted to; the one that helps this student (docs/experiments/arte-on-folds.md)."""
TOKENS = 48
PROBLEMS = 360
"""Of the 480 training problems, drawn anew by each seed."""
TEST_SEED = 2
"""Problems that no earlier experiment has looked at."""
FIRST_TUNING_SEED = 100
BAR_S = 180.0
"""CPU seconds of one thread: what an idle core would have taken, since a shared machine lies about the wall."""


@dataclass(frozen=True, kw_only=True)
class Bench:
    """What every way of teaching is given."""

    seed: int
    task: Any
    wording: Any
    problems: tuple[Any, ...]
    student: Any
    teacher: Any
    out: Path

    def plain(self) -> list[Any]:
        return [self.wording.plain(p) for p in self.problems]

    def styled(self) -> list[Any]:
        """The prompts under which the teacher writes and judges in one style."""
        instruction = next(t.instruction for t in self.task.techniques if t.name == STYLE)
        return [self.wording.technique(STYLE, instruction)(p) for p in self.problems]

    def fit(self, source: Any, objective: Any, targets: Any = None, **settings: Any) -> Any:
        from tutelage.seeds import derive
        from tutelage.train import FitSettings
        from tutelage.train.loop import fit

        return fit(
            model=Path(str(self.student.path)),
            source=source,
            objective=objective,
            targets=targets,
            settings=FitSettings(**settings),
            seed=derive(self.seed, "fit"),
            out=self.out,
        )


SFT: dict[str, Any] = {"lr": 4e-3, "batch": 8, "epochs": 6, "schedule": "linear", "warmup": 0.03}
"""As ARTE's laptop preset teaches its student."""


def untouched(bench: Bench) -> None:
    return None


def sft(bench: Bench) -> Any:
    """Reference solutions, written by the world itself."""
    from tutelage.objectives import cross_entropy
    from tutelage.records import Example
    from tutelage.seeds import stream
    from tutelage.tasks.folds_world import parse_question, write_steps
    from tutelage.train import Fixed

    records: list[Any] = []
    for problem, prompt in zip(bench.problems, bench.plain(), strict=True):
        question = parse_question(problem.text)
        assert question is not None
        records.append(Example(prompt=prompt, completion=write_steps(question, stream(bench.seed, "reference", problem.id))))
    return bench.fit(Fixed(records), cross_entropy(), **SFT)


def taught_texts(bench: Bench) -> list[Any]:
    """What the teacher writes, greedily, when asked for the style; trained on under the plain prompt. Nothing is checked."""
    from tutelage import backends
    from tutelage.capabilities import Sampling
    from tutelage.records import Example

    sampling = Sampling(max_tokens=TOKENS, stop=bench.wording.dialect.solution_stop)
    replies = backends.open_backend(bench.teacher).generate(bench.styled(), sampling)
    return [Example(prompt=p, completion=r[0].text) for p, r in zip(bench.plain(), replies, strict=True) if r[0].text]


def sequence_kd(bench: Bench) -> Any:
    from tutelage.objectives import cross_entropy
    from tutelage.train import Fixed

    return bench.fit(Fixed(taught_texts(bench)), cross_entropy(), **SFT)


def forward_kl_kd(bench: Bench) -> Any:
    """The same texts, with the teacher's whole distribution at every token."""
    from tutelage.objectives import forward_kl
    from tutelage.train import Fixed, Instead, Teacher

    asked = Instead(zip(bench.plain(), bench.styled(), strict=True))
    return bench.fit(Fixed(taught_texts(bench)), forward_kl(), Teacher(bench.teacher, asked=asked), **SFT)


ON_POLICY: dict[str, Any] = {"lr": 2e-3, "batch": 16, "steps": 180, "schedule": "linear", "warmup": 0.03}


def on_policy_kd(bench: Bench) -> Any:
    """The student writes, the teacher, asked for the style, judges every token of it."""
    from tutelage.objectives import reverse_kl
    from tutelage.train import Instead, OnPolicy, Teacher

    source = OnPolicy(bench.plain(), max_tokens=TOKENS, stop=bench.wording.dialect.solution_stop)
    asked = Instead(zip(bench.plain(), bench.styled(), strict=True))
    return bench.fit(source, reverse_kl(), Teacher(bench.teacher, asked=asked), **ON_POLICY)


def on_policy_kd_unaligned(bench: Bench) -> Any:
    """The same with the teacher under the student's own prompt: it judges by the style that it would have used itself."""
    from tutelage.objectives import reverse_kl
    from tutelage.train import OnPolicy, Teacher

    source = OnPolicy(bench.plain(), max_tokens=TOKENS, stop=bench.wording.dialect.solution_stop)
    return bench.fit(source, reverse_kl(), Teacher(bench.teacher), **ON_POLICY)


DRAWS = 16
DPO: dict[str, Any] = {"lr": 1e-3, "batch": 16, "epochs": 8, "schedule": "cosine", "warmup": 0.1}


def dpo(bench: Bench) -> Any:
    """The student's own right answers over its own wrong ones, by the verifier; at most two pairs per question."""
    from tutelage import backends
    from tutelage.capabilities import Sampling
    from tutelage.objectives import dpo as objective
    from tutelage.records import Pair
    from tutelage.seeds import derive, stream
    from tutelage.train import Fixed, Reference

    sampling = Sampling(
        max_tokens=TOKENS, temperature=1.0, n=DRAWS, stop=bench.wording.dialect.solution_stop, seed=derive(bench.seed, "draws")
    )
    prompts = bench.plain()
    replies = backends.open_backend(bench.student).generate(prompts, sampling)
    records: list[Any] = []
    for problem, prompt, drawn in zip(bench.problems, prompts, replies, strict=True):
        texts = list(dict.fromkeys(c.text for c in drawn if c.text))
        right = [t for t in texts if bench.task.verify(problem, t).right]
        wrong = [t for t in texts if not bench.task.verify(problem, t).right]
        rng = stream(bench.seed, "pairs", problem.id)
        rng.shuffle(right)
        rng.shuffle(wrong)
        records += [Pair(prompt=prompt, chosen=a, rejected=b) for a, b in zip(right[:2], wrong[:2], strict=False)]
    return bench.fit(Fixed(records), objective(beta=0.1, nll=0.2), Reference(), **DPO)


GRPO: dict[str, Any] = {"lr": 1e-3, "batch": 8, "steps": 120, "schedule": "linear", "warmup": 0.03}


def grpo(bench: Bench) -> Any:
    """The student writes eight answers to a question; the verifier says which are right."""
    from tutelage.objectives import grpo as objective
    from tutelage.train import Checked, OnPolicy

    reward = Checked(bench.problems, verify=bench.task.verify, by=f"{bench.task.name} {bench.task.version}")
    source = OnPolicy(bench.plain(), max_tokens=TOKENS, samples=8, stop=bench.wording.dialect.solution_stop, reward=reward)
    return bench.fit(source, objective(per="token", clip_high=0.28), **GRPO)


WAYS: dict[str, Callable[[Bench], Any]] = {
    f.__name__: f for f in (untouched, sft, sequence_kd, forward_kl_kd, on_policy_kd, on_policy_kd_unaligned, dpo, grpo)
}
CLAIMED = ("sft", "sequence_kd", "forward_kl_kd", "on_policy_kd", "dpo", "grpo")
"""The ways that must improve the student; `on_policy_kd_unaligned` is reported beside them."""


def worker(way: str, seed: int) -> dict[str, Any]:
    import torch

    from tutelage import backends
    from tutelage.capabilities import Sampling
    from tutelage.prompts.dialects import DIALECTS
    from tutelage.prompts.wording import Wording
    from tutelage.seeds import stream
    from tutelage.tasks import open_task

    torch.set_num_threads(1)
    started = time.perf_counter(), time.process_time()
    task = open_task(TASK, {"test_seed": TEST_SEED})
    student = backends.resolve(STUDENT)
    wording = Wording(dialect=DIALECTS[backends.facts(student).dialect], description=task.description, answer_format=task.answer_format)
    problems = tuple(stream(seed, "problems").sample(task.train, PROBLEMS))
    with tempfile.TemporaryDirectory() as place:
        out = Path(place) / "taught"
        bench = Bench(seed=seed, task=task, wording=wording, problems=problems, student=student, teacher=backends.resolve(TEACHER), out=out)
        result = WAYS[way](bench)
        taught = student if result is None else backends.resolve(f"hf:{out}")
        wall, cpu = time.perf_counter() - started[0], time.process_time() - started[1]
        asked = task.validation if seed >= FIRST_TUNING_SEED else task.test
        sampling = Sampling(max_tokens=TOKENS, stop=wording.dialect.solution_stop)
        replies = backends.open_backend(taught).generate([wording.plain(p) for p in asked], sampling)
    verdicts = [task.verify(p, r[0].text) for p, r in zip(asked, replies, strict=True)]
    assert task.style is not None
    styles = [task.style(r[0].text) for r in replies]
    return {
        "way": way,
        "seed": seed,
        "accuracy": sum(v.right for v in verdicts) / len(verdicts),
        "parsed": sum(v.parsed for v in verdicts) / len(verdicts),
        "style": styles.count(STYLE) / len(styles),
        "items": [float(v.right) for v in verdicts],
        "wall_s": wall,
        "cpu_s": cpu,
        "steps": 0 if result is None else result.steps,
        "examples": 0 if result is None else result.examples,
        "tokens": 0 if result is None else result.tokens,
        "dropped": {} if result is None else dict(result.dropped),
        "losses": [] if result is None else [round(e["loss"], 4) for e in result.log[:: max(1, len(result.log) // 12)]],
    }


def rows_of(out: Path) -> dict[tuple[str, int], dict[str, Any]]:
    if not out.exists():
        return {}
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    return {(r["way"], r["seed"]): r for r in rows}


def run(seeds: Sequence[int], ways: Sequence[str], out: Path) -> int:
    out.parent.mkdir(parents=True, exist_ok=True)
    for seed in seeds:
        for way in ways:
            if (way, seed) in rows_of(out):
                continue
            command = [sys.executable, "-W", "ignore", __file__, "worker", "--ways", way, "--seeds", str(seed)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                print(f"{way}, seed {seed} failed: {done.stderr.strip()[-2000:]}", file=sys.stderr)
                return 1
            row = json.loads(done.stdout.splitlines()[-1])
            with out.open("a") as file:
                file.write(json.dumps(row) + "\n")
            print(
                f"{way:<24} seed {seed:>3}  accuracy {row['accuracy']:.3f}  {STYLE} {row['style']:.2f}  {row['wall_s']:.0f} s"
                f" ({row['cpu_s']:.0f} s of CPU)",
                flush=True,
            )
    return 0


def table(seeds: Sequence[int], out: Path) -> int:
    """Accuracy of every way, its paired difference to the untouched student, and whether the claim holds."""
    from tutelage.measure.intervals import holm, paired_t, t_interval

    rows = rows_of(out)
    ways = [w for w in WAYS if all((w, s) in rows for s in seeds)]
    missing = [w for w in WAYS if w not in ways]
    gains = {w: paired_t([rows[w, s]["accuracy"] - rows["untouched", s]["accuracy"] for s in seeds]) for w in ways if w != "untouched"}
    claimed = [w for w in CLAIMED if w in gains]
    p_values = [1.0 if (p := gains[w].p_value) is None else p for w in claimed]
    adjusted = dict(zip(claimed, holm(p_values), strict=True))
    print(f"seeds {', '.join(map(str, seeds))}; {len(rows[ways[0], seeds[0]]['items'])} problems")
    print("| way | accuracy | minus untouched | p (Holm) | `steps` style | CPU s, longest | wall s, longest |")
    print("|---|---|---|---|---|---|---|")
    held = not missing
    for way in ways:
        mine = [rows[way, s] for s in seeds]
        level, gain = t_interval([r["accuracy"] for r in mine]), gains.get(way)
        style = sum(r["style"] for r in mine) / len(mine)
        longest, waited = max(r["cpu_s"] for r in mine), max(r["wall_s"] for r in mine)
        shown = "" if gain is None else f"{gain.value:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}]"
        p = f"{adjusted[way]:.4f}" if way in adjusted else ""
        accuracy = f"{level.value:.3f} [{level.low:.3f}, {level.high:.3f}]"
        print(f"| {way} | {accuracy} | {shown} | {p} | {style:.2f} | {longest:.0f} | {waited:.0f} |")
        if way in CLAIMED:
            held = held and gain is not None and gain.low is not None and gain.low > 0 and adjusted[way] < 0.05 and longest <= BAR_S
    if missing:
        print(f"not run: {', '.join(missing)}")
    print("confirmed: every claimed way improves the student" if held else "not confirmed")
    return int(not held)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("verb", choices=("run", "table", "worker"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--ways", nargs="+", default=list(WAYS), choices=list(WAYS))
    parser.add_argument("--out", type=Path, default=Path("runs/ways-of-teaching.jsonl"))
    options = parser.parse_args()
    if options.verb == "worker":
        print(json.dumps(worker(options.ways[0], options.seeds[0])))
        return 0
    if options.verb == "run":
        return run(options.seeds, options.ways, options.out)
    return table(options.seeds, options.out)


if __name__ == "__main__":
    sys.exit(main())
