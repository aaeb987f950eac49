"""What each augmentation does to clips, against numpy, and how often."""

from __future__ import annotations

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from objectives.clips import Strengths
from tests.objectives.made_up_clips import HIGH, MANY, MIRROR, POINTS, WIDE, assert_often, assert_same, clips, drawn

#: A comparison of distributions refuses one seed in ten thousand; the seeds are fixed, so it does so now or never.
ODDS = 1e-4


def assert_uniform(sample: Tensor, low: float, high: float) -> None:
    assert stats.kstest(np.asarray(sample), stats.uniform(low, high - low).cdf).pvalue > ODDS


def factor(found: Tensor, change: Tensor) -> Tensor:
    """`[rows]`, by which whole numbers are those of `change` scaled and rounded: one that explains every pixel."""
    found, change = found.flatten(1), change.flatten(1)
    low, high = ((found - half * change.sign()) / change for half in (0.5, -0.5))
    low, high = low.where(change != 0, -torch.inf).amax(1), high.where(change != 0, torch.inf).amin(1)
    assert (low < high + 1e-5).all()  # single precision: 1e-7 of white over changes of several levels
    return (low + high) / 2


def test_points_are_jittered_where_they_are_seen_and_stay_in_the_frame() -> None:
    batch = clips(20, 50)
    found = drawn(batch, Strengths(jitter=0.02))
    assert_same(found["clean"], batch["keypoints"])
    before, after = batch["keypoints"].numpy(), found["keypoints"].numpy()
    np.testing.assert_array_equal(np.isnan(after), np.isnan(before))
    limit = np.array([WIDE, HIGH])
    inner = (before > 0.2) & (before < limit - 0.2)  # ten standard deviations from the edges
    off = np.where(inner, after - before, np.nan)
    np.testing.assert_allclose(np.nanmax(off, 1), np.nanmin(off, 1), rtol=0, atol=1e-15)  # all through a clip alike
    assert stats.kstest(np.nanmean(off, 1).ravel(), stats.norm(scale=0.02).cdf, nan_policy="omit").pvalue > ODDS
    far = drawn(batch, Strengths(jitter=5.0))["keypoints"].numpy()
    assert np.nanmin(far) == 0
    np.testing.assert_array_equal(np.nanmax(far, axis=(0, 1, 2)), limit)


def test_a_mirror_image_swaps_sides_in_points_and_video() -> None:
    batch = clips(6, 9)
    found = drawn(batch, Strengths(flip=1.0))
    expected = batch["keypoints"].numpy()[:, :, MIRROR] * [-1, 1] + [WIDE, 0]
    np.testing.assert_allclose(found["keypoints"], expected, rtol=0, atol=1e-15)
    assert_same(found["clean"], found["keypoints"])
    np.testing.assert_array_equal(found["video"], batch["video"].numpy()[..., ::-1])
    for name in ("action", "frame", "sure", "extent", "mirror"):
        assert_same(found[name], batch[name])


def test_the_mirror_image_of_a_mirror_image_is_the_clip() -> None:
    batch = clips(6, 9)
    twice = drawn(drawn(batch, Strengths(flip=1.0)), Strengths(flip=1.0), seed=2)
    for name in batch:  # 1 - (1 - x) keeps all but the last bit
        torch.testing.assert_close(twice[name], batch[name], rtol=0, atol=1e-15, equal_nan=True)


def test_clips_are_rolled_by_whole_frames_with_everything_that_has_time() -> None:
    batch = clips(MANY, 12)
    found = drawn(batch, Strengths(roll=3.9))
    shift = (-found["frame"][:, 0] + 6) % 12 - 6
    for row in range(0, MANY, 7):
        for name in ("keypoints", "action", "frame", "video", "sure"):
            expected = np.roll(batch[name][row].numpy(), int(shift[row]), axis=0)
            np.testing.assert_array_equal(found[name][row].numpy(), expected)
    assert_same(found["clean"], found["keypoints"])
    for name in ("animal", "extent", "mirror"):
        assert_same(found[name], batch[name])
    for step in range(-3, 4):
        assert_often(shift == step, 0.2 / 7 + 0.8 * (step == 0))


def test_a_roll_longer_than_the_clip_goes_round() -> None:
    found = drawn(clips(200, 5), Strengths(roll=40))
    assert_same(found["frame"].sort(1).values, torch.arange(5).repeat(200, 1))


def test_an_entry_as_long_as_time_that_has_none_does_not_roll() -> None:
    batch = clips(60, POINTS)
    assert_same(drawn(batch, Strengths(roll=5))["mirror"], batch["mirror"])
    batch = clips(60, 2)
    assert_same(drawn(batch, Strengths(roll=1))["extent"], batch["extent"])


def test_frames_are_dropped_in_points_and_video_but_not_for_the_target() -> None:
    batch = clips(MANY, 33)
    batch["frame"][:, -3:] = -1
    batch["keypoints"] = batch["keypoints"].nan_to_num(0.5)
    batch["video"].clamp_min_(1)
    found = drawn(batch, Strengths(temporal_drop=0.25))
    dropped = found["keypoints"].isnan().all(-1).all(-1)
    assert torch.equal(dropped, found["keypoints"].isnan().any(-1).any(-1))
    assert torch.equal(dropped, (found["video"] == 0).all(-1).all(-1))
    kept = ~dropped[..., None, None]
    assert_same(found["video"], batch["video"] * kept)
    assert_same(found["clean"], batch["keypoints"])
    assert_same(found["action"], batch["action"])
    assert not dropped[:, -3:].any()
    hit = dropped.any(1)  # but for 0.75 ** 30, 2 in 10000 of them
    assert_often(hit, 0.3)
    assert_often(dropped[hit, :-3], 0.25)


