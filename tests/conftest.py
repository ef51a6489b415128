"""What holds for every test: one thread, no network, stores of its own, and a count of what was skipped for want of data."""

import os
import sys

# Before anything imports torch or transformers; processes that tests start inherit it.
os.environ |= {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "NO_COLOR": "1",
}
# A fresh checkout is compiled once, and not again by every process that a test starts.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
# A developer's own keys and endpoints must not reach a test.
for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "HF_TOKEN"):
    os.environ.pop(name, None)

import gc  # noqa: E402
import signal  # noqa: E402
from pathlib import Path  # noqa: E402

import pytest  # noqa: E402
from hypothesis import settings  # noqa: E402

# A shell that runs the suite in the background has it ignore Ctrl-C, and programs under test would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

settings.register_profile("suite", deadline=None, derandomize=True, max_examples=60, print_blob=True)
settings.load_profile("suite")


HERE = Path(__file__).parent
LONG = (
    "recipes/test_uniform.py",
    "recipes/test_charges.py",
    "end_to_end/test_own_data.py",
    "end_to_end/test_bad_days.py",
    "bundled/test_models.py",
    "cli/test_runs.py",
    "backends/test_openai_real.py",
    "recipes/test_data_recipes.py",
    "train/test_processes.py",
    "train/test_resume.py",
    "recipes/test_lbt.py",
    "recipes/test_revthink.py",
    "recipes/test_kill_and_replay.py",
    "experiments/test_seeds_at_work.py",
    "cli/test_compare_reproduce.py",
    "verify/test_run.py",
    "sandbox/test_escapes.py",
)
"""Files of ten seconds and more. They come first, so that the last to end is a short one, and no worker waits long for another."""


def pytest_configure(config):
    # Of its own accord xdist begins with the files of most tests, and so ends with the few long ones.
    if hasattr(config.option, "loadscopereorder"):
        config.option.loadscopereorder = False


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items):
    place = {HERE / name: turn for turn, name in enumerate(LONG)}
    assert all(path.exists() for path in place), "a file of LONG was renamed"
    items.sort(key=lambda item: place.get(item.path, len(place)))


def pytest_collection_finish():
    gc.freeze()  # modules and tests stay to the end; looking through them again and again takes seconds


@pytest.fixture(scope="session", autouse=True)
def workspace(tmp_path_factory):
    """Run folders and the call cache of this test process, away from the developer's own."""
    folder = tmp_path_factory.mktemp("workspace")
    held = {name: os.environ.get(name) for name in ("TUTELAGE_RUNS", "TUTELAGE_CACHE")}
    os.environ |= {"TUTELAGE_RUNS": str(folder / "runs"), "TUTELAGE_CACHE": str(folder / "cache.sqlite")}
    yield folder
    for name, value in held.items():
        if value is None:
            del os.environ[name]
        else:
            os.environ[name] = value


def pytest_terminal_summary(terminalreporter):
    skipped = [r for r in terminalreporter.stats.get("skipped", ()) if "TUTELAGE_DATA" in str(r.longrepr)]
    if skipped:
        terminalreporter.write_line(f"{len(skipped)} tests were skipped because TUTELAGE_DATA names no folder with the public data sets.")
