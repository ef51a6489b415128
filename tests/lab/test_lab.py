import math
from dataclasses import fields, replace

import orjson
import pytest
from counting_lab import ABLE, FACTS, REF, TASK, Trainer, lab

from tutelage.capabilities import Sampling
from tutelage.errors import CapabilityError, InternalError, SettingsError, StorageError
from tutelage.objectives import cross_entropy, dpo
from tutelage.records import Example, Origin, Pair, Problem, Prompt
from tutelage.train import FitSettings, Fixed, Lora, Reference

# -- what a recipe may see -----------------------------------------------------------------------------------------------------


def test_the_test_rows_are_out_of_the_recipes_reach(tmp_path):
    made, _, _ = lab(tmp_path)
    assert made.task.test == ()
    assert made.task.seed == TASK.seed


def test_roles_are_there_in_their_names_and_opened_by_their_refs(tmp_path):
    models = {"teacher": (REF, FACTS), "pool0": (replace(REF, digest="p0"), FACTS), "pool1": (replace(REF, digest="p1"), FACTS)}
    made, _, opened = lab(tmp_path, models=models)
    assert made.teacher.id == REF.id
    assert [role.ref.digest for role in made.pool] == ["p0", "p1"]
    assert set(opened) == set(models)
    assert made.teacher.wording.dialect.name == "folds"


def test_a_role_that_this_run_has_not_names_the_option(tmp_path):
    made, _, _ = lab(tmp_path, models={"student": (REF, FACTS)})
    with pytest.raises(CapabilityError, match="this run has no teacher\n  fix: add --teacher MODEL"):
        made.teacher  # noqa: B018


@pytest.mark.parametrize(
    ("capability", "call"),
    [
        ("generate", lambda role: role.generate([Prompt.user("q")], Sampling(max_tokens=3))),
        ("score", lambda role: role.score([Prompt.user("q")], ["a"])),
        ("embed", lambda role: role.embed(["a"])),
    ],
)
def test_a_capability_is_refused_by_name_where_the_model_lacks_it_and_works_where_it_has_it(tmp_path, capability, call):
    made, _, opened = lab(tmp_path, models={"student": (REF, replace(FACTS, capabilities=ABLE - {capability}))})
    with pytest.raises(CapabilityError, match=f"the student cannot {capability}") as refusal:
        call(made.student)
    assert refusal.value.got == REF.name
    assert "choose a model or an arm" in str(refusal.value.fix)
    assert opened["student"].asked == [], "refused before the model was asked"
    able, _, _ = lab(tmp_path)
    assert len(call(able.student)) == 1


def test_a_model_raised_on_an_unknown_dialect_is_refused(tmp_path):
    with pytest.raises(
        SettingsError, match=r"'hf:/models/a' asks for a prompt dialect that does not exist\n  got: fold\n  fix: did you mean 'folds'"
    ):
        lab(tmp_path, models={"student": (REF, replace(FACTS, dialect="fold"))})


# -- randomness ----------------------------------------------------------------------------------------------------------------


def test_arms_share_streams_and_seeds_do_not(tmp_path):
    main, _, _ = lab(tmp_path, arm="main")
    other, _, _ = lab(tmp_path, arm="other")
    fresh, _, _ = lab(tmp_path, seed=1)
    draw = dict(max_tokens=9, temperature=1.0)
    assert main.sampling("drafts", **draw) == other.sampling("drafts", **draw)
    assert main.sampling("drafts", **draw).seed != fresh.sampling("drafts", **draw).seed
    assert main.sampling("drafts", **draw).seed != main.sampling("tailored", **draw).seed
    assert main.rng("pairs").random() == other.rng("pairs").random()
    assert main.rng("pairs").random() != main.rng("examples").random()
    assert main.rng("pairs", "a").random() != main.rng("pairs", "b").random()


def test_greedy_sampling_has_no_seed_so_that_seeds_share_its_answers(tmp_path):
    one, _, _ = lab(tmp_path, seed=0)
    other, _, _ = lab(tmp_path, seed=1)
    assert one.sampling("evaluate", max_tokens=9).seed is None
    assert one.sampling("a", max_tokens=9) == other.sampling("b", max_tokens=9)


