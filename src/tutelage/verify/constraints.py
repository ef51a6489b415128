"""The 23 checkable constraints of the recipe `preference-attributes`: pure functions of a text and a few parameters.

A problem carries its constraints in `context["constraints"]`, a list like `[{"name": "words", "relation": "at least", "n": 50}, ...]`.
The verdict's score is the share that holds; right means all (strict satisfaction). An empty text meets nothing.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tutelage.errors import DataError, did_you_mean
from tutelage.records import Problem, Verdict
from tutelage.verify.counting import occurrences_of, paragraphs_of, sentences_of, words_of
from tutelage.verify.language import language_of

RELATIONS = ("at least", "less than", "exactly")

_BULLET = re.compile(r"^[ \t]*(?:[-*+•][ \t]+)\S", re.MULTILINE)
_HIGHLIGHT = re.compile(
    r"(?<!\*)(?:\*\*(?!\s)[^*\n]*?[^\s*]\*\*|\*(?![\s*])[^*\n]*?[^\s*]\*)(?!\*)|(?<![_\w])_(?![\s_])[^_\n]*?[^\s_]_(?![_\w])"
)
_PLACEHOLDER = re.compile(r"\[[^\[\]\n]+\](?!\()")
_TITLE = re.compile(r"<<[^<>\n]*[^<>\s][^<>\n]*>>")


@dataclass(frozen=True, slots=True, kw_only=True)
class Constraint:
    """One constraint: how it is checked, what it needs, how it is drawn and said, and what it does not go with."""

    name: str
    group: str
    check: Callable[..., bool]
    """(text, **parameters) -> whether it holds."""
    parameters: tuple[str, ...]
    draw: Callable[[random.Random], dict[str, Any]]
    """Random parameters that a text of some hundred words can meet."""
    says: str
    """The instruction in words; fields are the parameters."""
    conflicts: frozenset[str] = frozenset()


def constraints(problem: Problem, text: str) -> Verdict:
    """The share of the problem's constraints that the text satisfies; `reason` names those that fail."""
    wanted = problem.context.get("constraints")
    if not isinstance(wanted, list | tuple) or not wanted:
        return Verdict(score=0.0, parsed=False, reason="the problem has no constraints")
    if not text.strip():
        return Verdict(score=0.0, parsed=False, reason="the text is empty")
    failed = [one["name"] for one in wanted if not holds(text, one)]
    return Verdict(score=1 - len(failed) / len(wanted), extracted=None, reason="fails " + ", ".join(failed) if failed else "all hold")


def holds(text: str, wanted: Mapping[str, Any]) -> bool:
    """Whether one constraint, given with its parameters, holds for the text."""
    found = _known(wanted)
    return bool(text.strip()) and found.check(text, **{k: v for k, v in wanted.items() if k != "name"})


def instruction(wanted: Mapping[str, Any]) -> str:
    """The constraint as a sentence for a prompt."""
    shown = {k: ", ".join(map(str, v)) if isinstance(v, list | tuple) else v for k, v in wanted.items()}
    return _known(wanted).says.format(**shown)


def draw_compatible(rng: random.Random, count: int, *, names: Sequence[str] = ()) -> list[dict[str, Any]]:
    """`count` constraints with parameters, no two of them in conflict; fewer where that many do not go together."""
    left = sorted(names or CONSTRAINTS)
    rng.shuffle(left)
    chosen: list[dict[str, Any]] = []
    for name in left:
        if len(chosen) < count and all(compatible(name, other["name"]) for other in chosen):
            chosen.append({"name": name, **CONSTRAINTS[name].draw(rng)})
    return chosen


def compatible(one: str, other: str) -> bool:
    return one != other and other not in CONSTRAINTS[one].conflicts and one not in CONSTRAINTS[other].conflicts


def _compare(count: int, relation: str, n: int) -> bool:
    if relation not in RELATIONS:
        raise DataError("relation of a constraint is unknown", got=relation, fix=did_you_mean(relation, RELATIONS))
    return count >= n if relation == "at least" else count < n if relation == "less than" else count == n


