"""Models that follow instructions, for tests of recipes on real tasks: they answer every prompt in the form that it asks for.

They know the answers to the questions of a task and to those that they wrote themselves. What they write anew is a question they were
shown in other words, with the solution that they were shown: so a prompt that shows no solution gets none back.
"""

from __future__ import annotations

import inspect
import json
import re
import zlib
from dataclasses import replace
from importlib import import_module

from tutelage.capabilities import Completion, TokenScores
from tutelage.prompts.dialects import ENGLISH
from tutelage.prompts.practice import WorkedItem, parse_items, write_items
from tutelage.prompts.questions import parse_questions
from tutelage.records import Problem
from tutelage.verify.choice import listed_options, place_of


def head_of(question):
    """The question without its options."""
    return question.partition("\nOptions:")[0]


def in_other_words(question, number):
    """A question of the same form that shares no two words in a row with it; options stay."""
    words = [word if place % 2 else f"{word}{number}" for place, word in enumerate(head_of(question).split())]
    return " ".join(words) + question.removeprefix(head_of(question))


def last_number(pattern, text):
    return int(re.findall(pattern, text)[-1])


def inside(tag, text):
    """What stands between the last pair of tags; empty without one."""
    found = re.findall(rf"<{tag}>\n?(.*?)\n?</{tag}>", text, flags=re.DOTALL)
    return found[-1] if found else ""


