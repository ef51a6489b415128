from hypothesis import given
from hypothesis import strategies as st

from tutelage.generate.trees import Node
from tutelage.select.contrasts import Rule, by_difficulty, pair_of_samples, pair_of_tree

RULE = Rule(high=0.5, low=0.34)


def test_high_contrast_is_perfect_over_poor_and_low_is_good_over_nearly_as_good():
    replies = [("a", 1.0), ("b", 0.0), ("c", 0.67), ("d", 0.33), ("e", 1.0)]
    high, low = pair_of_samples(replies, "high", RULE), pair_of_samples(replies, "low", RULE)
    assert (high.chosen, high.rejected) == (("a", 1.0), ("b", 0.0))
    assert (low.chosen, low.rejected) == (("a", 1.0), ("c", 0.67))
    assert pair_of_samples([("a", 0.67), ("b", 0.0)], "high", RULE) is None, "the chosen one must be perfect"
    assert pair_of_samples([("a", 1.0), ("b", 1.0)], "low", RULE) is None, "ties give no pair"
    assert pair_of_samples([("a", 1.0), ("a", 0.5)], "high", RULE) is None, "one text is no pair"
    assert pair_of_samples([], "low", RULE) is None


@given(st.lists(st.tuples(st.text(max_size=2), st.sampled_from([0.0, 0.33, 0.67, 1.0])), max_size=6), st.sampled_from(["high", "low"]))
def test_pairs_keep_to_their_rule(replies, contrast):
    found = pair_of_samples(replies, contrast, RULE)
    if found is not None:
        assert found.chosen in replies
        assert found.rejected in replies
        assert RULE.fits(contrast, found.chosen[1], found.rejected[1])


def tree():
    """A root with two ways on; below the first, two more."""
    root = Node("")
    one, other = Node("x", depth=1, parent=root), Node("y", depth=1, parent=root)
    root.children = [one, other]
    deep = [Node("x a", depth=2, parent=one), Node("x b", depth=2, parent=one)]
    one.children = deep
    deep[0].credit("x a end", 1.0)
    deep[1].credit("x b end", 0.0)
    other.credit("y end", 0.33)
    return root


def test_siblings_share_the_text_of_their_parent():
    root = tree()
    high = pair_of_tree(root, "high", RULE, gap=0.2)
    assert (high.chosen[0], high.rejected[0], high.shared) == ("x a end", "x b end", "x")
    assert high.chosen[0].startswith(high.shared)
    assert high.rejected[0].startswith(high.shared)
    assert pair_of_tree(root, "high", RULE, gap=1.5) is None
    assert pair_of_tree(Node(""), "high", RULE, gap=0.0) is None


def test_siblings_below_the_root_share_no_text_and_make_no_pair():
    root = Node("")
    for text, reward in (("x", 1.0), ("y", 0.0)):
        child = Node(text, depth=1, parent=root)
        root.children.append(child)
        child.credit(f"{text} end", reward)
    assert pair_of_samples(root.finished, "high", RULE) is not None
    assert pair_of_tree(root, "high", RULE, gap=0.0) is None


def test_difficulty_in_thirds():
    assert by_difficulty([0.1, 0.9, 0.5]) == ["hard", "easy", "moderate"]
    assert by_difficulty([0.5] * 6) == ["easy", "easy", "moderate", "moderate", "hard", "hard"]
    assert by_difficulty([]) == []
    assert sorted(by_difficulty([float(i) for i in range(10)])) == ["easy"] * 4 + ["hard"] * 3 + ["moderate"] * 3
