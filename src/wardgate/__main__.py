"""`python -m wardgate`: the same as the `wardgate` script."""

from wardgate.cli import main

main()
