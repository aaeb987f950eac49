"""Frames of videos that are written here, against what was drawn into them, and files that are damaged."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2

from hpo.objective import DataError
from objectives.video import Facts, facts, pictures

FRAMES, WIDTH, HEIGHT = 60, 96, 64
#: Container, codec and its pixels: what cameras and DeepLabCut write, what is lossless, and B-frames, which are stored
#: in another order than they are shown in.
KINDS = [
    ("mp4", "libx264", "yuv420p", {}),
    ("avi", "mpeg4", "yuv420p", {"b": "2M"}),
    ("mp4", "mpeg4", "yuv420p", {"b": "2M", "bf": "2"}),
    ("avi", "mjpeg", "yuvj420p", {"b": "8M"}),
    ("mkv", "ffv1", "gray", {}),
    ("mkv", "libx264", "yuv420p", {}),
    ("webm", "libvpx-vp9", "yuv420p", {}),
]
IDS = [f"{codec}-{ending}" for ending, codec, *_ in KINDS]


def moving_square(width: int = WIDTH, height: int = HEIGHT) -> list[np.ndarray]:
    """A white square of 16 pixels on black that goes one pixel to the right per frame, uint8 `[height, width, 3]`."""
    frames = np.zeros((FRAMES, height, width, 3), np.uint8)
    for number, frame in enumerate(frames):
        frame[20:36, 8 + number : 24 + number] = 255
    return list(frames)


def noise(count: int, *shape: int) -> list[np.ndarray]:
    return list(np.random.default_rng(0).integers(0, 256, (count, *shape), dtype=np.uint8))


def write(
    path: Path,
    frames: Sequence[np.ndarray],
    codec: str = "ffv1",
    pixels: str = "gray",
    *,
    options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
    matrix: Sequence[int] | None = None,
    earlier: int = 0,
) -> Path:
    """A video of 25 frames per second; with `earlier`, that many of its frames come before time 0."""
    with av.open(str(path), "w", options=container_options or {}) as container:
        stream: Any = container.add_stream(codec, rate=25, options=options or {})
        stream.height, stream.width = frames[0].shape[:2] if frames else (HEIGHT, WIDTH)
        stream.pix_fmt = pixels
        if matrix is not None:
            stream.set_display_matrix(matrix)
        container.start_encoding()  # the file is begun whether or not there are frames
        kinds = {2: "gray", 3: "rgb24"}
        pictures = [av.VideoFrame.from_ndarray(frame, kinds[frame.ndim]) for frame in frames]
        for packet in [packet for picture in [*pictures, None] for packet in stream.encode(picture)]:
            shift = round(earlier / 25 / packet.time_base)
            packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
            container.mux(packet)
    return path


def written(folder: Path, kind: tuple[str, str, str, dict[str, str]]) -> Path:
    ending, codec, pixels, options = kind
    return write(folder / f"session.{ending}", moving_square(), codec, pixels, options=options)


def decoded(path: Path, side: int, *, grey: bool = True, **how: Any) -> np.ndarray:
    return np.stack(list(pictures(path, side, grey=grey, **how)))


# ---- facts and order


@pytest.mark.parametrize("kind", KINDS, ids=IDS)
def test_every_frame_is_counted_and_given_in_its_order(tmp_path: Path, kind: tuple[Any, ...]) -> None:
    path = written(tmp_path, kind)
    assert facts(path) == Facts(FRAMES, WIDTH, HEIGHT, 25.0)
    found = decoded(path, WIDTH).astype(float)
    assert found.shape == (FRAMES, WIDTH, WIDTH)
    found[found < 128] = 0  # ringing about the square's edges
    place = (found.sum(1) * np.arange(WIDTH)).sum(1) / found.sum((1, 2))
    # Half of what lies between two frames: a frame at another's place errs by one pixel at least.
    np.testing.assert_allclose(place, np.arange(FRAMES) + 15.5, atol=0.5)
    rows = found.sum(2) @ np.arange(WIDTH) / found.sum((1, 2))
    np.testing.assert_allclose(rows, 27.5 + (WIDTH - HEIGHT) / 2, atol=0.5)


def test_lossless_grey_frames_come_as_they_were_drawn(tmp_path: Path) -> None:
    frames = noise(5, 48, 48)
    found = decoded(write(tmp_path / "grey.mkv", frames), 48)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, frames)


def test_lossless_colours_come_as_they_were_drawn(tmp_path: Path) -> None:
    frames = noise(5, 48, 48, 3)
    found = decoded(write(tmp_path / "colour.mkv", frames, pixels="bgr0"), 48, grey=False)
    np.testing.assert_array_equal(found, np.stack(frames).transpose(0, 3, 1, 2))


@pytest.mark.parametrize("colour", [(255, 255, 255), (0, 0, 0), (255, 0, 0), (0, 255, 0), (0, 0, 255), (40, 90, 200)])
@pytest.mark.parametrize("pixels", ["bgr0", "yuv420p"])
def test_grey_is_luminance_from_black_to_white(tmp_path: Path, colour: tuple[int, int, int], pixels: str) -> None:
    """Of BT.601; YUV has 219 steps for 255 levels and is rounded once more in colour: two levels and three."""
    path = write(tmp_path / "plain.mkv", [np.full((16, 16, 3), colour, np.uint8)], pixels=pixels)
    np.testing.assert_allclose(decoded(path, 16)[0], np.dot((0.299, 0.587, 0.114), colour), atol=2)
    expected = np.broadcast_to(np.array(colour)[:, None, None], (3, 16, 16))
    np.testing.assert_allclose(decoded(path, 16, grey=False)[0], expected, atol=3)


# ---- squares


@pytest.mark.parametrize(("width", "height"), [(96, 64), (64, 96), (97, 31), (640, 4), (48, 48), (20, 10)])
@pytest.mark.parametrize("side", [48, 33, 1])
def test_a_frame_lies_in_the_middle_of_its_square(tmp_path: Path, width: int, height: int, side: int) -> None:
    square = decoded(write(tmp_path / "white.mkv", [np.full((height, width), 255, np.uint8)]), side)[0]
    rows, columns = (square == 255).any(1), (square == 255).any(0)
    np.testing.assert_array_equal(square, 255 * np.outer(rows, columns))
    for seen, length in ((rows, height), (columns, width)):
        np.testing.assert_array_equal(seen, seen[::-1])
        assert abs(seen.sum() - max(1, side * length / max(width, height))) <= 1


def test_frames_are_scaled_by_the_filter_of_photographs(tmp_path: Path) -> None:
    """On white noise, where every other filter shows.

    Pillow's weights and FFmpeg's are rounded to different numbers of bits: a third of a grey level on average. A box
    of the same step differs by over three.
    """
    frame = noise(1, 240, 320)[0]
    inner = decoded(write(tmp_path / "noise.mkv", [frame]), 64)[0, 8:56].astype(float)
    image = Image.fromarray(frame)
    triangle, box = (
        np.asarray(image.resize((64, 48), filter)).astype(float)
        for filter in (Image.Resampling.BILINEAR, Image.Resampling.BOX)
    )
    assert np.abs(inner - triangle).mean() < 1 / 3
    assert np.abs(inner - box).mean() > 3


def test_the_mirror_image_of_a_square_is_that_of_the_frame(tmp_path: Path) -> None:
    """To the rounding of the filter's weights, which FFmpeg makes sum up to one from the left."""
    frame = noise(1, 75, 131)[0]
    squares = [decoded(write(tmp_path / f"{n}.mkv", [f]), 49)[0] for n, f in enumerate((frame, frame[:, ::-1].copy()))]
    difference = np.abs(squares[0].astype(float) - squares[1][:, ::-1])
    assert difference.mean() < 1 / 3
    assert np.abs(squares[0].astype(float) - squares[1]).mean() > 10


