"""Segmental scores equal those of a count by hand, and of one that looks at every pair of segments frame by frame."""

from __future__ import annotations

import subprocess
import sys
from functools import cache

import numpy as np
import pytest

from objectives.segments import ALL, OVERLAPS, segment_report, segment_scores, segment_sums

NAMES = ["rest", "walk", "lick"]
#: A segment: its class and its frames.
Run = tuple[int, set[int]]


def of(*clips: str) -> np.ndarray:
    """A letter per frame: a, b, c for the classes, a dot where nothing is annotated."""
    return np.asarray([[".abc".index(letter) - 1 for letter in clip] for clip in clips])


def runs(labels: list[int], annotated: list[bool]) -> list[Run]:
    found: list[Run] = []
    for frame, label in enumerate(labels):
        if not annotated[frame]:
            continue
        if found and found[-1][0] == label and frame - 1 in found[-1][1]:
            found[-1][1].add(frame)
        else:
            found.append((label, {frame}))
    return found


def distance(left: tuple[int, ...], right: tuple[int, ...]) -> int:
    @cache
    def between(i: int, j: int) -> int:
        if i == 0 or j == 0:
            return i + j
        swap = between(i - 1, j - 1) + (left[i - 1] != right[j - 1])
        return min(swap, between(i - 1, j) + 1, between(i, j - 1) + 1)

    return between(len(left), len(right))


def outcomes_of(said: list[Run], true: list[Run], overlap: float, classes: int) -> np.ndarray:
    """`[class, 3]`, all pairs compared, in the words of the paper."""
    counts, taken = np.zeros((classes, 3)), [False] * len(true)
    for label, frames in said:
        shared = [len(frames & own) / len(frames | own) if label == kind else 0.0 for kind, own in true]
        best = shared.index(max(shared))
        hit = shared[best] >= overlap and not taken[best]
        counts[label, 0 if hit else 1] += 1
        taken[best] |= hit
    for (label, _), hit in zip(true, taken, strict=True):
        counts[label, 2] += not hit
    return counts


def brute_force(prediction: np.ndarray, truth: np.ndarray, classes: int) -> dict[str, np.ndarray]:
    segments, edit = np.zeros((len(OVERLAPS), classes, 3)), np.zeros(2)
    for said_row, true_row in zip(prediction.tolist(), truth.tolist(), strict=True):
        annotated = [label >= 0 for label in true_row]
        said, true = runs(said_row, annotated), runs(true_row, annotated)
        if true:
            words = tuple(label for label, _ in said), tuple(label for label, _ in true)
            edit += 1 - distance(*words) / max(len(said), len(true)), 1
            segments += [outcomes_of(said, true, overlap, classes) for overlap in OVERLAPS]
    return {"segments": segments, "edit": edit}


