"""`python -m hpo`: the command line."""

from __future__ import annotations

from hpo.cli import main

main()
