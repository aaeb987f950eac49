"""Folds of clips: groups never part, and test groups are set aside only where that costs no fold an action."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hpo.arrays import Arrays, open_arrays
from hpo.objective import DataError, Split
from objectives.behaviour.objective import Behaviour
from tests.objectives.behaviour_folders import actions, dlc_csv, numbers

FRAMES = 12


def prepared(folder: Path, plan: dict[str, tuple[str, str]], **values: int) -> Arrays:
    """Sessions `name: (group, actions)`: each of the actions fills a clip of its own."""
    source = folder / "source"
    for number, (name, (_, held)) in enumerate(plan.items()):
        whole = numbers(number, frames=FRAMES * len(held))
        for kind, text in (
            ("keypoints", {f"{name}.csv": dlc_csv(whole)}),
            ("annotations", {f"{name}_{clip + 1}.csv": actions([action] * FRAMES) for clip, action in enumerate(held)}),
        ):
            (source / kind).mkdir(parents=True, exist_ok=True)
            for file, content in text.items():
                (source / kind / file).write_text(content)
    rows = "".join(f"{name},{group}\n" for name, (group, _) in plan.items())
    (source / "sessions.csv").write_text(f"session,group\n{rows}")
    given = {"data.train_T": FRAMES, "data.val_T": FRAMES, **values}
    return open_arrays(Behaviour(), source, given, folder / "cache")


def groups(arrays: Arrays, rows: np.ndarray) -> set[str]:
    return {arrays.info["groups"][number] for number in arrays["group"][rows]}


def cases(count: int, held: str) -> dict[str, tuple[str, str]]:
    """Two sessions in every group."""
    return {f"rat{number}": (f"cage{number // 2}", held) for number in range(2 * count)}


def validated(split: Split) -> list[int]:
    return sorted(np.concatenate([fold.validation for fold in split.folds]).tolist())


@pytest.mark.parametrize("seed", range(4))
def test_groups_never_part(tmp_path: Path, seed: int) -> None:
    arrays = prepared(tmp_path, cases(7, "01"))
    split = Behaviour().split(arrays, 3, seed)
    parts = [groups(arrays, rows) for rows in (*(fold.validation for fold in split.folds), split.test)]
    assert all(parts)
    assert sum(map(len, parts)) == len(set.union(*parts)) == 7
    for fold in split.folds:
        assert not groups(arrays, fold.train) & (groups(arrays, fold.validation) | groups(arrays, split.test))


@pytest.mark.parametrize(("count", "tested"), [(4, False), (5, True)])
def test_test_groups_are_set_aside_from_two_more_groups_than_folds_on(tmp_path: Path, count: int, tested: bool) -> None:
    arrays = prepared(tmp_path, cases(count, "01"))
    split = Behaviour().split(arrays, 3, 0)
    assert bool(len(split.test)) == tested
    assert validated(split) == sorted(set(range(len(arrays))) - set(split.test.tolist()))


def test_an_action_of_few_groups_leaves_no_test_groups(tmp_path: Path) -> None:
    plan = cases(6, "01") | {f"rare{number}": (f"cage{number}", "2") for number in range(4)}
    arrays = prepared(tmp_path, plan)
    split = Behaviour().split(arrays, 3, 0)
    assert len(split.test) == 0
    for fold in split.folds:
        held = Behaviour().class_counts(arrays)[fold.validation].any(axis=0)
        assert held.all(), "every action is validated in every fold"


def test_an_action_that_only_the_names_know_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "classes.json").write_text('{"0": "rest", "1": "walk", "2": "never"}')
    assert len(Behaviour().split(prepared(tmp_path, cases(5, "01")), 3, 0).test)


def test_one_group_is_dealt_clip_by_clip(tmp_path: Path) -> None:
    arrays = prepared(tmp_path, {"rat1": ("cage", "0101"), "rat2": ("cage", "011")})
    split = Behaviour().split(arrays, 2, 0)
    sizes = sorted(len(fold.validation) for fold in split.folds)
    assert validated(split) == sorted(set(range(7)) - set(split.test.tolist()))
    assert sizes[-1] - sizes[0] <= 1
    for fold in split.folds:
        assert Behaviour().class_counts(arrays)[fold.validation].any(axis=0).all()
    assert any(note.startswith("there is one group of sessions alone: ") for note in arrays.info["notes"])


def test_one_group_with_clips_is_one_group_whatever_else_was_skipped(tmp_path: Path) -> None:
    """The other group's file is shorter than its clip: it has no clips, and cannot validate anything."""
    plan = {"rat1": ("cage", "0101"), "rat2": ("other", "0")}
    prepared(tmp_path, plan)
    (tmp_path / "source" / "annotations" / "rat2_1.csv").write_text(actions([0] * (FRAMES - 1)))
    given = {"data.train_T": FRAMES, "data.val_T": FRAMES}
    arrays = open_arrays(Behaviour(), tmp_path / "source", given, tmp_path / "cache")
    assert groups(arrays, np.arange(len(arrays))) == {"cage"}
    assert validated(Behaviour().split(arrays, 2, 0)) == [0, 1, 2, 3]
    assert any(note.startswith("there is one group of sessions alone: ") for note in arrays.info["notes"])


def test_fewer_groups_than_folds_are_named(tmp_path: Path) -> None:
    arrays = prepared(tmp_path, cases(3, "01"))
    text = r"^4 folds need at least 4 groups, the data have 3: cage0, cage1, cage2; ask for fewer, folds: {count: 3}"
    with pytest.raises(DataError, match=text):
        Behaviour().split(arrays, 4, 0)


def test_fewer_clips_than_folds_are_numbered(tmp_path: Path) -> None:
    arrays = prepared(tmp_path, {"rat1": ("cage", "01")})
    with pytest.raises(DataError, match=r"^3 folds need at least 3 groups, the data have 2: clip 0, clip 1; ask for"):
        Behaviour().split(arrays, 3, 0)