def test_sampling_is_passed_on_as_it_was_asked_for(tmp_path):
    made, _, _ = lab(tmp_path)
    sampling = made.sampling("x", max_tokens=9, temperature=0.5, n=3, top_p=0.9, stop=["\n"])
    assert (sampling.max_tokens, sampling.temperature, sampling.n, sampling.top_p, sampling.stop) == (9, 0.5, 3, 0.9, ("\n",))


# -- the journal ---------------------------------------------------------------------------------------------------------------


def test_what_is_kept_is_written_and_handed_on(tmp_path):
    made, journal, _ = lab(tmp_path)
    problems = [Problem(text="q", origin=Origin(step="drafts"))]
    kept = made.keep("drafts", problems)
    assert kept == problems
    assert kept is not problems, "changing the list afterwards must not change what was kept"
    assert journal.records("drafts") == problems
    assert made.kept == ("drafts",)


def test_a_name_is_kept_once(tmp_path):
    made, journal, _ = lab(tmp_path)
    made.keep("drafts", [Problem(text="q")])
    with pytest.raises(InternalError, match="keeps one name once\n  got: drafts"):
        made.keep("drafts", [])
    assert journal.records("drafts") == [Problem(text="q")]


def test_yields_and_notes_are_events(tmp_path):
    made, journal, _ = lab(tmp_path)
    made.tally("drafts", asked=10, parsed=8, kept=5, dropped={"repeat": 3})
    made.tally("pairs", asked=1, parsed=1, kept=1)
    made.note("reliability", {"value": 0.5, "lost": math.nan})
    assert journal.events()[1:] == [
        {"event": "yield", "step": "drafts", "asked": 10, "parsed": 8, "kept": 5, "dropped": {"repeat": 3}},
        {"event": "yield", "step": "pairs", "asked": 1, "parsed": 1, "kept": 1, "dropped": {}},
        {"event": "note", "name": "reliability", "value": {"value": 0.5, "lost": None}},
    ]


def test_answers_come_from_the_worlds_solver_where_there_is_one(tmp_path):
    claimed = [Problem(text="good", answer="wrong claim"), Problem(text="bad", answer="claim")]
    plain, _, _ = lab(tmp_path)
    assert plain.answer_key(claimed) == claimed
    solved, _, _ = lab(tmp_path, task=replace(TASK, solve=lambda p: "right" if p.text == "good" else None))
    assert [p.answer for p in solved.answer_key(claimed)] == ["right", None]


# -- training ------------------------------------------------------------------------------------------------------------------

EXAMPLES = [Example(prompt=Prompt.user(f"q{i}"), completion=f"c{i}") for i in range(3)]
PAIRS = [Pair(prompt=Prompt.user("q"), chosen="a", rejected="b")]
SETTINGS = FitSettings(lr=1e-3)


def fitted(
    folder, *, seed=0, arm="main", model=None, source=None, objective=None, settings=SETTINGS, targets=None, step="teach", role="student"
):
    made, journal, _ = lab(folder, seed=seed, arm=arm, train=Trainer())
    handle = made.student if model is None else made.role("student", *model)
    made.fit(role, handle, source or Fixed(EXAMPLES), objective or cross_entropy(), settings=settings, targets=targets, step=step)
    [event] = [e for e in journal.events() if e["event"] == "fit"]
    return event["key"]


