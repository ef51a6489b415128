import itertools
import random

import pytest

from tutelage.errors import DataError
from tutelage.records import Problem
from tutelage.verify.constraints import CONSTRAINTS, compatible, constraints, draw_compatible, holds, instruction
from tutelage.verify.counting import sentences_of, words_of
from tutelage.verify.language import LANGUAGES, language_of

# Name, parameters, texts that satisfy it, texts that do not. The last of each list is ugly.
CASES = [
    (
        "include_keywords",
        {"keywords": ["river", "sea bed"]},
        ["The River meets the sea bed.", "**river**,sea\n bed"],
        ["The rivers meet the sea bed.", "river", ""],
    ),
    (
        "keyword_frequency",
        {"keyword": "sun", "relation": "at least", "n": 2},
        ["Sun, sun.", "SUN/sun/sun"],
        ["Sun and sunset.", "sun_sun sundown"],
    ),
    ("keyword_frequency", {"keyword": "sun", "relation": "less than", "n": 2}, ["One sun.", "moonlight"], ["sun sun", "Sun's sun"]),
    ("keyword_frequency", {"keyword": "sun", "relation": "exactly", "n": 1}, ["A sun."], ["sun sun", "moon"]),
    ("forbidden_words", {"words": ["bad", "very ill"]}, ["A badger.", "very  well"], ["Bad!", "very\nill"]),
    ("letter_frequency", {"letter": "Q", "relation": "at least", "n": 2}, ["quick Queen", "qq"], ["queen", "o0"]),
    (
        "language",
        {"language": "de"},
        ["Der Hund ist nicht im Garten und die Katze schläft.", "Ich weiß, daß die Straße nicht breit ist."],
        ["The dog is in the garden and sleeps.", "ok", "Hund Katze Maus Elefant"],
    ),
    (
        "paragraphs",
        {"n": 2, "separator": "***"},
        ["One.\n***\nTwo.", "One.\n\nstill one\n *** \nTwo.\n***\n"],
        ["One.\n\nTwo.", "One *** two", "***\n***"],
    ),
    ("paragraphs", {"n": 2, "separator": "blank"}, ["One.\n\nTwo.", "\n\nOne.\n \n\n\nTwo.\n"], ["One.\nTwo.", "a\n\nb\n\nc"]),
    ("words", {"relation": "at least", "n": 3}, ["one two three", "state-of-the-art isn't 3.5"], ["one two", "- - - one ... two !"]),
    ("words", {"relation": "less than", "n": 3}, ["one two", "1,000,000 don't"], ["a b c", "猫は家"]),
    (
        "sentences",
        {"relation": "exactly", "n": 2},
        ["One. Two!", "Dr. J. Smith paid 3.50 dollars, e.g. in May. Then he left...", "Really?! Yes"],
        ["One.", "1. First thing. 2. Second. And a third.", "a.b.c"],
    ),
    (
        "sentences",
        {"relation": "at least", "n": 3},
        ["A cat. A dog. A cow.", "It costs 12. I pay. Fine.", "猫です。犬です。鳥です。"],
        ["A cat, a dog; a cow.", "Mr. Fox met Mrs. Hen."],
    ),
    (
        "paragraph_first_word",
        {"n": 2, "nth": 2, "word": "then"},
        ["First.\n\nThen second.", 'a\n\n\n"THEN, well"'],
        ["Then.\n\nFirst.", "a\n\nthen\n\nb", "a\n\nthenceforth"],
    ),
    ("placeholders", {"n": 2}, ["Dear [name], on [date].", "[a][b]"], ["Dear [name].", "[link](http://x) [ok] []"]),
    ("postscript", {"marker": "P.S."}, ["Bye.\nP.S. Call me.", "Bye.\n\n**P. S.:** call"], ["P.S. Only this.", "Bye. P.S.", "Bye.\nP.S."]),
    ("bullets", {"n": 2}, ["* a\n* b", "Intro\n  - a\n  • b\n"], ["* a", "*a*\n**b**\n- \n1. c", "* a\n* b\n* c"]),
    (
        "one_of",
        {"options": ["My answer is yes.", "My answer is no."]},
        ["My answer is yes.", '"my answer is NO"\n'],
        ["My answer is yes. Or no.", "yes", "My answer is yes and no"],
    ),
    (
        "highlights",
        {"n": 2},
        ["*one* and **two**", "* item *one*\n* item _two_"],
        ["*one*", "2 * 3 * 4", "* a\n* b", "snake_case_name and ** x **"],
    ),
    (
        "sections",
        {"word": "Section", "n": 2},
        ["Section 1\na\nSection 2\nb", "## SECTION 1: x\na\n\n**Section 2**\nb"],
        ["no sections here", "Section 1\na", "Section 1\na\nSection 3\nb", "Section 1\nSection 2\nb"],
    ),
    ("json", {}, ['{"a": [1, null]}', "```json\n[1]\n```"], ["{'a': 1}", '{"a": NaN}', "3", '{"a": 1} and more', "[" * 20000]),
    ("title", {}, ["<<A title>>\ntext", "x << y >> z"], ["<A title>", "<<>>", "<<  >>", "<<a\nb>>"]),
    ("capital_words", {"relation": "at least", "n": 2}, ["NASA and ESA", "USA-EU AI2"], ["I Am A NASA man", "A I"]),
    ("capital_words", {"relation": "less than", "n": 1}, ["I am fine"], ["OK then"]),
    ("all_capitals", {}, ["ALL GOOD 100%!", "ÄÖ"], ["ALL good", "123", "Straße"]),
    ("all_lower", {}, ["all good 100%!", "straße"], ["All good", "123"]),
    (
        "end_phrase",
        {"phrase": "That is all."},
        ["Well. That is all.", "That is all.\n\n", 'He said "That is all."'],
        ["That is all. Bye.", "that is all.", "That is all"],
    ),
    ("quotation", {}, ['"All of it."', " “All of it.” "], ['"All" of it', '"', '""', "'x'"]),
    ("no_commas", {}, ["No comma here; none.", "1.000"], ["One, two", "1,000", "一，二", "أ، ب"]),
]


