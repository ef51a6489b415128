from hypothesis import given
from hypothesis import strategies as st

from tutelage.seeds import derive, stream

name = st.text(st.characters(codec="utf-8", exclude_characters="\x1f"), max_size=12)


def test_seeds_are_the_same_on_every_machine():
    assert derive(0, "pairs") == 3125226779785551450
    assert [stream(0, "pairs").randint(0, 99) for _ in range(2)] == [stream(0, "pairs").randint(0, 99)] * 2


@given(st.integers(0, 2**40), st.lists(name, max_size=4))
def test_a_seed_is_a_63_bit_number(seed, names):
    assert 0 <= derive(seed, *names) < 2**63


@given(st.lists(st.tuples(st.integers(0, 50), st.lists(name, min_size=1, max_size=3).map(tuple)), min_size=2, max_size=12, unique=True))
def test_different_seeds_or_names_give_different_streams(places):
    assert len({derive(seed, *names) for seed, names in places}) == len(places)


def test_names_are_not_glued_together():
    assert derive(1, "ab", "c") != derive(1, "a", "bc")
    assert derive(1, "1") != derive(11, "")
    assert derive(1) != derive(1, "")


def test_a_draw_in_one_stream_does_not_move_another():
    alone = stream(3, "pairs").random()
    other = stream(3, "examples")
    other.random()
    again = stream(3, "pairs")
    assert again.random() == alone
    assert stream(3, "examples").random() != alone


def test_two_streams_are_unrelated():
    a, b = stream(0, "a"), stream(0, "b")
    xs, ys = [a.random() for _ in range(4000)], [b.random() for _ in range(4000)]
    mean_x, mean_y = sum(xs) / 4000, sum(ys) / 4000
    covariance = sum((x - mean_x) * (y - mean_y) for x, y in zip(xs, ys, strict=True)) / 4000
    # A correlation of independent uniform draws has a standard error of 1/sqrt(4000) = 0.016.
    assert abs(covariance * 12) < 4 / 4000**0.5