STUDENT = replace(REF, digest="b2-s")
CHANGES = {
    "seed": {"seed": 1},
    "step": {"step": "again"},
    "weights of the model": {"model": (replace(STUDENT, digest="b2-t"), FACTS)},
    "base under an adapter": {"model": (replace(STUDENT, adapter_of="b2-base"), FACTS)},
    "another example": {"source": Fixed([*EXAMPLES[:2], replace(EXAMPLES[2], completion="other")])},
    "one example fewer": {"source": Fixed(EXAMPLES[:2])},
    "order of examples": {"source": Fixed(EXAMPLES[::-1])},
    "weight of an example": {"source": Fixed([replace(EXAMPLES[0], weight=0.5), *EXAMPLES[1:]])},
    "unit of the objective": {"objective": cross_entropy(per="sequence")},
    "dpo": {"objective": dpo(beta=0.1), "source": Fixed(PAIRS)},
    "beta of dpo": {"objective": dpo(beta=0.2), "source": Fixed(PAIRS)},
    "nll of dpo": {"objective": dpo(beta=0.1, nll=0.2), "source": Fixed(PAIRS)},
    "smoothing of dpo": {"objective": dpo(beta=0.1, smoothing=0.1), "source": Fixed(PAIRS)},
    "a reference": {"objective": dpo(beta=0.1), "source": Fixed(PAIRS), "targets": Reference(replace(REF, digest="b2-r"))},
    "another reference": {"objective": dpo(beta=0.1), "source": Fixed(PAIRS), "targets": Reference(replace(REF, digest="b2-q"))},
}
OTHER_SETTINGS = {
    "lr": 2e-3, "batch": 4, "epochs": 2, "steps": 3, "optimiser": "muon", "lr_other": 0.1, "betas": (0.8, 0.999), "eps": 1e-6,
    "weight_decay": 0.1, "clip": None, "schedule": "linear", "warmup": 0.1, "precision": "bf16", "lora": Lora(rank=4), "head": "class",
    "classes": 3, "labels": ("x", "y"),
    "overflow": "truncate", "context_tokens": 64, "layout": "right", "micro_tokens": 64, "tile_bytes": 2**20,
    "checkpoint_every": 5,
}  # fmt: skip


def test_every_input_that_can_change_weights_changes_the_key(tmp_path):
    keys = {name: fitted(tmp_path / str(i), **change) for i, (name, change) in enumerate(CHANGES.items())}
    keys["nothing"] = fitted(tmp_path / "plain")
    assert len(set(keys.values())) == len(keys), {k: [n for n in keys if keys[n] == v] for k, v in keys.items()}


def test_every_training_setting_is_known_to_this_test_and_changes_the_key(tmp_path):
    names = {f.name for f in fields(FitSettings)}
    assert names <= set(OTHER_SETTINGS), "a setting was added: say here how it differs"
    keys = {"nothing": fitted(tmp_path / "plain")}
    for name in names - {"checkpoint_every"}:
        more = {"classes": 3} if name == "head" else {}
        keys[name] = fitted(tmp_path / name, settings=replace(SETTINGS, **{name: OTHER_SETTINGS[name], **more}))
    for rank in (4, 8):
        keys[f"rank {rank}"] = fitted(tmp_path / f"r{rank}", settings=replace(SETTINGS, lora=Lora(rank=rank, alpha=8)))
    assert len(set(keys.values())) == len(keys)


@pytest.mark.parametrize(
    "same",
    [
        {"arm": "other"},
        {"settings": replace(SETTINGS, checkpoint_every=5)},
        {"model": (replace(STUDENT, name="hf:elsewhere", path="/elsewhere", origin=Origin(step="s")), FACTS)},
        {"source": Fixed([replace(e, origin=Origin(step="drafts", parents=("x",))) for e in EXAMPLES])},
        {"source": Fixed([replace(e, prompt=replace(e.prompt, kind="solve.plain")) for e in EXAMPLES])},
    ],
    ids=["arm", "checkpoints", "where the weights lie", "origin of examples", "kind of prompts"],
)
def test_what_cannot_change_weights_does_not_change_the_key(tmp_path, same):
    assert fitted(tmp_path / "a", **same) == fitted(tmp_path / "b")


def test_a_fit_gives_a_new_handle_and_leaves_the_old_one(tmp_path):
    trainer = Trainer()
    made, journal, _ = lab(tmp_path, train=trainer)
    before = made.student
    taught = made.fit("student", before, Fixed(EXAMPLES), cross_entropy(), settings=SETTINGS, step="teach")
    assert taught.id != before.id
    assert made.student is before
    assert taught.facts == before.facts
    assert taught.ref.origin == Origin(step="fit teach", parents=(before.id,), model=before.id)
    [event] = [e for e in journal.events() if e["event"] == "fit"]
    assert taught.ref.name == f"fit:{event['key']}"
    assert taught.ref.path == str(tmp_path / "fits" / event["key"])
    assert (event["role"], event["step"], event["parent"], event["ref"], event["replayed"]) == (
        "student",
        "teach",
        before.id,
        taught.id,
        False,
    )
    assert event["examples"] == 3
    assert "secret" not in event


