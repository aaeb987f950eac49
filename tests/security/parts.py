"""What attackers write: texts that a terminal would obey, and a study whose every text is one of them."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import sqlalchemy as sa

from hpo.store import Store
from objectives.digits import Digits
from tests.conftest import REPOSITORY
from tests.store.parts import epoch, facts, params, suggested, tells

#: Sets the window's title, clears the screen, blinks, returns the carriage, turns the reading direction, in C0 and C1.
OBEYED = "\x1b]0;pwned\x07\x1b[2J\x1b[5;8m\rover\u202etxt\u2066\x9b31m\x9d0;pwned\x9c\x7f\x08"
#: How its beginning is shown instead.
SEEN = r"\x1b]0;pwned"
#: What a terminal obeys and no text may bring along; a new line and a tab are layout.
CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
#: What rich draws with: bold and colours, but no blinking or hiding; the cursor, up a line, erasing a line.
COLOURS = r"\x1b\[(?:[01]|\d;?3\dm?|[39]\d|[34]8;5;\d+)?m"
OURS = re.compile(COLOURS + r"|\x1b\[(?:\?25[lh]|1A|2K)|\r+\n|\r(?=\x1b\[)|(?<=\x1b\[2K)\r")


def obeyed(printed: str) -> list[str]:
    """What a terminal would obey in what was printed."""
    return CONTROLS.findall(OURS.sub("", printed))


def in_a_terminal(
    folder: Path, environ: dict[str, str], *words: str, program: Sequence[str] = ("-P", "-m", "hpo")
) -> tuple[int, str]:
    """Exit code and output of the real command in a terminal, of which it knows that it is one."""
    reading, writing = pty.openpty()
    env = os.environ | {"TERM": "xterm-256color", "COLUMNS": "200"} | environ
    command = [sys.executable, *program, *words]
    process = subprocess.Popen(command, cwd=folder, env=env, stdin=writing, stdout=writing, stderr=writing)
    os.close(writing)
    printed = b""
    try:
        while chunk := os.read(reading, 65536):
            printed += chunk
    except OSError:  # Linux' way to say that the other end is closed
        pass
    finally:
        os.close(reading)
    return process.wait(), printed.decode()


def hostile_study(url: str, **changes: str) -> str:
    """A study in the database, every text of which another user has replaced by `OBEYED`; its folder."""
    store = Store(url, create=True)
    text = (REPOSITORY / "studies/digits.yaml").read_text()
    own = facts(text=text, objective="digits", vocabulary=Digits().vocabulary(), metric="macro_f1")
    record = store.studies.create("made-up", {}, **own)
    good, bad = (store.leases.new_trial(record.study_id, "w", 0, 9) for _ in range(2))
    assert good is not None and bad is not None
    for lease in (good, bad):
        store.results.choose(lease, params(0.1 * lease.lease_id), suggested(lease))
        with store.leases.under(lease):
            store.results.record(lease, [epoch(1)], None, lambda *_: False)
    with store.leases.under(good):
        store.results.finish_trial(good, tells(store, good, 0.5), value=0.5)
    store.workers.register(record.study_id, f"w{OBEYED}", OBEYED, 1, f"cpu{OBEYED}")
    values = {"objective": OBEYED, "metric": f"f1.{OBEYED}", "source": f"/{OBEYED}", "data": OBEYED} | changes
    with store.database.transaction() as connection:
        texts = {"worker": f"w{OBEYED}", "end_text": f"RuntimeError: {OBEYED}", "end": "code_error"}
        lease_id = {"good": good.lease_id, "bad": bad.lease_id}
        connection.execute(sa.text("UPDATE studies SET study_name = :name"), {"name": OBEYED})
        connection.execute(sa.text("UPDATE hpo_leases SET worker = :worker WHERE lease_id = :bad"), texts | lease_id)
        for name, value in values.items():
            connection.execute(sa.text(f"UPDATE hpo_studies SET {name} = :value"), {"value": value})
        ended = 'UPDATE hpo_leases SET end_text = :end_text, "end" = :end WHERE lease_id = :good'
        connection.execute(sa.text(ended), texts | lease_id)
        connection.execute(sa.text("UPDATE hpo_studies SET stop = 'broken'"))
    store.close()
    return record.folder
