"""Segments of actions against the true ones: F1 at an overlap, and the edit score.

A frame score rates a prediction that flickers as high as a steady one; these two count what a person would count. The
F1 is that of Lea et al., Temporal Convolutional Networks for Action Segmentation and Detection, CVPR 2017, section 4;
the edit score that of Lea et al., Segmental Spatiotemporal CNNs for Fine-grained Action Segmentation, ECCV 2016. The
authors' F1 is a mean over videos, which no sums give: here the segments of all clips are counted together, as in Farha
and Gall, MS-TCN, CVPR 2019. No class is taken for background: all count.

Frames without an annotation belong to no segment, neither of the truth nor of the prediction. A gap of them ends a
segment: what is on its two sides may or may not be one action, and nobody has said so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from rapidfuzz.distance import Levenshtein

#: Shares of the union that a segment and a true one must have in common.
OVERLAPS = (0.1, 0.3, 0.5)
#: The row of `segment_report` over all classes.
ALL = "all classes"


@dataclass(frozen=True, kw_only=True)
class Segments:
    """Runs of one label among the annotated frames of all clips, in the order of clips and time."""

    label: np.ndarray  #: int64 `[segment]`
    row: np.ndarray  #: int64 `[segment]`, its clip
    frames: np.ndarray  #: int64 `[segment]`, how long it is
    first: np.ndarray  #: bool `[annotated frame]`, where one begins


def segment_sums(prediction: np.ndarray, truth: np.ndarray, classes: int) -> dict[str, np.ndarray]:
    """Count the segments of some clips.

    Each predicted segment, in the order of time, takes the true one of its class with which it shares the largest
    part of their union, the first of several. It is a true positive if that part is at least the overlap and no
    earlier segment was a true positive with that one, else a false positive. True segments without a true positive
    are false negatives.

    Args:
        prediction: int64 `[rows, time]`, numbers of classes.
        truth: int64 `[rows, time]`; -1 = not annotated.
        classes: how many there are.

    Returns:
        `segments`, float64 `[overlap, class, 3]`: true positives, false positives, false negatives at `OVERLAPS`.
        `edit`, float64 `[2]`: the rows' edit scores (0 to 1) added, and how many rows have an annotated frame. Sums of
        two batches add to those of their union.
    """
    row, time = np.nonzero(truth >= 0)
    broken = np.ones(len(row), bool)  # nothing leads over from the frame before: a clip or a gap ends
    broken[1:] = (np.diff(row) != 0) | (np.diff(time) != 1)
    said, true = _segments(prediction[row, time], row, broken), _segments(truth[row, time], row, broken)
    return {"segments": _outcomes(said, true, classes), "edit": _edit_sums(said, true)}


def _segments(labels: np.ndarray, row: np.ndarray, broken: np.ndarray) -> Segments:
    first = broken.copy()
    first[1:] |= np.diff(labels) != 0
    return Segments(label=labels[first], row=row[first], frames=_lengths(first), first=first)


def _lengths(first: np.ndarray) -> np.ndarray:
    return np.diff(np.append(np.flatnonzero(first), len(first)))


def _outcomes(said: Segments, true: Segments, classes: int) -> np.ndarray:
    """True positives, false positives and false negatives `[overlap, class, 3]`."""
    best, shared = _best(said, true)
    counts = np.zeros((len(OVERLAPS), classes, 3))
    for k, overlap in enumerate(OVERLAPS):
        # A quotient of whole numbers is rounded to what the literal of its value is rounded to: 3 of 10 are 0.3.
        taken = np.unique(best[shared >= overlap])
        hits = np.bincount(true.label[taken], minlength=classes)
        counts[k, :, 0] = hits
        counts[k, :, 1] = np.bincount(said.label, minlength=classes) - hits
        counts[k, :, 2] = np.bincount(true.label, minlength=classes) - hits
    return counts


def _best(said: Segments, true: Segments) -> tuple[np.ndarray, np.ndarray]:
    """The true segment each predicted one takes, and the part of their union they share; 0 where none is its class.

    Two runs meet in one run, so the frames between one beginning, of either kind, and the next are all that one
    predicted and one true segment share: there are no other pairs.
    """
    piece = said.first | true.first
    ours, theirs = np.cumsum(said.first)[piece] - 1, np.cumsum(true.first)[piece] - 1
    common = _lengths(piece)
    shared = common / (said.frames[ours] + true.frames[theirs] - common)
    shared[said.label[ours] != true.label[theirs]] = 0
    order = np.lexsort((theirs, -shared, ours))
    chosen = order[np.unique(ours[order], return_index=True)[1]]
    return theirs[chosen], shared[chosen]


def _edit_sums(said: Segments, true: Segments) -> np.ndarray:
    """Edit scores of the rows added, and how many rows there are; whatever has a true segment has a predicted one."""
    rows, starts = np.unique(true.row, return_index=True)
    truths = np.split(true.label, starts[1:])  # one empty part where there are no rows
    words = np.split(said.label, np.searchsorted(said.row, rows[1:]))
    pairs = zip(words, truths, strict=True)
    score = sum(Levenshtein.normalized_similarity(word.tolist(), true_word.tolist()) for word, true_word in pairs)
    return np.asarray([score if len(rows) else 0, len(rows)], np.float64)


def segment_scores(sums: Mapping[str, np.ndarray], names: Sequence[str]) -> dict[str, float]:
    """Scores of a split, all of them 0 to 1 (the papers give percent).

    Args:
        sums: added sums of `segment_sums`.
        names: of the classes.

    Returns:
        `segment_f1@0.1`, `segment_f1@0.3`, `segment_f1@0.5` over all classes together, and `edit`, the mean over the
        clips; nothing at all where nothing is annotated.
    """
    report = segment_report(sums, names)
    if not report:
        return {}
    edit, rows = (float(value) for value in sums["edit"])
    return {_column(overlap): report[ALL][_column(overlap)] for overlap in OVERLAPS} | {"edit": edit / rows}


def segment_report(sums: Mapping[str, np.ndarray], names: Sequence[str]) -> dict[str, dict[str, float]]:
    """F1 of each class that occurs in the truth, and last of `ALL` together.

    Args:
        sums: added sums of `segment_sums`.
        names: of the classes.

    Returns:
        Class name -> `segment_f1@0.1` and so on, and `segments`, how many there are in the truth. Segments of a class
        that was only predicted are false positives of `ALL`. Empty where nothing is annotated.
    """
    counts = np.asarray(sums["segments"])
    true = counts[0, :, 0] + counts[0, :, 2]
    if not true.any():
        return {}
    rows = {names[k]: _row(counts[:, k], true[k]) for k in np.flatnonzero(true).tolist()}
    return rows | {ALL: _row(counts.sum(1), true.sum())}


def _row(outcomes: np.ndarray, true: float) -> dict[str, float]:
    """Of outcomes `[overlap, 3]`."""
    f1 = [float(2 * hits / (2 * hits + false + missed)) for hits, false, missed in outcomes]
    return {_column(overlap): value for overlap, value in zip(OVERLAPS, f1, strict=True)} | {"segments": float(true)}


def _column(overlap: float) -> str:
    return f"segment_f1@{overlap}"
