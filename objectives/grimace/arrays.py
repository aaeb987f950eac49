"""Clips as arrays: pictures, moments, scores and features."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hpo.objective import DataError
from objectives.grimace import files, synthetic
from objectives.grimace.data import MOMENTS, Wanted
from objectives.problems import listing

if TYPE_CHECKING:
    from hpo.arrays import ArrayFolder

#: Parameters of the group `data` that clips are made by.
KEYS = tuple(Wanted.__dataclass_fields__)


def prepare(source: Path | None, data: Mapping[str, Any], folder: ArrayFolder) -> Mapping[str, Any]:
    """Write clips, read or made up; every video is decoded once.

    `video` uint8 `[row, time, 3, side, side]`, RGB; `moment` int64 `[row]`, number in MOMENTS, -1 = not said; `score`
    float32 `[row]` and `features` float32 `[row, feature]`, NaN = not scored; `clip` and `subject` int64 `[row]`,
    numbers in `info["videos"]` and `info["subjects"]`; where the source deals subjects to folds `fold` int64 `[row]`.

    Raises:
        DataError: with everything that is wrong with the files.
    """
    wanted = Wanted.of(data)
    clips = synthetic.generate(wanted) if source is None else files.read(source, wanted)
    rows, side = len(clips.videos), wanted.resolution
    video = folder.create("video", (rows, wanted.max_frames, 3, side, side), np.uint8)
    problems = []
    for row in range(rows):
        try:
            video[row] = clips.pictures(row)
        except DataError as error:
            problems.append(str(error))
    if problems:
        raise DataError(listing(source, problems))
    video.flush()
    subjects, number = np.unique(clips.subjects, return_inverse=True)
    folder.add("moment", clips.moment)
    folder.add("score", clips.score)
    folder.add("features", clips.features)
    folder.add("clip", np.arange(rows))
    folder.add("subject", number.astype(np.int64))
    if clips.fold is not None:
        folder.add("fold", clips.fold)
    return {
        "classes": list(MOMENTS),
        "features": list(clips.feature_names),
        "videos": list(clips.videos),
        "subjects": subjects.tolist(),
        "notes": list(clips.notes),
        "synthetic": source is None,
        "unlabelled": clips.unlabelled,
    }
