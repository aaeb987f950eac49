"""How an error says everything that is wrong with a source at once, and how a sentence names many things."""

from __future__ import annotations

from collections.abc import Sequence

#: Problems an error lists before it only counts them.
MOST_LISTED = 20


def listing(source: object, problems: Sequence[str]) -> str:
    """The text of an error that says all that is wrong at once."""
    lines = [f"{source}: {len(problems)} problem{'s' if len(problems) > 1 else ''}", *problems[:MOST_LISTED]]
    if len(problems) > MOST_LISTED:
        lines.append(f"and {len(problems) - MOST_LISTED} more")
    return "\n  ".join(lines)


def some(names: Sequence[str], most: int = 8) -> str:
    """Names for a sentence."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