@pytest.mark.parametrize(("width", "height"), [(224, 120), (120, 224), (90, 70)])
def test_a_stretched_frame_is_that_of_torchvision(tmp_path: Path, width: int, height: int) -> None:
    """On white noise, smaller and larger than the square.

    Both filters are triangles as wide as the step, with weights rounded to different numbers of bits: one grey level at
    most. At the border FFmpeg repeats the last pixel where torchvision leaves out what the triangle has beyond it: a
    few levels of noise there. A filter as wide as the old pixels differs by far more where the frame shrinks.
    """
    frame = noise(1, height, width)[0]
    found = decoded(write(tmp_path / "noise.mkv", [frame]), 112, fit="stretch")[0].astype(float)
    expected, narrow = (
        v2.Resize((112, 112), antialias=wide)(torch.from_numpy(frame)[None])[0].numpy() for wide in (True, False)
    )
    difference = np.abs(found - expected)
    assert difference.mean() < 1 / 3 and difference[1:-1, 1:-1].max() <= 1
    if max(width, height) > 112:
        assert np.abs(found - narrow).mean() > 5


def test_the_colours_of_a_stretched_frame_are_those_of_torchvision(tmp_path: Path) -> None:
    """On waves, since films have half as many pixels of colour as of light.

    Rounding YUV moves blue by (1.16 + 2.02) / 2 levels when written and once more when read; the border is left out.
    """
    y, x = np.mgrid[:120, :224]
    frame = np.stack([127 + 90 * np.sin(x / 30), 127 + 90 * np.sin(y / 20), 127 + 90 * np.sin((x + y) / 40)], 2)
    path = write(tmp_path / "waves.mkv", [frame.astype(np.uint8)], pixels="yuv420p")
    expected = v2.Resize((112, 112))(torch.from_numpy(frame.astype(np.uint8)).permute(2, 0, 1)).numpy()
    found = decoded(path, 112, grey=False, fit="stretch")[0]
    np.testing.assert_allclose(found[:, 1:-1, 1:-1], expected[:, 1:-1, 1:-1], atol=3)