def test_brightness_scales_half_of_the_clips() -> None:
    batch = clips(MANY, 3)
    batch["video"] = batch["video"] // 2  # nothing is clamped
    found, before = drawn(batch, Strengths(brightness=0.4))["video"].double(), batch["video"].double()
    gain = factor(found, before)
    same = (found == before).flatten(1).all(1)
    assert_often(~same, 0.5)
    assert_uniform(gain[~same], 0.6, 1.4)


def test_contrast_scales_about_the_mean_of_the_frames_that_are_there() -> None:
    batch = clips(MANY, 4)
    batch["video"] = 80 + batch["video"] // 4
    batch["frame"][:, -1], batch["video"][:, -1] = -1, 0
    found = drawn(batch, Strengths(contrast=0.4))["video"].double()
    assert (found[:, -1] == 0).all()
    found, before = found[:, :-1], batch["video"][:, :-1].double()
    mean = before.mean((1, 2, 3), keepdim=True)
    gain = factor(found - mean, before - mean)
    same = (found == before).flatten(1).all(1)
    assert_often(~same, 0.5)
    assert_uniform(gain[~same], 0.6, 1.4)


def test_brightness_and_contrast_are_clamped_once() -> None:
    """Together: the mean is that of the brighter clip, and what passes white in between comes back.

    Equal seeds give equal factors, which are read off each change alone, from levels that are not clamped.
    """
    batch = clips(MANY, 1)
    batch["video"] = torch.tensor([[10, 250], [60, 100]], dtype=torch.uint8).expand(MANY, 1, 2, 2)
    video, mean = batch["video"].double(), 105
    lit = drawn(batch, Strengths(brightness=0.4))["video"].double()
    contrasted = drawn(batch, Strengths(contrast=0.4))["video"].double()
    brightness = factor(lit[..., 1, :1], video[..., 1, :1])[:, None, None, None]
    contrast = factor(contrasted[..., 1, :1] - mean, video[..., 1, :1] - mean)[:, None, None, None]
    found = drawn(batch, Strengths(brightness=0.4, contrast=0.4))["video"].double()
    expected = mean * brightness + (video - mean) * brightness * contrast
    # Read off 60, brightness errs by 0.5 / 60, of at most 105 + 1.4 * 145; contrast by 0.5 / 45, of 1.4 * 145.
    torch.testing.assert_close(found, expected.clamp(0, 255), rtol=0, atol=6)
    assert ((lit == 255) & (found < 240)).any() and (found == 255).any() and (found == 0).any()


def test_noise_is_gaussian_and_never_the_same() -> None:
    rows, time = 300, 40
    batch = clips(rows, time)
    batch["video"] = torch.full_like(batch["video"], 128)
    noise = (drawn(batch, Strengths(noise=0.02))["video"].double() - 128).numpy()
    hit = (noise != 0).any((1, 2, 3))
    assert_often(torch.from_numpy(hit), 0.3)
    noise = noise[hit]
    std, count = 0.02 * 255, noise.size
    assert abs(noise.mean()) < 6 * std / count**0.5
    # Rounding adds a twelfth to the variance; neighbours in time share nothing.
    assert abs(noise.var() - std**2 - 1 / 12) < 6 * noise.var() * (2 / count) ** 0.5
    levels, width = np.arange(-12, 13), stats.norm(scale=std)
    share = np.array([(noise == level).mean() for level in levels])
    expected = width.cdf(levels + 0.5) - width.cdf(levels - 0.5)
    assert (np.abs(share - expected) < 6 * (expected / count) ** 0.5).all()
    for other in (noise[:, 1:] * noise[:, :-1], noise[1:] * noise[:-1], noise[..., 1:] * noise[..., :-1]):
        assert abs(other.mean()) < 6 * noise.var() / other.size**0.5


def test_each_clip_has_draws_of_its_own() -> None:
    """Whether something happens to a clip says nothing about whether something else does."""
    batch = clips(MANY, 12)
    batch["keypoints"] = batch["keypoints"].nan_to_num(0.5)
    batch["video"] = torch.full_like(batch["video"], 100)
    found = drawn(batch, Strengths(temporal_drop=0.9, roll=5, flip=0.5, brightness=0.5))
    dropped = found["keypoints"].isnan().flatten(1).any(1)
    rolled = (found["frame"] != batch["frame"]).any(1)
    turned = (found["clean"][:, :, 4].sum((1, 2)) - batch["keypoints"][:, :, 4].sum((1, 2))).abs() > 1e-9
    lit = found["video"].amax((1, 2, 3)) != 100
    flags = torch.stack([dropped, rolled, turned, lit]).double()
    correlation = torch.corrcoef(flags)[*torch.triu_indices(4, 4, 1)]
    assert (correlation.abs() < 6 / MANY**0.5).all()
    assert_often(turned, 0.5)
