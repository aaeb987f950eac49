"""The command line: arguments, printing, exit codes (0 done, 1 ran and failed, 2 the user's mistake)."""

from __future__ import annotations

import os
import re
import sys

#: Optuna stores times without a zone; every process of ours runs in UTC.
os.environ["TZ"] = "UTC"

#: Turns of a loop for which a thread of OpenMP waits for the others before it sleeps, read when torch is loaded. The
#: default, 300,000, makes epochs many times as long once other work takes a core (bench/threads.py).
SPIN_COUNT = "2000"
os.environ.setdefault("GOMP_SPINCOUNT", SPIN_COUNT)

_SEEN = (
    "--storage with a password: `ps` has shown it to every user of this machine for a moment, and your shell may keep "
    "it; better in the environment variable HPO_STORAGE, or in ~/.pgpass\n"
)


def main() -> None:
    """Entry point of the command `hpo`."""
    _hide_password()
    from hpo.cli.output import guard_output

    guard_output()
    from hpo.cli.group import hpo

    hpo(prog_name="hpo")


def _hide_password() -> None:
    """Start again with a storage URL that holds a password in the environment, where `ps` does not show it."""
    for position, word in enumerate(sys.argv):
        if word == "--storage" and position + 1 < len(sys.argv):
            url, rest = sys.argv[position + 1], sys.argv[position + 2 :]
        elif word.startswith("--storage="):
            url, rest = word.removeprefix("--storage="), sys.argv[position + 1 :]
        else:
            continue
        if re.search("://[^@]*:[^@]*@|password", url):
            sys.stderr.write(_SEEN)
            arguments = [sys.executable, "-P", "-m", "hpo", *sys.argv[1:position], *rest]
            os.execve(sys.executable, arguments, os.environ | {"HPO_STORAGE": url})
