"""Long lines of facts, folded with an indent, so that a terminal does not break them anywhere."""

from __future__ import annotations

import textwrap

#: The longest line that is read with ease.
WIDTH = 110
#: Where no line is broken, as between the name of a parameter and its value; it ends up as a space.
TIE = "\u00a0"


def folded(text: str, indent: int, width: int = WIDTH) -> str:
    """The text over as many lines as it takes, each after the first behind `indent` spaces.

    Args:
        text: one line.
        indent: in characters.
        width: of the terminal; a wider one than `WIDTH` is not filled.
    """
    room = max(min(width, WIDTH), 2 * indent)
    filled = textwrap.fill(text, room, subsequent_indent=" " * indent, break_on_hyphens=False, break_long_words=False)
    return filled.replace(TIE, " ")
