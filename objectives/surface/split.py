"""Folds that leave whole groups of volumes out, each with volumes of little, some and much foreground."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from hpo.objective import DataError, Split
from objectives import splits
from objectives.problems import some

if TYPE_CHECKING:
    from hpo.arrays import Arrays

#: Kinds of volumes, equally many of each, by their share of foreground.
KINDS = 3


def split(arrays: Arrays, folds: int, seed: int) -> Split:
    """Deal groups to folds by their volumes, however these are cut into windows; none is set aside for a test.

    Raises:
        DataError: fewer groups than folds, or groups in which nothing is labelled: their fold would have no score.
    """
    info, volume = arrays.info, np.asarray(arrays["volume"])
    labelled, foreground = (np.asarray([about[key] for about in info["volumes"]]) for key in ("labelled", "foreground"))
    group = np.asarray([info["groups"].index(about["group"]) for about in info["volumes"]])
    empty = [name for number, name in enumerate(info["groups"]) if not labelled[group == number].any()]
    if empty:
        named = f"{'group' if len(empty) == 1 else 'groups'} {', '.join(map(str, empty))}"
        way = "a fold of theirs could not be scored; take their volumes out of train.csv"
        raise DataError(f"no voxel is labelled in {named}: {way}")
    rank = np.argsort(np.argsort(foreground / np.maximum(labelled, 1), kind="stable"), kind="stable")
    kinds = (rank * KINDS // len(rank))[:, None] == np.arange(KINDS)
    if len(info["groups"]) < folds:
        raise DataError(_too_few(info["groups"], len(info["volumes"]), folds))
    number = splits.grouped_folds(group, kinds, folds, seed, info["groups"])
    return splits.to_split(number[volume], folds)


def _too_few(groups: Sequence[object], volumes: int, folds: int) -> str:
    ways = ["add volumes of more groups"]
    if len(groups) > 1:
        ways.insert(0, f"ask for fewer, folds: {{count: {len(groups)}}}")
    if volumes >= folds:
        alone = "write the id of each volume into a column group of train.csv"
        ways.append(f"{alone}: scores are then too good, since volumes of one group are alike")
    text = f"{folds} folds need at least {folds} groups, the data have {len(groups)}: {some(list(map(str, groups)))}"
    return "\n  ".join([text, "\n  or ".join(ways)])
