import pytest

from tutelage import backends
from tutelage.backends import scripted
from tutelage.backends.scripted import Script, completion_in_words
from tutelage.capabilities import Sampling, Scores
from tutelage.records import Prompt


def test_a_script_has_the_methods_it_was_given_and_counts_its_rows():
    made = scripted.register(Script(name="counted", answer=lambda p, i, s: f"{p.text} {i}", dialect="folds"))
    ref = backends.resolve("scripted:counted")
    backend = backends.open_backend(ref)
    assert backends.facts(ref).dialect == "folds"
    assert not isinstance(backend, Scores)
    backend.generate([Prompt.user("a"), Prompt.user("b")], Sampling(max_tokens=9, temperature=1.0, n=3, seed=1))
    backend.generate([Prompt.user("a")], Sampling(max_tokens=9))
    assert made.calls == {"generate": 7}


def test_a_new_version_is_another_model():
    one = scripted.register(Script(name="versioned", answer=lambda p, i, s: "1"))
    first = backends.resolve("scripted:versioned")
    scripted.register(Script(name="versioned", answer=lambda p, i, s: "2", version="2"))
    assert backends.resolve("scripted:versioned").id != first.id
    assert one.version == "1"


@pytest.mark.parametrize(
    ("text", "most", "stop", "left", "finish"),
    [
        ("a  b\nc d", 3, (), "a  b\nc", "length"),
        ("a  b\nc d", 4, (), "a  b\nc d", "stop"),
        (" a b", 1, (), " a", "length"),
        ("a b => c", 9, ("=>", "zzz"), "a b ", "stop"),
        ("", 1, (), "", "stop"),
    ],
)
def test_words_are_the_tokens_of_a_script(text, most, stop, left, finish):
    answer = completion_in_words(Prompt.user("x y"), text, Sampling(max_tokens=most, stop=stop))
    assert (answer.text, answer.finish, answer.prompt_tokens) == (left, finish, 2)
    assert answer.completion_tokens == len(left.split())
