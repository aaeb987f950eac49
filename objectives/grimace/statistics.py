"""What the training clips of a fold say of all others: the units in which the net reads pictures and answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from models.clip import motion
from objectives import scaling

if TYPE_CHECKING:
    from hpo.arrays import Arrays

#: Training clips by which motion is scaled.
MOVING = 32
#: What is in front of a feature's name as that of a statistic, with its number: files of tensors sort them by name.
_FEATURE = "feature.{:03d}."


def statistics(arrays: Arrays, rows: np.ndarray) -> dict[str, Tensor]:
    """Mean and spread of the training clips: `pixels` `[2, 3]`, `score` `[2]`, of each feature `[2]`.

    `motion` `[2]`, of MOVING clips among them, spread over the rows.
    """
    video = arrays["video"]
    channels = video.reshape(len(video), video.shape[1], 3, -1).transpose(0, 2, 1, 3)
    each = scaling.mean_std(arrays["features"][rows])
    return {
        "pixels": scaling.channels_mean_std(channels, rows),
        "motion": scaling.mean_std(_moved(video, rows))[:, 0],
        "score": scaling.mean_std(arrays["score"][rows][:, None])[:, 0],
    } | {_FEATURE.format(k) + name: each[:, k] for k, name in enumerate(arrays.info["features"])}


def features(found: Mapping[str, Tensor]) -> Tensor:
    """Mean and spread of the features, `[2, feature]`."""
    columns = [found[name] for name in _keys(found)]
    return torch.stack(columns, 1) if columns else found["score"].new_zeros((2, 0))


def names(found: Mapping[str, Tensor]) -> tuple[str, ...]:
    """Of the features, in their order."""
    return tuple(name[len(_FEATURE.format(0)) :] for name in _keys(found))


def _keys(found: Mapping[str, Tensor]) -> list[str]:
    return sorted(name for name in found if name.startswith("feature."))


def _moved(video: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """What `models.clip.motion` says of some rows, `[entry, 1]`."""
    some = rows[np.unique(np.linspace(0, len(rows) - 1, MOVING).round().astype(np.int64))]
    return np.concatenate([motion(torch.from_numpy(np.array(video[[row]]))).flatten().numpy() for row in some])[:, None]
