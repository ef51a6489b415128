import inspect
import pickle
import re
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import pytest

from tutelage import errors
from tutelage.errors import (
    BudgetExhausted,
    CapabilityError,
    DataError,
    EndpointError,
    InternalError,
    MissingExtra,
    OutsideError,
    QualityGate,
    SandboxError,
    SettingsError,
    StorageError,
    TutelageError,
    UserError,
    did_you_mean,
    missing_extra,
)

CODES = {
    TutelageError: 1,
    UserError: 2,
    SettingsError: 2,
    DataError: 2,
    CapabilityError: 2,
    MissingExtra: 5,
    OutsideError: 1,
    EndpointError: 5,
    StorageError: 1,
    SandboxError: 1,
    BudgetExhausted: 3,
    QualityGate: 4,
    InternalError: 1,
}


def test_the_tree_is_complete_and_every_kind_has_its_exit_code():
    kinds = {c for _, c in inspect.getmembers(errors, inspect.isclass) if issubclass(c, Exception)}
    assert kinds == set(CODES)
    assert {c: c.exit_code for c in kinds} == CODES


def test_the_drawing_at_the_top_is_the_tree():
    drawn = {m[1]: int(m[2]) for m in re.finditer(r"(\w+) +(\d)\b", errors.__doc__ or "")}
    # The branch that only groups has no code of its own in the drawing.
    assert drawn == {k.__name__: code for k, code in CODES.items() if k not in (TutelageError, OutsideError)} | {"OutsideError": 1}


@pytest.mark.parametrize(
    ("parent", "children"),
    [(UserError, (SettingsError, DataError, CapabilityError, MissingExtra)), (OutsideError, (EndpointError, StorageError, SandboxError))],
)
def test_the_branches(parent, children):
    assert all(issubclass(c, parent) for c in children)
    assert {c for c in CODES if parent in c.__bases__} == set(children)


def test_a_message_says_what_happened_the_value_and_the_way_out():
    error = SettingsError("unknown recipe", got="artte", fix="did you mean 'arte'?")
    assert str(error) == "unknown recipe\n  got: artte\n  fix: did you mean 'arte'?"
    assert str(DataError("no file")) == "no file"


@pytest.mark.parametrize("value", [0, False, "", 0.0])
def test_a_value_that_counts_as_false_is_still_shown(value):
    assert f"got: {value}" in str(SettingsError("out of range", got=value))


def _raise(kind):
    raise kind("it broke", got={"n": 3}, fix="mend it")


@pytest.mark.parametrize("kind", CODES, ids=lambda k: k.__name__)
def test_pickling_keeps_kind_and_message(kind):
    error = kind("it broke", got={"n": 3}, fix="mend it")
    back = pickle.loads(pickle.dumps(error))  # noqa: S301
    assert type(back) is kind
    assert str(back) == str(error)
    assert (back.message, back.got, back.fix) == ("it broke", "{'n': 3}", "mend it")
    assert back.exit_code == kind.exit_code


def test_errors_cross_a_process_border_whole():
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        for kind in (SettingsError, BudgetExhausted, QualityGate, EndpointError):
            with pytest.raises(kind) as caught:
                pool.submit(_raise, kind).result()
            assert caught.value.message == "it broke"
            assert caught.value.fix == "mend it"


def test_a_value_that_cannot_be_pickled_does_not_hold_the_error_back():
    error = DataError("no", got=lambda: None)
    back = pickle.loads(pickle.dumps(error))  # noqa: S301
    assert back.message == "no"
    assert "lambda" in str(back.got)


def test_a_near_miss_is_named():
    assert did_you_mean("artte", ["sft", "arte", "untouched"]) == "did you mean 'arte'?"
    assert did_you_mean("verified_sampling", ["verified-sampling", "sft"]) == "did you mean 'verified-sampling'?"


def test_few_names_are_all_listed_and_many_are_counted():
    assert did_you_mean("zzz", ["sft", "arte"]) == "known: arte, sft"
    assert did_you_mean("zzz", [f"name{i}" for i in range(41)]) == "41 names are known; list them first"


def test_where_no_name_is_known_the_hint_says_so():
    assert did_you_mean("zzz", []) == "there are none to choose from"


def test_a_missing_extra_names_the_command():
    assert missing_extra("pyarrow", "data").fix == "pip install 'tutelage[data]'"
