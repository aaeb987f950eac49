"""Standard output and error as every command has them: nothing that is written there is obeyed by a terminal.

Texts come from files, databases, data and errors of others, by way of click, argparse, warnings, tracebacks and the
user's own `print`; they all pass here. Colours of ours come from `hpo.cli.terminal`, which passes beside.
"""

from __future__ import annotations

import codecs
import io
import sys
from typing import TextIO

from hpo.harmless import harmless


class Output(io.TextIOWrapper):
    """Writes harmless text to the buffer of a stream.

    Attributes:
        stream: the stream itself, for who makes every text harmless before adding colours.
    """

    def __init__(self, stream: TextIO) -> None:
        # What ASCII lacks would end the command; click would pass by a stream of ASCII on its own.
        ascii_only = codecs.lookup(stream.encoding).name == "ascii"
        encoding, errors = "utf-8" if ascii_only else stream.encoding, "backslashreplace"
        lines = bool(getattr(stream, "line_buffering", False))
        super().__init__(stream.buffer, encoding, errors, line_buffering=lines, write_through=True)
        self.stream = stream

    def write(self, text: str) -> int:
        super().write(harmless(text))
        return len(text)


def guard_output() -> None:
    """From here on, whatever this process prints is harmless."""
    for name in ("stdout", "stderr"):
        if (stream := getattr(sys, name)) is not None:  # closed by whoever started us
            setattr(sys, name, Output(stream))