def drawn(seed: int, rows: int = 12, time: int = 40, classes: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Truth of runs, a prediction that is right in places and flickers in others; gaps, and a row of nothing."""
    draw = np.random.default_rng(seed)
    truth = np.stack(
        [np.repeat(draw.integers(0, classes, time), draw.integers(1, 9, time))[:time] for _ in range(rows)]
    )
    shifted = np.roll(truth, draw.integers(-3, 4), axis=1)
    prediction = np.where(draw.random(truth.shape) < 0.2, draw.integers(0, classes, truth.shape), shifted)
    truth[draw.random(truth.shape) < 0.05] = -1
    truth[:, : draw.integers(0, 6)] = -1
    truth[0] = -1
    return prediction, truth


@pytest.mark.parametrize("seed", range(25))
def test_the_sums_are_those_of_a_look_at_all_pairs(seed: int) -> None:
    prediction, truth = drawn(seed)
    found, expected = segment_sums(prediction, truth, 3), brute_force(prediction, truth, 3)
    np.testing.assert_array_equal(found["segments"], expected["segments"])
    # Eleven shares of one are added; each sum of two is off by 1e-16 of at most 11.
    np.testing.assert_allclose(found["edit"], expected["edit"], rtol=0, atol=2e-14)
    assert {name: (part.dtype, part.shape) for name, part in found.items()} == {
        "segments": (np.dtype(np.float64), (3, 3, 3)),
        "edit": (np.dtype(np.float64), (2,)),
    }


@pytest.mark.parametrize("seed", range(3))
def test_long_runs_of_two_classes_that_tie_are_counted_alike(seed: int) -> None:
    draw = np.random.default_rng(seed)
    prediction, truth = (np.repeat(draw.integers(0, 2, (30, 30)), 2, axis=1) for _ in range(2))
    found, expected = segment_sums(prediction, truth, 2), brute_force(prediction, truth, 2)
    np.testing.assert_array_equal(found["segments"], expected["segments"])


def test_sums_of_two_batches_add_to_those_of_their_union() -> None:
    prediction, truth = drawn(1, rows=20)
    whole = segment_sums(prediction, truth, 3)
    parts = [segment_sums(prediction[rows], truth[rows], 3) for rows in (slice(0, 1), slice(1, 7), slice(7, 20))]
    np.testing.assert_array_equal(sum(part["segments"] for part in parts), whole["segments"])
    np.testing.assert_allclose(sum(part["edit"] for part in parts), whole["edit"], rtol=0, atol=2e-14)  # as above


def test_a_perfect_prediction_scores_one_and_flickering_costs() -> None:
    truth = of("aaaaabbbbbaaaaa", "ccccccccccccccc")
    assert segment_scores(segment_sums(truth, truth, 3), NAMES) == {
        "segment_f1@0.1": 1,
        "segment_f1@0.3": 1,
        "segment_f1@0.5": 1,
        "edit": 1,
    }
    # Two frames of thirty are wrong. Of the second clip's segments, of 5, 1, 8 and 1 frames, the first is the hit at
    # 0.1 and 0.3, the third, 8 of 15, at 0.5: four hits in all, three false ones, none missed.
    flickering = of("aaaaabbbbbaaaaa", "cccccbccccccccb")
    scores = segment_scores(segment_sums(flickering, truth, 3), NAMES)
    assert [scores[f"segment_f1@{overlap}"] for overlap in OVERLAPS] == [2 * 4 / (2 * 4 + 3)] * 3
    assert scores["edit"] == (1 + 1 / 4) / 2


@pytest.mark.parametrize(("length", "hits"), [(1, [1, 0, 0]), (2, [1, 0, 0]), (3, [1, 1, 0]), (4, [1, 1, 0])])
def test_an_overlap_is_reached_where_it_is_met_exactly(length: int, hits: list[int]) -> None:
    """Three frames of ten are 0.3, though 0.1 * 3 is not in floats."""
    sums = segment_sums(of("a" * length + "b" * (10 - length)), of("a" * 10), 3)
    assert sums["segments"][:, 0, 0].tolist() == hits
    assert sums["segments"][:, 1].tolist() == [[0, 1, 0]] * 3, "predicted, and nowhere true"


def test_of_two_equal_true_segments_the_first_is_taken_and_the_second_missed() -> None:
    sums = segment_sums(of("aaaaa"), of("aabaa"), 3)
    assert sums["segments"][1].tolist() == [[1, 0, 1], [0, 0, 1], [0, 0, 0]]


def test_a_second_segment_on_a_true_one_that_is_taken_is_false_even_if_it_fits_better() -> None:
    sums = segment_sums(of("aabaaaaa"), of("aaaaaaaa"), 3)
    assert sums["segments"][0, 0].tolist() == [1, 1, 0]
    assert sums["segments"][2, 0].tolist() == [1, 1, 0], "at 0.5 it is the second that hits"


def test_frames_without_annotation_split_segments_and_count_nowhere() -> None:
    sums = segment_sums(of("baaabaaa"), of(".aaa.aaa"), 3)
    assert sums["segments"][2].tolist() == [[2, 0, 0], [0, 0, 0], [0, 0, 0]]
    assert sums["edit"].tolist() == [1, 1]
    bridged = segment_sums(of("aaaaaaaa"), of(".aaa.aaa"), 3)
    np.testing.assert_array_equal(bridged["segments"], sums["segments"])


def test_one_clip_does_not_lead_over_into_the_next() -> None:
    sums = segment_sums(of("aaa", "aaa"), of("aaa", "aaa"), 3)
    assert sums["segments"][0, 0].tolist() == [2, 0, 0]


def test_without_annotations_there_are_sums_and_no_scores() -> None:
    for truth in (of("...", "..."), np.zeros((0, 3), np.int64)):
        sums = segment_sums(np.zeros_like(truth), truth, 3)
        assert not sums["segments"].any() and sums["edit"].tolist() == [0, 0]
        assert sums["segments"].shape == (3, 3, 3)
        assert segment_scores(sums, NAMES) == {} and segment_report(sums, NAMES) == {}


def test_the_report_has_a_row_per_true_class_and_one_for_all() -> None:
    sums = segment_sums(of("aaabbbccc", "aaaaaaaaa"), of("aaabbbbbb", "bbbaaabbb"), 3)
    report = segment_report(sums, NAMES)
    assert list(report) == ["rest", "walk", ALL]
    assert report["rest"] == {"segment_f1@0.1": 1, "segment_f1@0.3": 1, "segment_f1@0.5": 2 / 4, "segments": 2}
    assert report["walk"] == dict.fromkeys([f"segment_f1@{k}" for k in OVERLAPS], 2 / 4) | {"segments": 3}
    # c was only predicted: a false positive of all.
    assert report[ALL]["segment_f1@0.1"] == 2 * 3 / (2 * 3 + 1 + 2)
    assert segment_scores(sums, NAMES) == {f"segment_f1@{k}": report[ALL][f"segment_f1@{k}"] for k in OVERLAPS} | {
        "edit": pytest.approx((2 / 3 + 1 / 3) / 2)
    }


def test_it_imports_no_torch() -> None:
    check = "import sys, objectives.segments; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", check], check=True)
