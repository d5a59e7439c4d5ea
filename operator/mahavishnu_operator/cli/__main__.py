"""`python -m mahavishnu_operator.cli` is `mahavishnu`."""

from .main import main

main()
