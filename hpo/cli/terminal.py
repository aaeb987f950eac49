"""What is drawn with colours and live tables: rich, whose texts are made harmless before it adds its own controls."""

from __future__ import annotations

import sys
from collections.abc import Iterable

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from hpo.cli.output import Output
from hpo.harmless import harmless


class Terminal(Console):
    """A console for texts of others: neither markup nor emoji codes nor control characters in them mean anything."""

    def __init__(self, *, stderr: bool = False) -> None:
        guarded = sys.stderr if stderr else sys.stdout
        file = guarded.stream if isinstance(guarded, Output) else None
        super().__init__(stderr=stderr, file=file, markup=False, emoji=False, highlight=False)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        for text, style, control in super().render(renderable, options):
            yield Segment(text if control else harmless(text), style, control)
