"""The verbs of the command line. Importing this loads no torch; every verb imports what it needs when it is called."""

from tutelage.cli.app import main

__all__ = ["main"]
