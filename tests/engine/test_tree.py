from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from tutelage.engine.tree import MIN_SAVING, Plan, cut, plan_tree

ids = st.lists(st.integers(0, 2), min_size=1, max_size=30).map(tuple)
families = st.lists(st.tuples(st.sampled_from([0, 5, 14, 30]), ids), min_size=1, max_size=20).map(
    lambda rows: [tuple(range(n)) + tail for n, tail in rows]
)


def _whole(plan: Plan, requests, leaf):
    """The tokens that a leaf stands for, put together from its trunks."""
    body = requests[leaf.request][leaf.start :]
    trunk = leaf.trunk
    while trunk is not None:
        assert plan.trunks[trunk].end == len(requests[leaf.request]) - len(body)
        body = plan.trunks[trunk].ids + body
        trunk = plan.trunks[trunk].parent
    return body


@given(requests=families, tail=st.integers(1, 4), least=st.integers(1, 12))
def test_leaves_and_their_trunks_spell_every_request_once(requests, tail, least):
    ends = [min(tail, len(r)) for r in requests]
    plan = plan_tree(requests, open_ends=ends, min_trunk=least)
    assert sorted(leaf.request for leaf in plan.leaves) == list(range(len(requests)))
    for leaf in plan.leaves:
        assert _whole(plan, requests, leaf) == requests[leaf.request]
        assert len(requests[leaf.request]) - leaf.start >= ends[leaf.request]
    for index, trunk in enumerate(plan.trunks):
        assert len(trunk.ids) >= least
        assert trunk.parent is None or trunk.parent < index
        users = [leaf for leaf in plan.leaves if leaf.trunk == index] + [t for t in plan.trunks if t.parent == index]
        assert users
    on = [leaf.trunk for leaf in plan.leaves]
    assert sum(a != b for a, b in pairwise(on)) == len(set(on)) - 1, "leaves of one trunk stand together"
    assert plan.tokens(requests) <= sum(map(len, requests))


def test_one_shot_scoring_encodes_every_demonstration_once():
    demos = [tuple(range(100 * d, 100 * d + 40)) for d in range(8)]
    probes = [tuple(range(5000 + 20 * p, 5000 + 20 * p + 20)) for p in range(16)]
    plan = plan_tree([d + p for d in demos for p in probes])
    assert len(plan.trunks) == 8
    assert plan.tokens([d + p for d in demos for p in probes]) == 8 * 40 + 8 * 16 * 20


def test_nested_prefixes_make_nested_trunks():
    head = tuple(range(50))
    demos = [(*head, *range(100 * d, 100 * d + 40)) for d in range(1, 5)]
    requests = [(*d, 9000 + p, 1) for d in demos for p in range(8)]
    plan = plan_tree(requests)
    assert [t.level for t in plan.trunks].count(0) == 1
    assert [t.level for t in plan.trunks].count(1) == 4
    assert plan.tokens(requests) == 50 + 4 * 40 + 32 * 2


def test_a_level_that_saves_next_to_nothing_is_not_worth_a_pass():
    head = tuple(range(60))
    requests = [(*head, 100 + r, *range(40)) for r in range(40)]
    requests += [(*head, 7, *range(40, 53), 1), (*head, 7, *range(40, 53), 2)]  # two that share 14 tokens more
    assert MIN_SAVING * sum(map(len, requests)) > 14
    plan = plan_tree(requests)
    assert [len(t.ids) for t in plan.trunks] == [60]
    assert all(_whole(plan, requests, leaf) == requests[leaf.request] for leaf in plan.leaves)


@given(requests=families, budget=st.integers(1, 200), extra=st.integers(0, 9))
def test_cutting_keeps_every_request_and_the_budget(requests, budget, extra):
    parts = list(cut(requests, extra=extra, budget=budget))
    assert sorted(i for part in parts for i in part) == list(range(len(requests)))
    for part in parts:
        distinct = {requests[i][:n] for i in part for n in range(1, len(requests[i]) + 1)}
        assert len(part) == 1 or len(distinct) + extra * len(part) <= budget


def test_nothing_asked_is_nothing_planned():
    assert plan_tree([]) == Plan(trunks=(), leaves=())
    assert list(cut([], extra=1, budget=10)) == []