def test_what_the_source_of_a_fit_found_out_can_be_read_and_stands_in_the_journal(tmp_path):
    made, journal, _ = lab(tmp_path, train=Trainer())
    taught = made.fit("student", made.student, Fixed(EXAMPLES), cross_entropy(), settings=SETTINGS, step="teach")
    assert made.told(taught) == {"domains": {"drawn": {"a": 3}}}
    assert made.told(made.student) == {}
    [event] = [e for e in journal.events() if e["event"] == "fit"]
    assert event["told"] == made.told(taught)


def test_a_fit_is_done_once_and_replayed_from_its_file(tmp_path):
    trainer = Trainer()
    first, _, _ = lab(tmp_path, train=trainer)
    one = first.fit("student", first.student, Fixed(EXAMPLES), cross_entropy(), settings=SETTINGS)
    cannot_train, journal, _ = lab(tmp_path, arm="again")
    other = cannot_train.fit("student", cannot_train.student, Fixed(EXAMPLES), cross_entropy(), settings=SETTINGS)
    assert other.ref == one.ref
    assert len(trainer.runs) == 1
    assert [e["replayed"] for e in journal.events() if e["event"] == "fit"] == [True]
    with pytest.raises(InternalError, match="cannot train"):
        cannot_train.fit("student", cannot_train.student, Fixed(EXAMPLES[:1]), cross_entropy(), settings=SETTINGS)


def test_training_that_was_killed_before_its_file_was_written_is_done_again(tmp_path):
    trainer = Trainer()
    made, _, _ = lab(tmp_path, train=trainer)
    made.fit("student", made.student, Fixed(EXAMPLES), cross_entropy(), settings=SETTINGS)
    out = trainer.runs[0]["out"]
    (out / "fit.json").unlink()
    (out / "half a weight").touch()

    class Careful(Trainer):
        def __call__(self, *, out, **given):
            (out / "half a weight").unlink()
            out.rmdir()
            return super().__call__(out=out, **given)

    again, _, _ = lab(tmp_path, train=Careful())
    again.fit("student", again.student, Fixed(EXAMPLES), cross_entropy(), settings=SETTINGS)
    assert (out / "fit.json").exists()


def test_the_seed_of_a_fit_is_that_of_its_step_in_every_arm(tmp_path):
    trainer = Trainer()
    for arm, step in (("a", "teach"), ("b", "teach"), ("c", "other")):
        made, _, _ = lab(tmp_path / arm, arm=arm, train=trainer)
        made.fit("student", made.student, Fixed(EXAMPLES), cross_entropy(), settings=SETTINGS, step=step)
    seeds = [run["seed"] for run in trainer.runs]
    assert seeds[0] == seeds[1] != seeds[2]


@pytest.mark.parametrize(
    "model",
    [(STUDENT, replace(FACTS, capabilities=frozenset({"generate"}))), (replace(STUDENT, path=None), FACTS)],
    ids=["endpoint", "no local weights"],
)
def test_a_model_whose_weights_are_out_of_reach_cannot_be_trained(tmp_path, model):
    made, _, _ = lab(tmp_path, models={"student": model}, train=Trainer())
    with pytest.raises(CapabilityError, match="the student cannot be trained") as refusal:
        made.fit("student", made.student, Fixed(EXAMPLES), cross_entropy(), settings=SETTINGS)
    assert "local weights" in str(refusal.value.fix)


@pytest.mark.parametrize("body", [b"", b'{"key": "b2', b"[]", b'{"key": "x"}'])
def test_a_damaged_fit_file_is_named(tmp_path, body):
    made, _, _ = lab(tmp_path, train=Trainer())
    taught = made.fit("student", made.student, Fixed(EXAMPLES), cross_entropy(), settings=SETTINGS)
    record = tmp_path / "fits" / taught.ref.name.removeprefix("fit:") / "fit.json"
    record.write_bytes(body)
    again, _, _ = lab(tmp_path)
    with pytest.raises(StorageError, match=r"fit\.json is damaged") as refusal:
        again.fit("student", again.student, Fixed(EXAMPLES), cross_entropy(), settings=SETTINGS)
    assert str(record.parent) in str(refusal.value.fix)


def test_the_file_of_a_fit_holds_its_key_and_digest(tmp_path):
    key = fitted(tmp_path)
    held = orjson.loads((tmp_path / "fits" / key / "fit.json").read_bytes())
    assert (held["key"], held["digest"]) == (key, "weights 1")
