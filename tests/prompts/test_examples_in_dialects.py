"""The examples that planning answers with can be read in every dialect, as the replies of a model of that dialect are."""

import pytest

from tutelage.prompts import backward, critics, practice, questions, rewrite, solve
from tutelage.prompts.dialects import DIALECTS

each = pytest.mark.parametrize("dialect", DIALECTS.values(), ids=lambda d: d.name)


@each
def test_questions_and_worked_items(dialect):
    assert len(questions.parse_questions(dialect, questions.example(dialect))) == 5
    items = practice.parse_items(dialect, practice.example(3, dialect))
    assert len(items) == 3
    assert not set(items) & set(practice.parse_items(dialect, practice.example(4, dialect)))


@each
def test_rewritten_and_inverse_questions(dialect):
    for parse, kind in ((rewrite.parse_rephrase, "rewrite.rephrase"), (rewrite.parse_another, "rewrite.another")):
        read = [parse(dialect, rewrite.example(kind, serial, dialect)) for serial in (1, 2)]
        assert all(read)
        assert read[0] != read[1]
    read = [backward.parse_inverse_question(dialect, backward.example("backward.question", serial, dialect)) for serial in (1, 2)]
    assert all(read)
    assert read[0] != read[1]


@each
def test_critiques_with_a_score(dialect):
    read = critics.parse_evaluation(dialect, critics.example("critics.evaluation", 3, dialect))
    assert read is not None
    assert read.score == 5


@each
def test_solutions_differ_and_end_before_no_stop_of_the_dialect(dialect):
    texts = [solve.example(dialect, serial) for serial in (1, 2)]
    assert texts[0] != texts[1]
    assert not any(stop in text for stop in dialect.solution_stop for text in texts)
