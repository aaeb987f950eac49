"""How an error says everything that is wrong with a source at once, and how a sentence names many things."""

from __future__ import annotations

import difflib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

#: Problems an error lists before it only counts them.
MOST_LISTED = 20


@dataclass(frozen=True)
class Mistake:
    """What is wrong in one line of a file."""

    line: int
    text: str
    kind: str = ""  #: what makes it equal to others whose text differs; where empty, the text does


def gathered(file: str, mistakes: Iterable[Mistake]) -> Iterator[str]:
    """A problem per kind of mistake, as its first line shows it: a slip of a whole column is not said line by line."""
    alike: dict[str, list[Mistake]] = defaultdict(list)
    for mistake in mistakes:
        alike[mistake.kind or mistake.text].append(mistake)
    for first, *others in alike.values():
        where = f"in {1 + len(others)} lines, first in line {first.line}" if others else f"line {first.line}"
        yield f"{file}, {where}: {first.text}"


def listing(source: object, problems: Sequence[str]) -> str:
    """The text of an error that says all that is wrong at once."""
    lines = [f"{source}: {len(problems)} problem{'s' if len(problems) > 1 else ''}", *problems[:MOST_LISTED]]
    if len(problems) > MOST_LISTED:
        lines.append(f"and {len(problems) - MOST_LISTED} more")
    return "\n  ".join(lines)


def some(names: Sequence[str], most: int = 8) -> str:
    """Names for a sentence."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


@lru_cache(maxsize=256)
def near(name: str, known: tuple[str, ...]) -> str | None:
    """The known name that another was meant to be, case aside; None where no name is near."""
    by_lower = {own.lower(): own for own in known}
    found = difflib.get_close_matches(name.lower(), by_lower, n=1)
    return by_lower[found[0]] if found else None
