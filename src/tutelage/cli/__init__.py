"""The verbs of the command line. Importing this loads no torch; every verb imports what it needs when it is called."""

import gc

# Starting up makes many objects and drops few: looking for dropped ones after every 700 takes a tenth of the time of a short verb.
gc.set_threshold(50_000)

from tutelage.cli.app import main  # noqa: E402

__all__ = ["main"]
