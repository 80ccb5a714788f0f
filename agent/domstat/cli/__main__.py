"""Run the command line as a module: ``python -m domstat.cli``."""

from domstat.cli import main

main()
