"""`python -m checkpoint` is the command `checkpoint`."""

from checkpoint.cli import main

main(prog_name="checkpoint")
