"""Tree search over the text of an answer: partial answers are gone on with, rolled out to their end, and valued by the mean reward of what
came of them. The trees of all prompts grow in step, so that a model is asked about all of them at once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from tutelage.capabilities import Completion, Generates, Sampling
from tutelage.prompts.constrained import going_on
from tutelage.records import Prompt

Draw = Callable[[str, int, int], Sampling]
"""(name of the stream, most tokens, samples) -> sampling."""


@dataclass(slots=True, eq=False)
class Node:
    """A partial answer. Its children go on with it in different ways."""

    text: str
    depth: int = 0
    done: bool = False
    """Whether the answer ended here."""
    parent: Node | None = None
    children: list[Node] = field(default_factory=list)
    visits: int = 0
    total: float = 0.0
    finished: list[tuple[str, float]] = field(default_factory=list)
    """Whole answers that were rolled out from here or further on, with their rewards."""

    @property
    def value(self) -> float:
        """V: the mean reward of what came of it; 0 where nothing did yet."""
        return self.total / self.visits if self.visits else 0.0

    def walk(self) -> Iterator[Node]:
        """This node and all below it, parents first."""
        yield self
        for child in self.children:
            yield from child.walk()

    def credit(self, answer: str, reward: float) -> None:
        """An answer that was rolled out from here counts for every node on the way."""
        node: Node | None = self
        while node is not None:
            node.visits += 1
            node.total += reward
            node.finished.append((answer, reward))
            node = node.parent


def grow_trees(
    model: Generates,
    prompts: Sequence[Prompt],
    *,
    reward: Callable[[int, str], float],
    draw: Draw,
    width: int,
    depth: int,
    simulations: int,
    segment_tokens: int,
    max_tokens: int,
    c_puct: float = 1.0,
    between: str = "",
) -> list[Node]:
    """One tree per prompt. `reward` takes the prompt's number and a whole answer. Every simulation walks down by PUCT, adds up to `width`
    different segments below the leaf, and rolls each out once. `between` stands between a partial answer and what goes on with it."""
    roots = [Node("") for _ in prompts]
    for simulation in range(simulations):
        leaves = [_leaf(root, c_puct) for root in roots]
        growing = [i for i, leaf in enumerate(leaves) if not leaf.done and leaf.depth < depth]
        for i in set(range(len(roots))) - set(growing):
            if leaves[i].finished:
                leaves[i].credit(*leaves[i].finished[0])
        asked = [going_on(prompts[i], leaves[i].text) for i in growing]
        segments = model.generate(asked, draw(f"segments {simulation}", segment_tokens, width)) if asked else []
        new: list[tuple[int, Node]] = []
        for i, group in zip(growing, segments, strict=True):
            new += [(i, child) for child in _grown(leaves[i], group, between)]
        open_ = [(i, child) for i, child in new if not child.done]
        asked = [going_on(prompts[i], child.text) for i, child in open_]
        ends = model.generate(asked, draw(f"rollouts {simulation}", max_tokens, 1)) if asked else []
        answers = {id(child): _joined(child.text, end[0].text, between) for (_, child), end in zip(open_, ends, strict=True)}
        for i, child in new:
            answer = answers.get(id(child), child.text)
            child.credit(answer, reward(i, answer))
    return roots


def _leaf(node: Node, c_puct: float) -> Node:
    """argmax Q(s, a) + c_puct P(s, a) sqrt(sum_b N(s, b)) / (1 + N(s, a)), P even, down to a node without children."""
    while node.children:
        seen = math.sqrt(sum(child.visits for child in node.children))
        prior = 1 / len(node.children)
        node = max(node.children, key=lambda child: child.value + c_puct * prior * seen / (1 + child.visits))
    return node


def _grown(leaf: Node, segments: Sequence[Completion], between: str) -> list[Node]:
    """Different ways of going on; nothing where the model says nothing more, which ends the answer here."""
    texts: dict[str, bool] = {}
    for segment in segments:
        if segment.finish in ("stop", "length") and segment.text.strip():
            text = _joined(leaf.text, segment.text, between)
            texts[text] = texts.get(text, False) or segment.finish == "stop"
    leaf.children = [Node(text, depth=leaf.depth + 1, done=done, parent=leaf) for text, done in texts.items()]
    if not leaf.children:
        leaf.done = True
    return leaf.children


def _joined(before: str, after: str, between: str) -> str:
    return f"{before}{between}{after.strip() if between else after}" if before and after.strip() else before + after
