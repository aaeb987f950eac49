"""Decode image files to squares of one size, in their order, a few at a time.

A square holds the whole picture: its longer side is scaled to the square's, its shape stays, and what is left over on
both sides is black. Nothing is cropped, because nobody but a detector knows where in a picture the face is. Scaling is
a triangle filter as wide as the step between the new pixels (Pillow's BILINEAR), which folds no fine pattern into a
coarse one and gives no value outside those of the picture.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from hpo.objective import DataError
from objectives.problems import listing

#: Endings of names of images, in any case.
ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm")
#: What is decoded, whatever the ending says. Others of Pillow's formats start programs (EPS) or are never faces.
_FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "PPM")
#: Formats whose integers of mode "I" are 16 bits wide, 0 to 65535; in TIFF they have 32.
_DEEP = ("PNG", "PPM")
#: More are no photograph of a face but a scan of a wall, or a file made to fill the memory.
MOST_PIXELS = 2**26
#: JPEG can count no further. Pillow keeps an address for every row, which in a picture of one column are its memory.
LONGEST_SIDE = 2**16
#: Larger ones are decoded one at a time, so that memory does not hold as many as there are threads.
_LARGE = 2**23
_one_large = threading.Lock()
#: Pixels that are converted at a time.
_STRIP = 2**20
#: Pillow lets go of the interpreter while it decodes; more threads than this wait for the disk.
_THREADS = min(4, os.cpu_count() or 1)


def squares(folder: Path, names: Sequence[str], side: int) -> Iterator[np.ndarray]:
    """Decode images, in order; a few are held in memory at a time.

    From the first image on that cannot be decoded none is given, but all are looked at.

    Args:
        folder: where the images are.
        names: paths in it.
        side: in pixels.

    Yields:
        uint8 `[3, side, side]`, red, green and blue as the file has them; colour profiles are not applied.

    Raises:
        DataError: after the last image, with every one that cannot be decoded and why.
    """
    problems: list[str] = []
    pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="pictures")
    ahead: deque[Future[np.ndarray | str]] = deque()
    try:
        for name in names:
            ahead.append(pool.submit(_square_or_why, folder, name, side))
            if len(ahead) > 2 * _THREADS:
                yield from _take(ahead, problems)
        while ahead:
            yield from _take(ahead, problems)
    finally:
        pool.shutdown(cancel_futures=True)
    if problems:
        raise DataError(listing(folder, problems))


def _take(ahead: deque[Future[np.ndarray | str]], problems: list[str]) -> Iterator[np.ndarray]:
    """The next image, unless it or one before it is a problem."""
    found = ahead.popleft().result()
    if isinstance(found, str):
        problems.append(found)
    elif not problems:
        yield found


def _square_or_why(folder: Path, name: str, side: int) -> np.ndarray | str:
    try:
        return square(folder / name, side)
    except UnidentifiedImageError:
        empty = not (folder / name).stat().st_size
        return f"{name}: {'the file is empty' if empty else 'no image'}; {', '.join(_FORMATS)} and PGM are read"
    except Image.DecompressionBombError:
        return f"{name}: more than {MOST_PIXELS} pixels, or than {LONGEST_SIDE} on one side; scale it down"
    except Exception as error:  # damaged files reach decoders that raise anything, from SyntaxError to IndexError
        return f"{name}: cannot be decoded ({error or type(error).__name__}); save it again, or leave it out"


def square(path: Path, side: int) -> np.ndarray:
    """Decode one image, turned as its EXIF orientation says; of several frames the first.

    Transparent pixels are laid over white. 16-bit greyscale is scaled from 0-65535 to 0-255.

    Returns:
        uint8 `[3, side, side]`.

    Raises:
        Exception: whatever Pillow raises for a file that is damaged or no image.
    """
    with Image.open(path, formats=_FORMATS) as opened:
        width, height = opened.size
        if width * height > MOST_PIXELS or max(width, height) > LONGEST_SIDE:
            raise Image.DecompressionBombError
        if not (width and height):
            raise ValueError("it has no pixels")
        with _one_large if width * height > _LARGE else nullcontext():
            ImageOps.exif_transpose(opened, in_place=True)
            scale = side / max(opened.size)
            size = (max(1, round(opened.width * scale)), max(1, round(opened.height * scale)))
            picture = _scaled(opened, size)
            opened.close()  # and its pixels go, which the end of `with` keeps, before another large one comes
    framed = Image.new("RGB", (side, side))
    framed.paste(picture, ((side - size[0]) // 2, (side - size[1]) // 2))
    return np.ascontiguousarray(np.asarray(framed).transpose(2, 0, 1))


def _scaled(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    """A picture in red, green and blue at another size.

    It is made narrow strip by strip, then low, so that no copy of the whole is converted. Pillow too scales along one
    axis after the other and rounds in between; where it begins with the other one it differs by one level of 256.
    """
    deep = picture.mode.startswith("I;16") or (picture.mode == "I" and picture.format in _DEEP)
    narrow = Image.new("RGB", (size[0], picture.height))
    rows = max(1, _STRIP // picture.width)
    for top in range(0, picture.height, rows):
        strip = picture.crop((0, top, picture.width, min(top + rows, picture.height)))
        strip = _rgb(_shallow(strip) if deep else strip)
        narrow.paste(strip.resize((size[0], strip.height), Image.Resampling.BILINEAR), (0, top))
    return narrow.resize(size, Image.Resampling.BILINEAR)


def _shallow(picture: Image.Image) -> Image.Image:
    """16-bit greyscale as 8-bit; convert() would make everything above 255 white."""
    return Image.fromarray(np.round(np.asarray(picture).astype(np.float32) / 257).astype(np.uint8))


def _rgb(picture: Image.Image) -> Image.Image:
    if picture.mode in ("I", "F"):
        raise ValueError("32-bit greyscale does not say what is white; 8 or 16 bits do")
    if not picture.has_transparency_data:
        return picture if picture.mode == "RGB" else picture.convert("RGB")
    seen = picture.convert("RGBA")
    white = Image.new("RGB", seen.size, "white")
    white.paste(seen, mask=seen)
    return white