class Tutor:
    """Right about all that it knows."""

    def __init__(self, task):
        self.task = task
        self.known = {head_of(p.text): p for p in (*task.seed, *task.train, *task.validation, *task.test)}
        """By the question without its options."""
        self.answers = sorted({p.answer for p in self.known.values()})
        self.written = 0
        self.asked = 0

    def generate(self, prompts, sampling):
        return [[Completion(text=self.reply(prompt, index)) for index in range(sampling.n)] for prompt in prompts]

    def score(self, prompts, completions):
        """Of its own answer every word is likely; of another none is."""
        rows = []
        for prompt, text in zip(prompts, completions, strict=True):
            problem = self.about(prompt.text)
            likely = text == problem.answer or self.task.verify(problem, text).right
            rows.append(TokenScores(logprobs=(-0.1 if likely else -2.0,) * max(1, len(text.split()))))
        return rows

    def embed(self, texts):
        return [tuple(float(zlib.crc32(text.encode()) >> shift & 255) for shift in (0, 8, 16)) for text in texts]

    def classify(self, texts):
        """Half the mass on what it takes to be right, the rest on all."""
        labels = self.task.labels or tuple(sorted({p.answer for p in (*self.task.seed, *self.task.train, *self.task.validation)}))
        said = [self.said(self.known[head_of(text)], 0) for text in texts]
        return [tuple(0.5 * (label == answer) + 0.5 / len(labels) for label in labels) for answer in said]

    def reward(self, prompts, completions):
        """High for a response that is right, whatever is said of it."""
        rewards = []
        for prompt, text in zip(prompts, completions, strict=True):
            problem = self.about(inside("instruction", prompt.text) or prompt.text)
            rewards.append(float(self.task.verify(problem, inside("response", prompt.text) or text).right))
        return rewards

    def about(self, text):
        """The known question that stands last in the text, with its options as they are listed there."""
        end, head = max((text.rfind(head) + len(head), head) for head in self.known if head in text)
        problem = self.known[head]
        if problem.text in text:
            return problem
        # Its options were dealt anew, and the letter of the answer with them.
        listed = text[end:].partition("\n\n")[0]
        before, now = listed_options(problem.text), listed_options(listed)
        place = now.index(before[place_of(problem.answer, before)[0]])
        answer = f"({chr(ord('A') + place)})" if problem.answer.startswith("(") else now[place]
        return replace(problem, text=head + listed, answer=answer, choices=())

    def said(self, problem, index):
        """The answer that it gives."""
        return problem.answer

    def worked(self, problem, index, asked):
        """A solution; behind another prompt it has other words."""
        way = zlib.crc32(asked.encode()) % 1000 + index
        return f"Let me see, way {way}.\nThat settles it.\n{self.task.answer_only(self.said(problem, way))}"

    def anew(self, question):
        """Another question like this, with the same answer."""
        self.written += 1
        shown = self.about(question)
        made = Problem(text=in_other_words(question, self.written), answer=shown.answer, skill=shown.skill)
        self.known[head_of(made.text)] = made
        return made

    def reply(self, prompt, index):
        self.asked += 1
        room, _, form = prompt.kind.partition(".")
        write = getattr(self, f"on_{room}", None)
        if write is not None:
            return write(prompt, prompt.messages[-1].content, form, index)
        example = import_module(f"tutelage.prompts.{room}").example
        given = {"kind": prompt.kind, "serial": self.asked}
        return example(**{name: given[name] for name in inspect.signature(example).parameters})

    def on_solve(self, prompt, asked, form, index):
        return self.worked(self.about(prompt.text), index, prompt.text)

    on_refine = on_solve

    def on_questions(self, prompt, asked, form, index):
        shown = parse_questions(ENGLISH, asked)
        made = [self.anew(shown[i % len(shown)].question) for i in range(last_number(r"Write (\d+) more", asked))]
        return "\n".join(ENGLISH.item.format(id=700 + i, question=p.text, answer=p.answer) for i, p in enumerate(made))

    def on_practice(self, prompt, asked, form, index):
        shown = parse_items(ENGLISH, prompt.text)
        turns = [shown[i % len(shown)] for i in range(last_number(r"Write (\d+)", asked))]
        return write_items(ENGLISH, [WorkedItem(self.anew(item.question).text, item.solution) for item in turns])

    def on_rewrite(self, prompt, asked, form, index):
        question = self.anew(inside("given", asked)).text
        if form == "another":
            return f"<draft>{question}</draft>\n<check>It can be answered.</check>\n<final>\n{question}\n</final>"
        return f"<rephrased>\n{question}\n</rephrased>"

    def on_backward(self, prompt, asked, form, index):
        if form == "check":
            return "It is given. <consistent>True</consistent>"
        return f"<question>{self.anew(self.about(asked).text).text}</question>"

    def on_critique(self, prompt, asked, form, index):
        problem = self.about(inside("question", asked))
        right = self.task.verify(problem, inside("solution", asked)).right
        own = Tutor.worked(self, problem, index, asked).rpartition("\n")[2]
        return f"It is about what is asked.\n{own}\nConclusion: {'right' if right else 'wrong'}"

    def on_critics(self, prompt, asked, form, index):
        right = self.task.verify(self.about(inside("instruction", asked)), inside("response", asked)).right
        if form in ("evaluation", "judged"):
            return f"Way {index}: the work is {'sound' if right else 'unsound'}.\n<score>{8 if right else 3}</score>"
        return "<rating>7</rating>" if form == "rating" else "<critique>The work was looked at.</critique>"

    def on_feedback(self, prompt, asked, form, index):
        own = self.worked(self.about(asked), index, asked)
        return f"<opinion>incorrect</opinion>\n<reason>I doubt it.</reason>\n<phrase>{own}</phrase>"

    def on_constrained(self, prompt, asked, form, index):
        if form == "merge":
            return f"<prompt>{inside('task', asked)}\n\n{inside('constraints', asked)}</prompt>"
        said = self.on_solve(prompt, asked, form, index)
        forms = (said, said.upper().replace("ANS>", "ans>"), f"* First\n* Then, {said}", f"{'So it goes. ' * 30}\n\n{said}")
        return forms[index % len(forms)]

    def on_tutoring(self, prompt, asked, form, index):
        models = self.task.seed
        made = [self.anew(models[i % len(models)].text) for i in range(int(form.partition(".")[0]))]
        return json.dumps([{"text": p.text, "label": p.answer} for p in made])


class Learner(Tutor):
    """Answers in the asked form, right in every second draw; which draws these are follows from all that it was asked."""

    def __init__(self, task, tutor):
        super().__init__(task)
        self.known = tutor.known  # what the tutor wrote is put to it, too

    def said(self, problem, index):
        if (len(problem.text) + index) % 2 == 0:
            return problem.answer
        verdicts = {a: self.task.verify(problem, self.task.answer_only(a)) for a in self.answers}
        return next(a for a, verdict in verdicts.items() if verdict.parsed and not verdict.right)