def test_the_cases_cover_all_twenty_three():
    assert len(CONSTRAINTS) == 23
    assert {case[0] for case in CASES} == set(CONSTRAINTS)
    assert sorted({c.group for c in CONSTRAINTS.values()}) == [
        "case",
        "content",
        "format",
        "keywords",
        "language",
        "length",
        "punctuation",
        "start and end",
    ]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case[0])
def test_texts_that_satisfy_and_texts_that_do_not(case):
    name, parameters, good, bad = case
    wanted = {"name": name, **parameters}
    assert [text for text in good if not holds(text, wanted)] == []
    assert [text for text in bad if holds(text, wanted)] == []


def test_an_empty_text_satisfies_nothing():
    rng = random.Random(0)
    for name, constraint in CONSTRAINTS.items():
        for text in ("", "  \n"):
            assert not holds(text, {"name": name, **constraint.draw(rng)})


def test_the_verdict_is_the_share_that_holds():
    wanted = [{"name": "no_commas"}, {"name": "words", "relation": "at least", "n": 3}, {"name": "title"}]
    problem = Problem(text="q", context={"constraints": wanted})
    verdict = constraints(problem, "one two three")
    assert verdict.score == pytest.approx(2 / 3)
    assert verdict.reason == "fails title"
    assert not verdict.right
    assert constraints(problem, "<<one two three>>").right
    assert not constraints(problem, " ").parsed
    assert not constraints(Problem(text="q"), "x").parsed


def test_every_constraint_can_be_drawn_and_said():
    rng = random.Random(1)
    for name, constraint in CONSTRAINTS.items():
        drawn = constraint.draw(rng)
        assert set(drawn) == set(constraint.parameters)
        said = instruction({"name": name, **drawn})
        assert "{" not in said
        assert len(said) > 15


def test_sets_are_drawn_without_conflicts():
    for seed in range(200):
        drawn = draw_compatible(random.Random(seed), 1 + seed % 8)
        assert len(drawn) >= 1
        for one, other in itertools.combinations(drawn, 2):
            assert compatible(one["name"], other["name"])
    for one, constraint in CONSTRAINTS.items():
        assert constraint.conflicts <= set(CONSTRAINTS)
        assert not compatible(one, one)
    assert not compatible("all_capitals", "all_lower")
    assert not compatible("no_commas", "json")


def test_wrong_use_is_named():
    with pytest.raises(DataError, match="did you mean 'words'"):
        holds("x", {"name": "word"})
    with pytest.raises(DataError, match="other parameters"):
        holds("x", {"name": "words", "n": 3})
    with pytest.raises(DataError, match="relation"):
        holds("x", {"name": "words", "relation": "around", "n": 3})


def test_words_and_sentences():
    assert words_of("It's 3.5 km, state-of-the-art — 1,000 x!") == ["It's", "3.5", "km", "state-of-the-art", "1,000", "x"]
    assert sentences_of("Mr. J. Fox came at 5 p.m. He left. ") == ["Mr. J. Fox came at 5 p.m.", "He left."]
    assert sentences_of('She said "Stop!" Then silence…') == ['She said "Stop!"', "Then silence…"]
    assert sentences_of("...") == []


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("en", "The cat is not in the house but the dogs are."),
        ("de", "Die Katze ist nicht im Haus, aber die Hunde sind es."),
        ("fr", "Le chat n'est pas dans la maison mais les chiens sont là."),
        ("es", "El gato no está en la casa pero los perros sí."),
        ("pt", "O gato não está em casa, mas os cães estão no jardim."),
        ("it", "Il gatto non è in casa ma i cani sono nel giardino."),
        ("nl", "De kat is niet in het huis maar de honden wel."),
        ("sv", "Katten är inte i huset men hundarna är i trädgården."),
        ("pl", "Kot nie jest w domu, ale psy są w ogrodzie."),
        ("ru", "Кот не в доме, а собаки в саду."),
        ("uk", "Кіт не в домі, але собаки в саду є."),
        ("tr", "Kedi evde değil ama köpekler bahçede ve çok mutlu."),
        ("fi", "Kissa ei ole talossa mutta koirat ovat siellä ja se on hyvä."),
        ("cs", "Kočka není v domě, ale psi jsou na zahradě a je to tak."),
        ("ja", "猫は家にいません。"),
        ("zh", "这只猫不在家里。"),
        ("ko", "고양이는 집에 없습니다."),
        ("el", "Η γάτα δεν είναι στο σπίτι."),
        ("he", "החתול לא בבית."),
        ("ar", "القطة ليست في البيت."),
        ("hi", "बिल्ली घर में नहीं है।"),
        (None, "hello"),
        (None, "1 2 3 4 5"),
        (None, ""),
        (None, "foo bar baz qux"),
    ],
)
def test_languages(language, text):
    assert language_of(text) == language
    assert language is None or language in LANGUAGES
