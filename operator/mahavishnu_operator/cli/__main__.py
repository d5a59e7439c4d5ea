"""`python -m mahavishnu_operator.cli` is `mahavishnu`."""

from .entry import main

main()
