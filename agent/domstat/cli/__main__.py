"""Run the command line as a module: ``python -m domstat.cli``."""

import sys

if not sys.flags.safe_path:
    del sys.path[0]  # the current directory, which has no say in what is loaded: sinks are installed

from domstat.cli import main

main()