def _known(wanted: Mapping[str, Any]) -> Constraint:
    name = str(wanted.get("name"))
    if name not in CONSTRAINTS:
        raise DataError(f"no constraint is called '{name}'", got=name, fix=did_you_mean(name, CONSTRAINTS))
    found = CONSTRAINTS[name]
    given = {k for k in wanted if k != "name"}
    if given != set(found.parameters):
        raise DataError(
            f"constraint '{name}' has other parameters", got=", ".join(sorted(given)), fix=f"give {', '.join(found.parameters) or 'none'}"
        )
    return found


def include_keywords(text: str, *, keywords: Sequence[str]) -> bool:
    return all(occurrences_of(text, keyword) for keyword in keywords)


def keyword_frequency(text: str, *, keyword: str, relation: str, n: int) -> bool:
    return _compare(occurrences_of(text, keyword), relation, n)


def forbidden_words(text: str, *, words: Sequence[str]) -> bool:
    return not any(occurrences_of(text, word) for word in words)


def letter_frequency(text: str, *, letter: str, relation: str, n: int) -> bool:
    return _compare(text.lower().count(letter.lower()), relation, n)


def response_language(text: str, *, language: str) -> bool:
    return language_of(text) == language


def paragraph_count(text: str, *, n: int, separator: str) -> bool:
    return len(paragraphs_of(text, separator)) == n


def word_count(text: str, *, relation: str, n: int) -> bool:
    return _compare(len(words_of(text)), relation, n)


def sentence_count(text: str, *, relation: str, n: int) -> bool:
    return _compare(len(sentences_of(text)), relation, n)


def paragraph_first_word(text: str, *, n: int, nth: int, word: str) -> bool:
    found = paragraphs_of(text)
    if len(found) != n or not 1 <= nth <= n:
        return False
    first = words_of(found[nth - 1])
    return bool(first) and first[0].lower() == word.lower()


def placeholders(text: str, *, n: int) -> bool:
    return len(_PLACEHOLDER.findall(text)) >= n


def postscript(text: str, *, marker: str) -> bool:
    """The marker begins a line after other text, and something follows it."""
    spaced = r"\s*".join(re.escape(c) for c in marker if not c.isspace())
    found = re.search(rf"^\s*[*_]*{spaced}[*_]*\s*:?\s*(\S.*)", text, re.IGNORECASE | re.MULTILINE)
    return bool(found and text[: found.start()].strip())


def bullets(text: str, *, n: int) -> bool:
    return len(_BULLET.findall(text)) == n


def one_of(text: str, *, options: Sequence[str]) -> bool:
    """Exactly one of the options stands in the text, and nothing but punctuation and quotes beside it."""
    bare = re.sub(r"[\s\"'.!*]+", " ", text).strip().casefold()
    return any(re.sub(r"[\s\"'.!*]+", " ", option).strip().casefold() == bare for option in options)


def highlights(text: str, *, n: int) -> bool:
    return len(_HIGHLIGHT.findall(re.sub(r"^[ \t]*\*[ \t]+", "", text, flags=re.MULTILINE))) >= n


def sections(text: str, *, word: str, n: int) -> bool:
    """Headings like `SECTION 1`, each at the beginning of a line with text after it, numbered from 1."""
    found = list(re.finditer(rf"^[ \t#*]*{re.escape(word)}[ \t]+(\d+)\b[^\n]*", text, re.IGNORECASE | re.MULTILINE))
    ends = [match.start() for match in found[1:]] + [len(text)] * bool(found)
    filled = all(text[match.end() : end].strip(" \t\n*#:.-") for match, end in zip(found, ends, strict=True))
    return len(found) >= n and filled and [int(match[1]) for match in found] == list(range(1, len(found) + 1))