def test_a_stretched_frame_is_turned_as_the_file_asks(tmp_path: Path) -> None:
    """A quarter turn clockwise of a frame whose left half is white: the upper half is."""
    frame = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    frame[:, : WIDTH // 2] = 255
    matrix = [2**16 * entry for entry in (0, 1, 0, -1, 0, 0, 0, 0)]
    path = write(tmp_path / "held.mp4", [frame], "libx264", "yuv420p", options={"qp": "1"}, matrix=(*matrix, 2**30))
    square = decoded(path, 32, fit="stretch")[0]
    # A row on either side of the edge may hold some of both; compression with the finest steps but one: a level or two.
    np.testing.assert_allclose(square[:15], 255, atol=4)
    np.testing.assert_allclose(square[17:], 0, atol=4)


@pytest.mark.parametrize("kind", KINDS, ids=IDS)
def test_only_the_frames_that_are_wanted_are_given(tmp_path: Path, kind: tuple[Any, ...]) -> None:
    path = written(tmp_path, kind)
    every = decoded(path, 24)
    np.testing.assert_array_equal(decoded(path, 24, only={0, 7, 8, FRAMES - 1}), every[[0, 7, 8, FRAMES - 1]])
    assert list(pictures(path, 24, grey=True, only=())) == []


@pytest.mark.parametrize(
    ("matrix", "quarters"), [((0, 1, -1, 0), -1), ((-1, 0, 0, -1), 2), ((0, -1, 1, 0), 1), ((1, 0, 0, 1), 0)]
)
def test_frames_are_turned_as_the_file_asks(tmp_path: Path, matrix: tuple[int, ...], quarters: int) -> None:
    """A matrix (a, b, c, d) takes x to ax + cy and y to bx + dy, with y downwards: (0, 1, -1, 0) turns clockwise."""
    a, b, c, d = (2**16 * entry for entry in matrix)
    frames = moving_square()[:3]
    path = write(
        tmp_path / "held.mp4", frames, "libx264", "yuv420p", options={"qp": "1"}, matrix=(a, b, 0, c, d, 0, 0, 0, 2**30)
    )
    width, height = (HEIGHT, WIDTH) if quarters % 2 else (WIDTH, HEIGHT)
    assert facts(path) == Facts(3, width, height, 25.0)
    middle = slice((WIDTH - HEIGHT) // 2, (WIDTH + HEIGHT) // 2)
    square = np.zeros((WIDTH, WIDTH))
    square[middle] = frames[1][..., 0]
    # Compression with the finest steps but one: a level or two.
    np.testing.assert_allclose(decoded(path, WIDTH)[1], np.rot90(square, quarters), atol=4)
    coloured = np.broadcast_to(np.rot90(square, quarters), (3, WIDTH, WIDTH))
    np.testing.assert_allclose(decoded(path, WIDTH, grey=False)[1], coloured, atol=4)


def test_frames_that_an_edit_list_leaves_out_are_not_counted(tmp_path: Path) -> None:
    late = {"avoid_negative_ts": "disabled", "use_editlist": "1"}
    path = tmp_path / "edited.mp4"
    write(path, moving_square(), "libx264", "yuv420p", options={"bf": "0"}, container_options=late, earlier=10)
    assert facts(path).frames == len(decoded(path, 8)) == FRAMES - 10


# ---- what is refused


def assert_refused(path: Path, match: str, *, facts_too: bool = True) -> None:
    with pytest.raises(DataError, match=match) as refused:
        decoded(path, 16)
    assert str(refused.value).startswith(f"{path}: ")
    if facts_too:
        with pytest.raises(DataError, match=match):
            facts(path)


@pytest.mark.parametrize("kind", KINDS, ids=IDS)
def test_a_file_that_was_cut_in_half_is_refused(
    tmp_path: Path, kind: tuple[Any, ...], capfd: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path, kind)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert_refused(path, "was cut off|damaged at frame|frame [0-9]+ is damaged")
    assert capfd.readouterr() == ("", "")


def test_a_file_that_was_cut_in_half_with_its_index_in_front_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "fast.mp4"
    write(path, moving_square(), "libx264", "yuv420p", container_options={"movflags": "faststart"})
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 3 // 4])
    assert_refused(path, "damaged at frame [0-9]+; copy it again")


def test_a_frame_count_that_is_not_reached_is_refused(tmp_path: Path) -> None:
    """An AVI file cut between two frames: the index is gone, every frame that is there is whole."""
    path = write(tmp_path / "cut.avi", moving_square(), "mjpeg", "yuvj420p")
    content = path.read_bytes()
    path.write_bytes(content[: content.rindex(b"00dc", 0, content.rindex(b"idx1"))])
    assert_refused(path, f"{FRAMES - 1} of {FRAMES} frames are there, the file was cut off; copy it again")


def test_frames_that_cannot_be_decoded_are_refused(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The packets are all there: who only counts them sees nothing."""
    path = tmp_path / "hole.mp4"
    write(path, noise(20, 64, 64, 3), "libx264", "yuv420p")
    content = bytearray(path.read_bytes())
    start = len(content) // 2
    content[start : start + 4000] = bytes(4000)
    path.write_bytes(content)
    assert facts(path).frames == 20
    assert_refused(path, "frame [0-9]+ .*is damaged.*; copy it again", facts_too=False)
    with pytest.raises(DataError, match="is damaged"):  # frames that are not wanted are looked at all the same
        decoded(path, 16, only={0})
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"", r"no video, or one that was cut off \(the file is empty\); MP4"),
        (bytes(1000), r"no video, or one that was cut off \(.*\); MP4"),
        (b"frame,x,y\n" + b"1,2,3\n" * 100, r"no video, or one that was cut off \(.*\); MP4"),
        (b"#EXTM3U\n#EXTINF:1,\nother.ts\n", r"no video, or one that was cut off \(.*\); MP4"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, content: bytes, match: str, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "session: 1.mp4"
    path.write_bytes(content)
    assert_refused(path, match)
    assert capfd.readouterr() == ("", "")


def test_a_missing_file_a_folder_and_sound_alone_are_refused(tmp_path: Path) -> None:
    assert_refused(tmp_path / "absent.mp4", "no such file")
    assert_refused(tmp_path, "no video, or one that was cut off")
    path = tmp_path / "sound.mkv"
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.int16), "s16", "mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
    assert_refused(path, "there are no pictures in it, only audio")


def test_a_video_without_frames_is_refused(tmp_path: Path) -> None:
    path, live = tmp_path / "none.mp4", {"movflags": "frag_keyframe+empty_moov"}
    write(path, [], "libx264", "yuv420p", container_options=live)
    assert_refused(path, "the video has no frames; copy it again")
