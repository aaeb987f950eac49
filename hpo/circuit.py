"""When the objective is broken: the same error again and again stops the study instead of spending its budget."""

from __future__ import annotations

from collections.abc import Sequence

from hpo.wording import last_line

#: The same error in all of the first trials, or in so many in a row, stops a study.
FIRST, IN_A_ROW = 3, 5
#: Ends that no other configuration avoids.
BROKEN = ("code_error", "data_error")


def broken_objective(ends: Sequence[tuple[str | None, str | None]]) -> str | None:
    """The error that all of these trials ended with, or None.

    Args:
        ends: class and text of the trials that ended last, at most `IN_A_ROW`; fewer are all there are.
    """
    errors = {(kind, last_line(text)) for kind, text in ends}
    if len(ends) < FIRST or len(errors) > 1 or ends[0][0] not in BROKEN:
        return None
    kind, text = errors.pop()
    return f"{kind}: {text}"
