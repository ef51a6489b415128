"""Decontamination and near-duplicate search at full size: 100,000 real rows, 1,000 planted leaks, rows/s beside datasketch.

    TUTELAGE_DATA=DIR python benchmarks/dedup.py [--rows 100000]

Prints the share of planted leaks found by kind, false alarms over the length of the run (n), recall of planted near-duplicate pairs,
rows per second of both libraries on the same rows in one process, and the peak memory that the searches added.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from tutelage.select.decontaminate import Decontaminator
from tutelage.select.dedup import NearDuplicates
from tutelage.select.words import blocks, words_of


def questions(data: Path, split: str) -> list[str]:
    return [json.loads(line)["question"] for line in (data / f"gsm8k/{split}.jsonl").read_bytes().splitlines()]


def many_rows(data: Path, count: int, rng: random.Random) -> list[str]:
    """Real text without the test questions: training questions, solutions, intents, and new mixtures of training sentences."""
    train = [json.loads(line) for line in (data / "gsm8k/train.jsonl").read_bytes().splitlines()]
    rows = [row["question"] for row in train] + [row["answer"] for row in train]
    intents = json.loads((data / "clinc150/data_full.json").read_bytes())
    rows += [text for split in ("train", "val", "oos_train") for text, _ in intents[split]]
    sentences = [s.strip() + "." for row in train for s in row["question"].split(". ") if len(s.split()) > 3]
    while len(rows) < count:
        rows.append(" ".join(rng.sample(sentences, rng.randint(2, 5))))
    rng.shuffle(rows)
    return rows[:count]


def edited(text: str, rng: random.Random, *, words: int = 1) -> str:
    parts = text.split(" ")
    for _ in range(words):
        parts[rng.randrange(len(parts))] = rng.choice(("zebra", "Tuesday", "17", "quickly"))
    return " ".join(parts)


def respaced(text: str, rng: random.Random) -> str:
    loose = "".join(rng.choice(("  ", "\n", " \t", "\u00a0", " ")) if c == " " else c for c in text)
    return loose.replace(",", " ,").replace(".", " . ").replace("$", "$ ")


def embedded(text: str, rng: random.Random, rows: list[str]) -> str:
    return f"{rng.choice(rows)} {text} {rng.choice(rows)}"


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def leaks(rows: list[str], test: list[str], train: list[str], rng: random.Random) -> None:
    kinds: dict[str, Callable[[str], str]] = {
        "verbatim": lambda text: text,
        "re-spaced": lambda text: respaced(text, rng),
        "one word edited": lambda text: edited(text, rng),
        "embedded": lambda text: embedded(text, rng, rows),
    }
    planted = list(rows)
    kind_of: dict[int, str] = {}
    for number, place in enumerate(rng.sample(range(len(rows)), 1000)):
        kind = list(kinds)[number % len(kinds)]
        planted[place] = kinds[kind](rng.choice(test))
        kind_of[place] = kind
    print(f"{'n':>3} {'found':>8} {'of clean train':>15} {'rows/s':>9}  found by kind")
    for n in (6, 8, 9, 10, 11, 12, 13, 15, 20):
        finder = Decontaminator(test, n=n)
        begun = time.perf_counter()
        found = [leak is not None for block in blocks(planted) for leak in finder.check(block)]
        took = time.perf_counter() - begun
        hits = Counter(kind for place, kind in kind_of.items() if found[place])
        clean = sum(leak is not None for leak in finder.check(train)) / len(train)
        by_kind = ", ".join(f"{kind} {hits[kind] / 250:.1%}" for kind in kinds)
        print(f"{n:>3} {sum(hits.values()) / 1000:>8.1%} {clean:>15.2%} {len(rows) / took:>9,.0f}  {by_kind}")


def near(rows: list[str], rng: random.Random) -> None:
    """Pairs that share at least 80 % of their word triples, planted far from their originals."""
    originals = [row for row in dict.fromkeys(rows) if len(words_of(row)) >= 25]
    pairs = []
    for row in rng.sample(originals, len(originals)):
        copy = edited(row, rng, words=rng.randint(1, 3))
        if jaccard(row, copy) >= 0.8 and copy != row:
            pairs.append((row, copy))
        if len(pairs) == 1000:
            break
    stream = [row for row, _ in pairs] + rows + [copy for _, copy in pairs]
    before = peak_mb()
    finder = NearDuplicates(threshold=0.75)
    begun = time.perf_counter()
    found = [row for block in blocks(stream) for row in finder.add(block)]
    ours = len(stream) / (time.perf_counter() - begun)
    recall = sum(row is not None for row in found[-len(pairs) :]) / len(pairs)
    added = peak_mb() - before
    print(f"near duplicates: recall {recall:.1%} of {len(pairs)} planted pairs, {ours:,.0f} rows/s, {added:.0f} MB added")
    theirs, their_recall = datasketch_rows(stream, len(pairs))
    if theirs:
        print(f"datasketch, same rows and triples, 120 permutations: recall {their_recall:.1%}, {theirs:,.0f} rows/s")
        print(f"ours / theirs: {ours / theirs:.1f}")


def datasketch_rows(stream: list[str], planted: int) -> tuple[float, float]:
    try:
        from datasketch import MinHash, MinHashLSH
    except ModuleNotFoundError:
        print("datasketch is not installed; no comparison")
        return 0.0, 0.0
    index = MinHashLSH(threshold=0.75, num_perm=120)
    begun = time.perf_counter()
    found = []
    for number, text in enumerate(stream):
        words = words_of(text)
        sketch = MinHash(num_perm=120)
        sketch.update_batch([" ".join(words[i : i + 3]).encode() for i in range(len(words) - 2)])
        near = index.query(sketch)
        found.append(bool(near))
        if not near:
            index.insert(str(number), sketch, check_duplication=False)
    return len(stream) / (time.perf_counter() - begun), sum(found[-planted:]) / planted


def jaccard(one: str, other: str) -> float:
    a, b = ({tuple(words[i : i + 3]) for i in range(len(words) - 2)} for words in (words_of(one), words_of(other)))
    return len(a & b) / len(a | b) if a | b else 1.0


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--rows", type=int, default=100_000)
    count = options.parse_args().rows
    data = Path(os.environ["TUTELAGE_DATA"])
    rng = random.Random(0)
    rows = many_rows(data, count, rng)
    print(f"{len(rows):,} rows, {sum(len(row.split()) for row in rows) / len(rows):.0f} words each")
    leaks(rows, questions(data, "test"), questions(data, "train"), rng)
    near(rows, rng)


if __name__ == "__main__":
    main()
