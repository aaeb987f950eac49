"""Standard output and error as every command has them: nothing that is written there is obeyed by a terminal.

Texts come from files, databases, data and errors of others, by way of click, argparse, warnings, tracebacks and the
user's own `print`; they all pass here. Colours of ours come from `hpo.cli.terminal`, which passes beside.
"""

from __future__ import annotations

import codecs
import io
import sys
from typing import Any, BinaryIO, TextIO

from hpo.harmless import harmless


class Output(io.TextIOWrapper):
    """A stream of harmless text.

    Attributes:
        stream: the stream behind it, for who makes every text harmless before adding colours.
    """

    def __init__(self, stream: TextIO) -> None:
        # What ASCII lacks would end the command.
        encoding = "utf-8" if codecs.lookup(stream.encoding).name == "ascii" else stream.encoding
        lines = bool(getattr(stream, "line_buffering", False))
        inner: Any = _Bytes(stream.buffer, encoding)
        super().__init__(inner, encoding, "backslashreplace", line_buffering=lines, write_through=True)
        self.stream = stream


class _Bytes(io.BufferedIOBase):
    """The bytes of the stream, made harmless there: click writes to them itself while rich draws."""

    def __init__(self, inner: BinaryIO, encoding: str) -> None:
        self._inner, self._encoding = inner, encoding
        self._decoder = codecs.getincrementaldecoder(encoding)("backslashreplace")

    def write(self, content: Any) -> int:
        self._inner.write(harmless(self._decoder.decode(content)).encode(self._encoding, "backslashreplace"))
        return len(content)

    def writable(self) -> bool:
        return True

    def flush(self) -> None:
        self._inner.flush()

    def fileno(self) -> int:
        return self._inner.fileno()

    def isatty(self) -> bool:
        return self._inner.isatty()


def guard_output() -> None:
    """From here on, whatever this process prints is harmless."""
    for name in ("stdout", "stderr"):
        if (stream := getattr(sys, name)) is not None:  # closed by whoever started us
            setattr(sys, name, Output(stream))
