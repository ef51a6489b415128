"""The 23 constraints beside an independent implementation: IFEval's checkers as lm-eval 0.4.13 carries them.

    pip install --no-deps lm-eval==0.4.13 nltk==3.9.2 langdetect==1.0.9 immutabledict==4.3.1 six
    python benchmarks/constraints.py [--texts 2000] [--seed 0] [--shown 2]

Every text is checked against all constraints, each with parameters drawn near what the text has, so that both verdicts occur. Of lm-eval
only the checkers are loaded. Two of them need trained data of NLTK that no package carries: sentences are counted by an untrained Punkt,
and words by the tokenizer that its `word_tokenize` uses. What `exactly` means has no counterpart there and is not drawn.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import logging
import random
import sys
import types
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tutelage.verify.constraints import CONSTRAINTS, holds

_WORDS = """
river window journey garden signal harbour engine letter mountain market teacher winter people often carry small blue boxes over the bridge
because nobody asked them to stop and it rains again before evening while children play near old trees
"""
WORDS = _WORDS.split()
FOREIGN = {
    "de": "Der alte Mann geht jeden Morgen mit seinem Hund durch den Park und kauft danach frisches Brot beim Bäcker an der Ecke.",
    "fr": "Le vieil homme se promène chaque matin avec son chien dans le parc et achète ensuite du pain frais chez le boulanger.",
    "es": "El hombre viejo pasea cada mañana con su perro por el parque y después compra pan fresco en la panadería de la esquina.",
    "ru": "Старик каждое утро гуляет со своей собакой по парку, а потом покупает свежий хлеб в булочной на углу.",
}
UGLY = (
    "Dr. Smith paid $3.50 at 5 p.m. for it.", "e.g. this one", "state-of-the-art", "It's 1,000.5 km, isn't it?", "Wait... what?!", "[name]",
    "[a](http://x.y)", "NASA and the UN", "I A B", "don't", "naïve café", "**bold**", "*one* and *two*", "* not a bullet*", "<<>>",
    "U.S.A.", "C3PO", "\u201cquoted\u201d", "***", "p.s. no", "x_y_z", "a,b", "1. First", "- dash", "river's rivers riverbank", "日本語。",
)  # fmt: skip


def sentence(rng: random.Random) -> str:
    said = [rng.choice(WORDS) for _ in range(rng.randint(3, 14))]
    if rng.random() < 0.3:
        said[rng.randrange(len(said))] += ","
    if rng.random() < 0.15:
        said[rng.randrange(len(said))] = said[-1].upper()
    return " ".join(said).capitalize() + rng.choice(".....!?")


def text(rng: random.Random) -> str:
    """Some paragraphs, with what the constraints look for, and with what is easily miscounted."""
    if rng.random() < 0.06:
        return rng.choice(list(FOREIGN.values()))
    if rng.random() < 0.05:
        return rng.choice(('{"a": [1, 2]}', '```json\n{"a": 1}\n```', "[1, 2", '"alone"', "12", "{'a': 1}", "```\n[1]\n```", "NaN"))
    if rng.random() < 0.04:
        return rng.choice(("My answer is yes.", "My answer is no", '"My answer is maybe."', "My answer is yes. Or not.", "yes"))
    parts = [" ".join(sentence(rng) for _ in range(rng.randint(1, 5))) for _ in range(rng.randint(1, 5))]
    for i in range(len(parts)):
        roll = rng.random()
        if roll < 0.15:
            parts[i] = "\n".join(f"{rng.choice('*-')} {sentence(rng)}" for _ in range(rng.randint(1, 4)))
        elif roll < 0.25:
            parts[i] = f"SECTION {i + 1}\n{parts[i]}"
        elif roll < 0.45:
            parts[i] += " " + rng.choice(UGLY)
        elif roll < 0.55:
            word = rng.choice(parts[i].split())
            parts[i] = parts[i].replace(word, rng.choice((f"*{word}*", f"**{word}**", f"[{word}]")), 1)
    if rng.random() < 0.2:
        parts.insert(0, f"<<{' '.join(rng.sample(WORDS, 3))}>>")
    if rng.random() < 0.2:
        parts.append(rng.choice(("P.S. ", "p.s.", "P. S. ", "P.P.S ")) + sentence(rng))
    made = rng.choice(("\n\n", "\n\n", "\n***\n", "\n\n***\n\n")).join(parts)
    if rng.random() < 0.1:
        made = rng.choice((str.upper, str.lower))(made)
    return f'"{made}"' if rng.random() < 0.08 else made


def near(rng: random.Random, count: int) -> int:
    return max(1, count + rng.choice((-1, 0, 0, 1, 2)))


def drawn(rng: random.Random, said: str) -> list[tuple[dict[str, Any], str, dict[str, Any]]]:
    """(ours with parameters, the name of theirs, their parameters) for each of the 23."""
    relation, word, two = rng.choice(("at least", "less than")), rng.choice(WORDS), rng.sample(WORDS, 2)
    letter, words = rng.choice("aeobkqvwxz"), said.split()
    paragraphs = [p for p in said.split("\n\n") if p.strip()]
    nth, small = rng.randint(1, max(1, len(paragraphs))), rng.randint(1, 3)
    first = paragraphs[nth - 1].split()[0].strip("\".'*").lower() if paragraphs and rng.random() < 0.7 else word
    ending = " ".join(words[-3:]) if rng.random() < 0.5 else "Is there anything else I can help with?"
    options = ["My answer is yes.", "My answer is no.", "My answer is maybe."]
    language = rng.choice(("en", *FOREIGN))
    marker = rng.choice(("P.S.", "P.P.S"))
    counts = {
        "words": near(rng, len(words)), "sentences": near(rng, said.count(". ") + 1), "letter": near(rng, said.lower().count(letter)),
        "keyword": near(rng, said.lower().count(word)), "capital": near(rng, sum(w.isupper() for w in words)),
        "paragraphs": near(rng, len(paragraphs)), "parts": near(rng, said.count("***") + 1),
    }  # fmt: skip
    return [
        ({"name": "include_keywords", "keywords": two}, "keywords:existence", {"keywords": two}),
        (
            {"name": "keyword_frequency", "keyword": word, "relation": relation, "n": counts["keyword"]},
            "keywords:frequency",
            {"keyword": word, "frequency": counts["keyword"], "relation": relation},
        ),
        ({"name": "forbidden_words", "words": two}, "keywords:forbidden_words", {"forbidden_words": two}),
        (
            {"name": "letter_frequency", "letter": letter, "relation": relation, "n": counts["letter"]},
            "keywords:letter_frequency",
            {"letter": letter, "let_frequency": counts["letter"], "let_relation": relation},
        ),
        ({"name": "language", "language": language}, "language:response_language", {"language": language}),
        (
            {"name": "paragraphs", "n": counts["parts"], "separator": "***"},
            "length_constraints:number_paragraphs",
            {"num_paragraphs": counts["parts"]},
        ),
        (
            {"name": "words", "relation": relation, "n": counts["words"]},
            "length_constraints:number_words",
            {"num_words": counts["words"], "relation": relation},
        ),
        (
            {"name": "sentences", "relation": relation, "n": counts["sentences"]},
            "length_constraints:number_sentences",
            {"num_sentences": counts["sentences"], "relation": relation},
        ),
        (
            {"name": "paragraph_first_word", "n": max(nth, counts["paragraphs"]), "nth": nth, "word": first or word},
            "length_constraints:nth_paragraph_first_word",
            {"num_paragraphs": max(nth, counts["paragraphs"]), "nth_paragraph": nth, "first_word": first or word},
        ),
        ({"name": "placeholders", "n": small}, "detectable_content:number_placeholders", {"num_placeholders": small}),
        ({"name": "postscript", "marker": marker}, "detectable_content:postscript", {"postscript_marker": marker}),
        ({"name": "bullets", "n": small}, "detectable_format:number_bullet_lists", {"num_bullets": small}),
        ({"name": "one_of", "options": options}, "detectable_format:constrained_response", {}),
        ({"name": "highlights", "n": small}, "detectable_format:number_highlighted_sections", {"num_highlights": small}),
        (
            {"name": "sections", "word": "SECTION", "n": small},
            "detectable_format:multiple_sections",
            {"section_spliter": "SECTION", "num_sections": small},
        ),
        ({"name": "json"}, "detectable_format:json_format", {}),
        ({"name": "title"}, "detectable_format:title", {}),
        (
            {"name": "capital_words", "relation": relation, "n": counts["capital"]},
            "change_case:capital_word_frequency",
            {"capital_frequency": counts["capital"], "capital_relation": relation},
        ),
        ({"name": "all_capitals"}, "change_case:english_capital", {}),
        ({"name": "all_lower"}, "change_case:english_lowercase", {}),
        ({"name": "end_phrase", "phrase": ending}, "startend:end_checker", {"end_phrase": ending}),
        ({"name": "quotation"}, "startend:quotation", {}),
        ({"name": "no_commas"}, "punctuation:no_comma", {}),
    ]


def theirs() -> Callable[[str, dict[str, Any], str], bool]:
    """Their verdict on (name, parameters, text)."""
    found = importlib.util.find_spec("lm_eval")
    if found is None or not found.submodule_search_locations:
        raise SystemExit("lm-eval is not installed: see the head of this file")
    root = Path(next(iter(found.submodule_search_locations)))
    for name, folder in (("lm_eval", root), ("lm_eval.tasks", root / "tasks"), ("lm_eval.tasks.ifeval", root / "tasks" / "ifeval")):
        bare = types.ModuleType(name)
        bare.__path__ = [str(folder)]
        sys.modules[name] = bare  # without the package's own imports, which need forty others
    import langdetect
    import nltk

    langdetect.DetectorFactory.seed = 0
    nltk.data.find = lambda *_: None  # pyright: ignore[reportAttributeAccessIssue]  # nothing is downloaded
    util = importlib.import_module("lm_eval.tasks.ifeval.instructions_util")
    registry = importlib.import_module("lm_eval.tasks.ifeval.instructions_registry")
    util._get_sentence_tokenizer = nltk.tokenize.punkt.PunktSentenceTokenizer
    util.nltk.word_tokenize = nltk.tokenize.NLTKWordTokenizer().tokenize
    logging.disable(logging.ERROR)

    def verdict(name: str, parameters: dict[str, Any], said: str) -> bool:
        checker = registry.INSTRUCTION_DICT[name](name)
        checker.build_description(**parameters)
        return bool(said.strip() and checker.check_following(said))

    return verdict


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--texts", type=int, default=2000)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--shown", type=int, default=2)
    asked = options.parse_args()
    rng, verdict = random.Random(asked.seed), theirs()
    agree: Counter[str] = Counter()
    true: Counter[str] = Counter()
    apart: dict[str, list[tuple[bool, dict[str, Any], str]]] = {}
    for _ in range(asked.texts):
        said = text(rng)
        for ours, name, parameters in drawn(rng, said):
            mine, other = holds(said, ours), verdict(name, parameters, said)
            true[ours["name"]] += other
            agree[ours["name"]] += mine == other
            if mine != other:
                apart.setdefault(ours["name"], []).append((mine, ours, said))
    assert set(agree) == set(CONSTRAINTS)
    for name in CONSTRAINTS:
        print(f"{name:22} {agree[name]:5} of {asked.texts} alike; theirs holds on {true[name]}")
        for mine, ours, said in apart.get(name, [])[: asked.shown]:
            parameters = {k: v for k, v in ours.items() if k != "name"}
            print(f"    ours {mine}, theirs {not mine}: {parameters} {said[:160]!r}{'...' if len(said) > 160 else ''}")
    whole = asked.texts * len(CONSTRAINTS)
    print(f"{agree.total()} of {whole} verdicts alike ({agree.total() / whole:.2%})")


if __name__ == "__main__":
    main()
