"""Decoding images: nothing cropped, nothing turned, no shade lost, and every file that is none."""

from __future__ import annotations

import re
import struct
import subprocess
import sys
import threading
import zlib
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hpo.objective import DataError
from objectives.pictures import LONGEST_SIDE, MOST_PIXELS, square, squares

#: A picture of four colours, 2 rows by 3 columns, in which every orientation looks different.
CORNERS = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255]], [[255, 255, 0], [0, 255, 255], [255, 0, 255]]], np.uint8)


def png(width: int, height: int, pixels: bytes = b"") -> bytes:
    """A PNG, 8-bit grey, by its specification; without pixels it is a header that promises them."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(pixels)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def test_a_square_holds_the_whole_picture_with_black_beside_it(tmp_path: Path) -> None:
    wide = np.zeros((20, 40, 3), np.uint8)
    wide[:, :20], wide[:, 20:] = (200, 10, 30), (10, 220, 90)
    Image.fromarray(wide).save(tmp_path / "wide.png")
    Image.fromarray(wide.transpose(1, 0, 2)).save(tmp_path / "high.png")

    found = square(tmp_path / "wide.png", 40)
    expected = np.zeros((3, 40, 40), np.uint8)  # 20 rows in the middle of 40, at the scale of the file
    expected[:, 10:30] = wide.transpose(2, 0, 1)
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(square(tmp_path / "high.png", 40), expected.transpose(0, 2, 1))
    assert found.dtype == np.uint8 and found.flags.c_contiguous

    # Halved: each new pixel is at most two old ones from its place, so those that far from the edge are of one colour.
    half = square(tmp_path / "wide.png", 20)
    np.testing.assert_array_equal(half[:, :5], 0)
    np.testing.assert_array_equal(half[:, 15:], 0)
    np.testing.assert_array_equal(half[:, 5:15, :9], np.broadcast_to([[[200]], [[10]], [[30]]], (3, 10, 9)))
    np.testing.assert_array_equal(half[:, 5:15, 11:], np.broadcast_to([[[10]], [[220]], [[90]]], (3, 10, 9)))
    # Enlarged: no value outside those of the file, and the colours stay where they are.
    double = square(tmp_path / "wide.png", 80)[:, 20:60]
    assert double[0].min() == 10 and double[0].max() == 200
    np.testing.assert_array_equal(double[0, :, :38], 200)


def test_a_fine_pattern_becomes_grey_and_not_a_coarse_pattern(tmp_path: Path) -> None:
    board = ((np.indices((256, 256)).sum(0) % 2) * 255).astype(np.uint8)
    Image.fromarray(board).save(tmp_path / "board.png")
    found = square(tmp_path / "board.png", 30)[0].astype(int)
    # Of the finest pattern a triangle of 2 x 8.5 pixels leaves sinc(8.5 / 2)^2 < 0.6 %, and at the border, where it is
    # cut, under 2 %; single pixels would leave all of it. Half a grey level is from rounding.
    assert np.abs(found - 127.5).max() < 0.02 * 127.5 + 0.5


@pytest.mark.parametrize(
    ("orientation", "as_seen"),
    [
        (1, lambda stored: stored),
        (2, lambda stored: stored[:, ::-1]),
        (3, lambda stored: stored[::-1, ::-1]),
        (4, lambda stored: stored[::-1]),
        (5, lambda stored: stored.transpose(1, 0, 2)),
        (6, lambda stored: np.rot90(stored, -1)),  # the camera's top is on the right: a quarter clockwise
        (7, lambda stored: stored.transpose(1, 0, 2)[::-1, ::-1]),
        (8, lambda stored: np.rot90(stored)),
    ],
)
@pytest.mark.parametrize("ending", ["png", "tif"])
def test_pictures_are_upright(
    tmp_path: Path, orientation: int, as_seen: Callable[[np.ndarray], np.ndarray], ending: str
) -> None:
    """Exif 2.3, section 4.6.4 A, tag 274: which edges of the picture as seen the first row and column are."""
    exif = Image.Exif()
    exif[274] = orientation
    Image.fromarray(CORNERS).save(tmp_path / f"turned.{ending}", exif=exif)
    seen = as_seen(CORNERS)
    # 2 x 3 in a square of 3: one line of black below or to the right of it
    expected = np.zeros((3, 3, 3), np.uint8)
    expected[: seen.shape[0], : seen.shape[1]] = seen
    np.testing.assert_array_equal(square(tmp_path / f"turned.{ending}", 3).transpose(1, 2, 0), expected)


@pytest.mark.parametrize("ending", ["png", "tif", "pgm"])
def test_16_bit_grey_keeps_its_shades(tmp_path: Path, ending: str) -> None:
    shades = np.array([[0, 128, 257], [4112, 32768, 65535], [65407, 65406, 255]], np.uint16)
    Image.fromarray(shades).save(tmp_path / f"deep.{ending}")
    expected = np.array([[0, 0, 1], [16, 128, 255], [255, 254, 1]])  # of 65535, the nearest of 255
    np.testing.assert_array_equal(square(tmp_path / f"deep.{ending}", 3), np.broadcast_to(expected, (3, 3, 3)))


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "RGB", "RGBA", "CMYK", "YCbCr"])
def test_every_mode_becomes_red_green_blue(tmp_path: Path, mode: str) -> None:
    grey = Image.fromarray(np.repeat(np.array([[[0]], [[255]]], np.uint8), 3, axis=2).repeat(2, axis=1))
    picture = grey.convert(mode)
    name = "one.tif" if mode in ("CMYK", "YCbCr") else "one.png"
    picture.save(tmp_path / name)
    np.testing.assert_array_equal(square(tmp_path / name, 2), [[[0, 0], [255, 255]]] * 3)


def test_transparent_pixels_lie_over_white(tmp_path: Path) -> None:
    pixels = np.array([[[200, 0, 100, 255], [200, 0, 100, 0]], [[200, 0, 100, 51], [0, 0, 0, 102]]], np.uint8)
    Image.fromarray(pixels).save(tmp_path / "clear.png")
    # alpha 51/255 = 0.2: 0.2 * 200 + 0.8 * 255 = 244; alpha 0.4 of black: 153
    expected = [[[200, 255], [244, 153]], [[0, 255], [204, 153]], [[100, 255], [224, 153]]]
    np.testing.assert_array_equal(square(tmp_path / "clear.png", 2), expected)

    indexed = Image.fromarray(np.array([[0, 1]], np.uint8)).convert("P")
    indexed.putpalette([10, 20, 30, 40, 50, 60])
    indexed.save(tmp_path / "indexed.png", transparency=1)
    np.testing.assert_array_equal(square(tmp_path / "indexed.png", 2)[:, 0], [[10, 255], [20, 255], [30, 255]])


def test_a_line_of_pixels_is_not_scaled_to_nothing(tmp_path: Path) -> None:
    Image.new("RGB", (1000, 1), (9, 8, 7)).save(tmp_path / "line.png")
    found = square(tmp_path / "line.png", 10)
    assert (found[0] == 9).sum() == 10 and (found[0] == 0).sum() == 90


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "RGB", "RGBA", "CMYK", "I;16"])
def test_large_pictures_are_scaled_as_if_in_one_piece(tmp_path: Path, mode: str) -> None:
    """1.5 million pixels are converted in two strips; the other way is Pillow's, on the whole picture."""
    noise = np.random.default_rng(0)
    if mode == "I;16":
        shades = noise.integers(0, 2**16, (2000, 750), dtype=np.uint16)
        Image.fromarray(shades).save(tmp_path / "noise.tif")
        whole = Image.fromarray(np.round(shades / 257).astype(np.uint8)).convert("RGB")
    else:
        drawn = Image.fromarray(noise.integers(0, 256, (2000, 750, 4), dtype=np.uint8))
        picture = (drawn if mode == "RGBA" else drawn.convert("RGB")).convert(mode)
        picture.save(tmp_path / "noise.tif")
        white = Image.new("RGBA", picture.size, "white")
        whole = Image.alpha_composite(white, picture.convert("RGBA")).convert("RGB")
    expected = np.asarray(whole.resize((30, 80), Image.Resampling.BILINEAR)).astype(int)
    found = square(tmp_path / "noise.tif", 80).transpose(1, 2, 0)[:, 25:55]
    assert np.abs(found - expected).max() <= 1  # Pillow rounds between the two axes, and may begin with the other one


