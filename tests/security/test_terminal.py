"""No text that a file, a database, data or an error brings along is obeyed by the terminal that it is shown in."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from hpo.files import RunFiles
from hpo.harmless import harmless
from tests.conftest import REPOSITORY
from tests.faults.parts import study
from tests.security.parts import OBEYED, SEEN, hostile_study, in_a_terminal, obeyed

Run = Callable[..., subprocess.CompletedProcess[str]]

COMMANDS = [
    *(("status", OBEYED), ("status", "--json"), ("studies",), ("studies", "--json"), ("report",), ("delete", OBEYED)),
    *(("logs", OBEYED, "0"), ("logs", OBEYED, "0", "1"), ("logs", OBEYED, "7"), ("export", OBEYED, "-o", "-")),
    *(("storage", "check"), ("worker", OBEYED), ("launch", OBEYED), ("status", f"another{OBEYED}")),
    *(("evaluate", f"model{OBEYED}"), (f"lunch{OBEYED}",), ("stop", OBEYED, "--timeout", "1")),
]


@pytest.mark.slow
def test_nothing_that_a_database_holds_is_obeyed(url: str, tmp_path: Path) -> None:
    """Its rows may come from another user of a shared server, or from somebody's backup."""
    folder = hostile_study(url)
    for number in (0, 1):
        RunFiles(tmp_path / "runs").trial_log(folder, number).write_text(f"2026-01-01 00:00:00 {OBEYED}\n")
    commands = COMMANDS if url.startswith("sqlite") else COMMANDS[:3]
    with ThreadPoolExecutor(2) as pool:
        done = pool.map(lambda words: in_a_terminal(tmp_path, {"HPO_STORAGE": url}, *words), commands)
    for words, (_, printed) in zip(commands, done, strict=True):
        assert obeyed(printed) == [], f"{words}: {printed!r}"
        assert "Traceback" not in printed
        assert "pwned" in printed or words[0] in ("storage", "report"), printed


#: An objective whose class names and errors are hostile, and whose file prints what it likes while it is imported.
HOSTILE = f"""
import sys
from tests.faults.faulty import Faulty as Base

OBEYED = {OBEYED!r} + "\\0\\udcff"
print("hello", OBEYED)
print("hello", OBEYED, file=sys.stderr)


class Faulty(Base):
    def prepare(self, source, data, folder):
        return dict(super().prepare(source, data, folder), classes=[OBEYED], notes=[OBEYED])

    def losses(self, *arguments):
        raise RuntimeError(OBEYED)
"""


def test_nothing_that_an_objective_says_is_obeyed(url: str, tmp_path: Path) -> None:
    """Its errors are on record, in logs and on screen, spelled out; the workers survive them."""
    (tmp_path / "own.py").write_text(HOSTILE)
    (tmp_path / "own.yaml").write_text(study(objective="own.py", trials=4, epochs=2))
    environ = {"HPO_STORAGE": url, "PYTHONPATH": str(REPOSITORY)}
    code, printed = in_a_terminal(tmp_path, environ, "launch", "own.yaml", "--devices", "cpu")
    assert code == 1 and "stopped: the same code_error ended one trial after the other" in printed, printed
    assert "hello " + SEEN in printed and "RuntimeError: " + SEEN in printed
    assert obeyed(printed) == []
    written = [path.read_text() for path in tmp_path.glob("runs/**/*.log")]
    assert [text for text in written if obeyed(text)] == []
    assert any(r"\x00\udcff" in text for text in written)
    if url.startswith("sqlite"):
        code, printed = in_a_terminal(tmp_path, environ, "check", "own.yaml")
        assert code == 1 and "note       " + SEEN in printed and "the objective raised RuntimeError: " + SEEN in printed
        assert obeyed(printed) == []


def test_json_holds_what_is_on_record(tmp_path: Path, hpo: Run) -> None:
    """Scripts get the name as it is, in the escapes of JSON."""
    hostile_study(f"sqlite:///{tmp_path / 'hpo.db'}")
    done = hpo("status", "--json", storage=f"sqlite:///{tmp_path / 'hpo.db'}")
    assert done.stdout.isascii() and json.loads(done.stdout)["study"] == OBEYED


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain, tab\t, line\n, line\r\n", "plain, tab\t, line\n, line\r\n"),
        ("Grüße, 数据, \u200dzero width", "Grüße, 数据, \u200dzero width"),
        ("\x1b[31m", r"\x1b[31m"),
        ("\x9b31m \x85", r"\x9b31m \x85"),
        ("abc\u202edef\u2069", r"abc\u202edef\u2069"),
        ("10 %\r20 %\r\r\n", "10 %\n20 %\n\r\n"),
        ("a\0b\x7f", r"a\x00b\x7f"),
        ("rec\udcff.csv", r"rec\udcff.csv"),
        (r"already \x1b", r"already \x1b"),
    ],
)
def test_what_a_terminal_obeys_is_spelled_out(text: str, shown: str) -> None:
    assert harmless(text) == shown
    assert harmless(shown).encode("utf-8")


def test_a_backup_counts_on_one_line(tmp_path: Path) -> None:
    environ = {"HPO_STORAGE": f"sqlite:///{tmp_path / 'hpo.db'}"}
    hostile_study(environ["HPO_STORAGE"])
    code, printed = in_a_terminal(tmp_path, environ, "storage", "backup", "a.backup")
    assert code == 0 and obeyed(printed) == [] and " rows" in printed
    assert "\x1b[1A\x1b[2Ka.backup: 1 studies, 2 trials" in printed, "the line that counts is gone at the end"


#: Says something by every way there is, while nothing is drawn and while a live view is.
SPEAKING = f"""
import os, sys, warnings
from hpo.cli.output import guard_output

guard_output()
import click
from rich.live import Live
from hpo.cli.terminal import Terminal

OBEYED = {OBEYED!r}

def speak():
    click.echo(OBEYED)
    click.echo(OBEYED.encode())
    click.echo(OBEYED, err=True)
    sys.stdout.buffer.write(OBEYED.encode() + b"\\xff\\n")
    sys.stderr.writelines([OBEYED, "\\n"])
    sys.stdout.flush()
    warnings.warn(OBEYED)

speak()
console = Terminal()
console.print(OBEYED, "[/nothing] :warning:", style="red")
with Live(OBEYED, console=console, auto_refresh=False) as live:
    speak()
    live.update(OBEYED, refresh=True)
raise RuntimeError(OBEYED)
"""


def test_every_way_to_the_terminal_is_guarded(tmp_path: Path) -> None:
    """click writes to the bytes below a stream that it does not know, such as the one that rich puts in place."""
    (tmp_path / "speaking.py").write_text(SPEAKING)
    code, printed = in_a_terminal(tmp_path, {"PYTHONPATH": str(REPOSITORY)}, program=["speaking.py"])
    assert code == 1 and "RuntimeError: " + SEEN in printed
    assert printed.count("pwned") > 12 and "[/nothing] :warning:" in printed
    assert obeyed(printed) == []
