"""Windows in time: neighbouring frames of every entry alike, within the clip, drawn evenly."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from objectives.windows import TIMED, window

TIME = 50


def batch(*lengths: int) -> dict[str, Tensor]:
    """A clip per length, padded; every entry tells row and frame."""
    time = torch.arange(TIME)
    frame = torch.stack([torch.where(time < length, time, -1) for length in lengths])
    number = 1000 * torch.arange(len(lengths))[:, None] + time
    return {
        "frame": frame,
        "action": torch.where(frame >= 0, number, -1),
        "keypoints": number[..., None, None].expand(-1, -1, 3, 2).double(),
        "video": number[..., None, None].expand(-1, -1, 2, 2),
        "rarity": torch.rand(len(lengths)),
        "mirror": torch.arange(TIME).expand(len(lengths), -1),  # as long as the time, and none
    }


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_a_window_holds_neighbouring_frames_of_every_entry_alike() -> None:
    whole = batch(*[TIME] * 20)
    cut = window(whole, 7, generator())
    first = cut["frame"][:, :1]
    assert torch.equal(cut["frame"], first + torch.arange(7))
    number = 1000 * torch.arange(20)[:, None] + cut["frame"]
    assert torch.equal(cut["action"], number)
    for name in ("keypoints", "video"):
        assert cut[name].shape == (20, 7, *whole[name].shape[2:])
        assert torch.equal(cut[name], number[..., None, None].expand(cut[name].shape).to(cut[name].dtype))
    assert len(first.unique()) > 10, "clips have windows of their own"


def test_what_has_no_time_passes() -> None:
    whole = batch(TIME, TIME)
    cut = window(whole, 7, generator())
    assert set(cut) == set(whole)
    for name in set(whole) - set(TIMED):
        assert cut[name] is whole[name]


def test_windows_lie_in_the_frames_that_a_clip_has() -> None:
    lengths = torch.tensor([50, 30, 8, 7])
    for seed in range(200):
        assert (window(batch(*lengths.tolist()), 7, generator(seed))["frame"] >= 0).all()


def test_a_clip_shorter_than_the_window_is_whole_in_it() -> None:
    for seed in range(50):
        cut = window(batch(5, TIME), 7, generator(seed))
        assert cut["frame"][0].tolist() == [0, 1, 2, 3, 4, -1, -1]


def test_every_place_is_drawn_equally_often() -> None:
    rows = 4000
    cut = window(batch(*[12] * rows), 7, generator())
    counts = cut["frame"][:, 0].bincount(minlength=6)
    assert len(counts) == 6
    # Six standard deviations of a binomial count.
    assert ((counts - rows / 6).abs() < 6 * (rows * 5 / 36) ** 0.5).all()


@pytest.mark.parametrize("length", [TIME, TIME + 1])
def test_without_a_cut_nothing_is_drawn_or_changed(length: int) -> None:
    source, whole = generator(), batch(TIME, 30)
    cut = window(whole, length, source)
    assert all(cut[name] is whole[name] for name in whole)
    assert torch.equal(source.get_state(), generator().get_state())


def test_equal_seeds_give_equal_windows() -> None:
    one, same, other = (window(batch(*[TIME] * 9), 7, generator(seed))["frame"] for seed in (3, 3, 4))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_clips_without_video_are_cut_alike() -> None:
    whole = batch(TIME, 30)
    bare = {name: value for name, value in whole.items() if name != "video"}
    assert torch.equal(window(whole, 7, generator())["frame"], window(bare, 7, generator())["frame"])
    assert "video" not in window(bare, 7, generator())