def json_document(text: str) -> bool:
    """The whole text is one JSON object or list, with or without a code fence around it."""
    bare = re.sub(r"^\s*```(?:json)?[ \t]*\n(.*?)\n?[ \t]*```\s*$", r"\1", text, flags=re.DOTALL | re.IGNORECASE)
    try:
        value = json.loads(bare, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return False
    return isinstance(value, dict | list)


def _refuse(constant: str) -> None:
    raise ValueError(constant)


def title(text: str) -> bool:
    return bool(_TITLE.search(text))


def capital_words(text: str, *, relation: str, n: int) -> bool:
    """Words all in capitals; a single letter (I, A) does not count."""
    return _compare(sum(word.isupper() and sum(c.isalpha() for c in word) > 1 for word in words_of(text)), relation, n)


def all_capitals(text: str) -> bool:
    return text.isupper()


def all_lower(text: str) -> bool:
    return text.islower()


def end_phrase(text: str, *, phrase: str) -> bool:
    """The text ends with the phrase exactly; only white space and one closing quote may follow."""
    ending = text.rstrip()
    return ending.endswith(phrase.strip()) or (ending[:-1].endswith(phrase.strip()) and ending[-1] in '"”')


def quotation(text: str) -> bool:
    stripped = text.strip()
    return len(stripped) > 2 and (stripped[0], stripped[-1]) in (('"', '"'), ("“", "”")) and bool(stripped[1:-1].strip())


def no_commas(text: str) -> bool:
    return not re.search(r"[,，、،]", text)


_NOUNS = ("river", "window", "journey", "garden", "signal", "harbour", "engine", "letter", "mountain", "market", "teacher", "winter")
_LENGTH_AND_FORMAT = frozenset(
    {
        "paragraphs",
        "words",
        "sentences",
        "paragraph_first_word",
        "placeholders",
        "postscript",
        "bullets",
        "highlights",
        "sections",
        "json",
        "title",
    }
)
_ENGLISH_CASE = frozenset({"capital_words", "all_capitals", "all_lower"})


def _relation(rng: random.Random) -> str:
    return rng.choice(RELATIONS[:2])


def _two(rng: random.Random) -> list[str]:
    return rng.sample(_NOUNS, 2)


def _none(rng: random.Random) -> dict[str, Any]:
    return {}


def _table() -> dict[str, Constraint]:
    listed = (
        Constraint(
            name="include_keywords", group="keywords", check=include_keywords, parameters=("keywords",),
            draw=lambda r: {"keywords": _two(r)}, says="Use the words {keywords}.", conflicts=frozenset({"one_of", "language"}),
        ),
        Constraint(
            name="keyword_frequency", group="keywords", check=keyword_frequency, parameters=("keyword", "relation", "n"),
            draw=lambda r: {"keyword": r.choice(_NOUNS), "relation": _relation(r), "n": r.randint(2, 4)},
            says="Use the word {keyword} {relation} {n} times.", conflicts=frozenset({"one_of", "language", "include_keywords"}),
        ),
        Constraint(
            name="forbidden_words", group="keywords", check=forbidden_words, parameters=("words",),
            draw=lambda r: {"words": _two(r)}, says="Do not use any of the words {words}.",
            conflicts=frozenset({"include_keywords", "keyword_frequency", "one_of"}),
        ),
        Constraint(
            name="letter_frequency", group="keywords", check=letter_frequency, parameters=("letter", "relation", "n"),
            draw=lambda r: {"letter": r.choice("bkqvwxz"), "relation": _relation(r), "n": r.randint(3, 8)},
            says="Use the letter {letter} {relation} {n} times.", conflicts=frozenset({"one_of", "language"}),
        ),
        Constraint(
            name="language", group="language", check=response_language, parameters=("language",),
            draw=lambda r: {"language": r.choice(("de", "fr", "es", "it", "pt", "nl", "sv", "pl", "ru", "tr"))},
            says="Write the whole answer in the language with the code {language}.", conflicts=_ENGLISH_CASE | {"one_of"},
        ),
        Constraint(
            name="paragraphs", group="length", check=paragraph_count, parameters=("n", "separator"),
            draw=lambda r: {"n": r.randint(2, 5), "separator": "***"}, says="Write exactly {n} paragraphs divided by {separator}.",
            conflicts=frozenset({"paragraph_first_word", "json", "one_of"}),
        ),
        Constraint(
            name="words", group="length", check=word_count, parameters=("relation", "n"),
            draw=lambda r: {"relation": _relation(r), "n": r.randrange(60, 300, 20)}, says="Use {relation} {n} words.",
            conflicts=frozenset({"one_of"}),
        ),
        Constraint(
            name="sentences", group="length", check=sentence_count, parameters=("relation", "n"),
            draw=lambda r: {"relation": _relation(r), "n": r.randint(4, 12)}, says="Write {relation} {n} sentences.",
            conflicts=frozenset({"one_of", "json", "bullets"}),
        ),
        Constraint(
            name="paragraph_first_word", group="length", check=paragraph_first_word, parameters=("n", "nth", "word"),
            draw=lambda r: {"n": 4, "nth": r.randint(1, 4), "word": r.choice(_NOUNS)},
            says="Write {n} paragraphs divided by empty lines; paragraph {nth} begins with the word {word}.",
            conflicts=frozenset({"json", "one_of", "bullets", "sections", "forbidden_words", "language"}),
        ),
        Constraint(
            name="placeholders", group="content", check=placeholders, parameters=("n",), draw=lambda r: {"n": r.randint(1, 4)},
            says="Put in at least {n} placeholders in square brackets, such as [name].", conflicts=frozenset({"one_of"}),
        ),
        Constraint(
            name="postscript", group="content", check=postscript, parameters=("marker",),
            draw=lambda r: {"marker": r.choice(("P.S.", "P.P.S"))}, says="Add a postscript at the end that begins with {marker}",
            conflicts=frozenset({"json", "one_of", "end_phrase"}),
        ),
        Constraint(
            name="bullets", group="format", check=bullets, parameters=("n",), draw=lambda r: {"n": r.randint(2, 6)},
            says="Give exactly {n} bullet points, each a line that begins with * and a space.", conflicts=frozenset({"json", "one_of"}),
        ),
        Constraint(
            name="one_of", group="format", check=one_of, parameters=("options",),
            draw=lambda r: {"options": ["My answer is yes.", "My answer is no.", "My answer is maybe."]},
            says="Answer with one of these and nothing else: {options}",
            conflicts=_LENGTH_AND_FORMAT | _ENGLISH_CASE | {"end_phrase", "quotation"},
        ),
        Constraint(
            name="highlights", group="format", check=highlights, parameters=("n",), draw=lambda r: {"n": r.randint(1, 4)},
            says="Mark at least {n} passages with asterisks, *like this*.", conflicts=frozenset({"json", "one_of"}),
        ),
        Constraint(
            name="sections", group="format", check=sections, parameters=("word", "n"),
            draw=lambda r: {"word": r.choice(("Section", "Part")), "n": r.randint(2, 4)},
            says="Divide the answer into at least {n} sections, headed {word} 1, {word} 2 and so on.",
            conflicts=frozenset({"json", "one_of", "language"}),
        ),
        Constraint(
            name="json", group="format", check=json_document, parameters=(), draw=_none, says="Give the whole answer as one JSON document.",
            conflicts=frozenset(
                {"bullets", "title", "quotation", "paragraphs", "no_commas"}
                | {"all_capitals", "end_phrase", "highlights", "sections", "one_of"}
            ),
        ),
        Constraint(
            name="title", group="format", check=title, parameters=(), draw=_none, says="Give a title in angle brackets: <<title>>.",
            conflicts=frozenset({"json", "one_of"}),
        ),
        Constraint(
            name="capital_words", group="case", check=capital_words, parameters=("relation", "n"),
            draw=lambda r: {"relation": _relation(r), "n": r.randint(2, 6)}, says="Use {relation} {n} words in capitals.",
            conflicts=frozenset({"all_capitals", "all_lower", "language", "one_of"}),
        ),
        Constraint(
            name="all_capitals", group="case", check=all_capitals, parameters=(), draw=_none, says="Write in capital letters only.",
            conflicts=frozenset({"all_lower", "json", "language", "one_of", "end_phrase"}),
        ),
        Constraint(
            name="all_lower", group="case", check=all_lower, parameters=(), draw=_none, says="Write in lower-case letters only.",
            conflicts=frozenset({"all_capitals", "language", "one_of", "end_phrase", "postscript"}),
        ),
        Constraint(
            name="end_phrase", group="start and end", check=end_phrase, parameters=("phrase",),
            draw=lambda r: {"phrase": r.choice(("Is there anything else?", "That is all there is to say.", "Ask me again tomorrow."))},
            says="End with exactly these words: {phrase}", conflicts=frozenset({"quotation", "json", "one_of", "language"}),
        ),
        Constraint(
            name="quotation", group="start and end", check=quotation, parameters=(), draw=_none,
            says="Put the whole answer into double quotation marks.", conflicts=frozenset({"json", "end_phrase", "one_of"}),
        ),
        Constraint(
            name="no_commas", group="punctuation", check=no_commas, parameters=(), draw=_none, says="Do not use any commas.",
            conflicts=frozenset({"json"}),
        ),
    )  # fmt: skip
    return {one.name: one for one in listed}


CONSTRAINTS = _table()
"""Name to constraint; 23 in seven groups."""
