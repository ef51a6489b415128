"""`python -m tutelage` is the command line."""

import sys

from tutelage.cli import main

sys.exit(main())
