"""Curriculum over loss terms: when each begins, and how fast its weight grows (Bengio et al. 2009, for tasks)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any


def starts(terms: Iterable[str], declared: Iterable[str]) -> Iterator[str]:
    """A parameter `loss.TERM_start` for each term that no declared `loss.PREFIX_start` covers."""
    known = {key.removeprefix("loss.") for key in declared}
    for term in terms:
        if _start_key(term, known) is None:
            yield f"loss.{term}_start"


def factors(terms: Iterable[str], loss: Mapping[str, Any], epoch: int) -> dict[str, float]:
    """What each term's weight is multiplied by.

    A term that starts at epoch 0 counts fully from the first epoch. One that starts at `s` is off up to and including
    epoch `s` and then grows linearly over `ramp_epochs`, so that it counts fully from epoch `s + ramp_epochs`.

    Args:
        terms: names of the loss terms.
        loss: the group of the parameters, with `TERM_start` (or `PREFIX_start`, for all terms that begin with
            `PREFIX_`) and `ramp_epochs`.
        epoch: counted from 1.
    """

    def factor(term: str) -> float:
        key = _start_key(term, loss)
        start = loss[key] if key is not None else 0
        return min(1.0, max(0, epoch - start) / max(1, loss["ramp_epochs"])) if start else 1.0

    return {term: factor(term) for term in terms}


def complete_at(terms: Iterable[str], loss: Mapping[str, Any]) -> int:
    """The first epoch from which every term counts fully."""
    keys = [key for term in terms if (key := _start_key(term, loss)) is not None]
    late = [int(loss[key]) for key in keys if loss[key]]
    return max(late) + max(1, int(loss["ramp_epochs"])) if late else 1


def _start_key(term: str, known: Iterable[str]) -> str | None:
    """`peak_latency_start` or, where that is not known, `peak_start`."""
    words = term.split("_")
    keys = ("_".join(words[:count]) + "_start" for count in range(len(words), 0, -1))
    return next((key for key in keys if key in known), None)
