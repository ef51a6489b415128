"""Processes forked from one that has imported the engine are clean: one thread, nothing computed, the engine there."""

import forked

PROGRAM = """
import sys, threading
engine = "torch" in sys.modules and "tutelage.train.loop" in sys.modules
import os
print(engine, threading.active_count(), len(os.listdir("/proc/self/task")), sys.argv)
"""


def test_a_forked_process_has_the_engine_and_one_thread():
    done = forked.run("-c", PROGRAM, "word")
    assert (done.returncode, done.stdout.split(maxsplit=3)) == (0, ["True", "1", "1", "['-c', 'word']\n"]), done.stderr