PEAK = """
import resource, sys
from pathlib import Path
from objectives.pictures import squares
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for found in squares(Path(sys.argv[1]), ["large.png"] * 8, 32): pass
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_large_pictures_are_decoded_one_at_a_time(tmp_path: Path) -> None:
    """16 million pixels are 64 MiB. With a converted copy and one over white, four threads would hold twelve times 64.

    The C library keeps some of what a thread gives back, so that up to four times 64 stay.
    """
    Image.new("RGBA", (4096, 4096), (10, 20, 30, 40)).save(tmp_path / "large.png")
    command = [sys.executable, "-c", PEAK, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert int(done.stdout) / 1024 < 6 * 64  # ru_maxrss is in KiB


def test_order_is_that_of_the_names_and_few_are_held(tmp_path: Path) -> None:
    names = [f"{k}.png" for k in range(200)]
    for k, name in enumerate(names):  # earlier ones are larger: they are decoded last
        Image.new("L", (400 - 2 * k, 4), k).save(tmp_path / name)
    assert [int(found[0, 4, 4]) for found in squares(tmp_path, names, 9)] == list(range(200))

    before = threading.active_count()
    first = squares(tmp_path, [*names[:3], "missing.png"], 9)
    assert [int(found[0, 4, 4]) for found in islice(first, 2)] == [0, 1]
    first.close()  # type: ignore[attr-defined]
    assert threading.active_count() == before


def damaged(folder: Path) -> dict[str, str]:
    """Files of every kind of damage, and what is said of them."""
    photo = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    for name in ("good.png", "cut.png", "cut.jpg", "good.jpg"):
        Image.fromarray(photo).save(folder / name)
    for name in ("cut.png", "cut.jpg"):
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: len(content) // 2])
    (folder / "text.png").write_text("not an image")
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "flat.png").write_bytes(png(0, 5))
    (folder / "bomb.png").write_bytes(png(30_000, 30_000))
    (folder / "large.png").write_bytes(png(MOST_PIXELS // 4096 + 1, 4096))
    (folder / "line.png").write_bytes(png(1, LONGEST_SIDE + 1))
    (folder / "drawing.png").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n")
    Image.fromarray(np.ones((3, 3), np.float32)).save(folder / "depth.tif")
    return {
        "cut.png": "cut.png: cannot be decoded (",
        "cut.jpg": "cut.jpg: cannot be decoded (image file is truncated",
        "text.png": "text.png: no image; PNG, JPEG, BMP, GIF, TIFF, WEBP, PPM and PGM are read",
        "empty.jpg": "empty.jpg: the file is empty; PNG, JPEG, BMP, GIF, TIFF, WEBP, PPM and PGM are read",
        "flat.png": "flat.png: ",
        "bomb.png": f"bomb.png: more than {MOST_PIXELS} pixels, or than {LONGEST_SIDE} on one side; scale it down",
        "large.png": f"large.png: more than {MOST_PIXELS} pixels, or than",
        "line.png": f"line.png: more than {MOST_PIXELS} pixels, or than",
        "drawing.png": "drawing.png: no image; PNG",
        "depth.tif": "depth.tif: cannot be decoded (32-bit greyscale does not say what is white; 8 or 16 bits do)",
        "gone.png": "gone.png: cannot be decoded ([Errno 2] No such file or directory",
    }


def test_all_that_cannot_be_decoded_is_named_at_the_end(tmp_path: Path) -> None:
    expected = damaged(tmp_path)
    found: list[np.ndarray] = []
    with pytest.raises(DataError, match=re.escape(f"{tmp_path}: {len(expected)} problems")) as error:
        found.extend(squares(tmp_path, ["good.png", "good.jpg", *expected, "good.png"], 8))
    assert len(found) == 2  # none from the first damaged one on, so that a row is never another image's
    said = str(error.value).split("\n  ")[1:]
    assert len(said) == len(expected)
    for text, start in zip(said, expected.values(), strict=True):
        assert text.startswith(start)
