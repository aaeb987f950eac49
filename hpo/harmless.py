"""Texts of others made harmless: no character that a terminal obeys, no cell that a spreadsheet computes."""

from __future__ import annotations

import re

#: C0 and C1 controls but for tab and ends of lines, what turns the reading direction, lone surrogates.
_OBEYED = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
#: A lone carriage return, which would write over the line.
_RETURN = re.compile(r"\r+(?!\n)")

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-](inf|nan)")
#: Characters that start a formula in Excel, LibreOffice or Sheets; the last four are their full-width forms.
_FORMULA = tuple("=+-@\uff1d\uff0b\uff0d\uff20")


def harmless(text: str) -> str:
    r"""The text with `\x1b` and its like spelled out; a lone carriage return becomes a new line."""
    return _OBEYED.sub(_spelled, _RETURN.sub("\n", text))


def _spelled(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode()


def cell(text: str) -> str:
    """The text of a table's cell with an apostrophe before what a spreadsheet would compute; numbers stay."""
    computes = text.lstrip().startswith(_FORMULA) and not _NUMBER.fullmatch(text)
    return f"'{text}" if computes else text
