"""`python -m nelbo` is the command line."""

from nelbo.cli import main

main()
