from tutelage.capabilities import Completion, Sampling
from tutelage.generate.skills import OTHER, discover_skills
from tutelage.records import Problem

PROBLEMS = [Problem(text=t) for t in ("add 1", "add 2", "share 3", "share 4", "draw 5")]
GREEDY = Sampling(max_tokens=50)


class Namer:
    """Labels a question by its first word; groups and assigns as it is told."""

    def __init__(self, groups, assign=None, label=None):
        self.groups, self.assign, self.label = groups, assign, label or (lambda word: f"<skill>{word}_it</skill>")
        self.kinds = []

    def generate(self, prompts, sampling):
        replies = []
        for prompt in prompts:
            self.kinds.append(prompt.kind)
            word = next((p.text.split()[0] for p in PROBLEMS if f"\n{p.text}\n" in prompt.text), "")
            text = {
                "skills.label": lambda w=word: self.label(w),
                "skills.groups": lambda: self.groups,
                "skills.assign": lambda w=word: (self.assign or {}).get(w, "hm"),
            }[prompt.kind]()
            replies.append([Completion(text=text)])
        return replies


def discover(namer, **options):
    return discover_skills(namer, PROBLEMS, description="d", sampling=GREEDY, **({"at_most": 3} | options))


GROUPS = '<group name="sums">add_it</group><group name="shares">share_it</group><group name="pictures">draw_it</group>'


def test_every_problem_gets_the_group_that_it_is_assigned_to():
    namer = Namer(GROUPS, {"add": "<skill>sums</skill>", "share": "<skill>sums</skill>", "draw": "<skill>pictures</skill>"})
    found = discover(namer)
    assert list(found.skill.values()) == ["sums", "sums", "sums", "sums", "pictures"]
    assert (found.calls, found.unread) == (11, 0)
    assert namer.kinds == ["skills.label"] * 5 + ["skills.groups"] + ["skills.assign"] * 5


def test_an_assignment_that_cannot_be_read_keeps_the_group_of_the_label():
    found = discover(Namer(GROUPS))
    assert list(found.skill.values()) == ["sums", "sums", "shares", "shares", "pictures"]
    assert found.unread == 5


def test_small_groups_are_other():
    assert list(discover(Namer(GROUPS), least=2).skill.values()) == ["sums", "sums", "shares", "shares", OTHER]


def test_of_more_groups_than_asked_for_the_largest_stay():
    assert list(discover(Namer(GROUPS), at_most=2).skill.values()) == ["sums", "sums", "shares", "shares", OTHER]


def test_one_group_needs_no_assignment_and_no_readable_label_no_groups():
    one = Namer('<group name="all">add_it, share_it, draw_it</group>')
    assert set(discover(one).skill.values()) == {"all"}
    assert "skills.assign" not in one.kinds
    mute = Namer("", label=lambda word: "hm")
    found = discover(mute)
    assert set(found.skill.values()) == {OTHER}
    assert (found.calls, found.unread) == (5, 5)
