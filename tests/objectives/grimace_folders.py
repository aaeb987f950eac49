"""Folders of videos of faces for tests of what reads them: a good one, changed in one place or another."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from hpo.objective import DataError
from objectives.grimace import files as grimace_files
from objectives.grimace.data import Clips, Wanted

WIDTH, HEIGHT, FRAMES = 32, 16, 12
HEADER = "video,subject,moment,score,feature_ears,feature_eyes\n"
ROWS = "a.mp4,m1,M0,0,0.5,\nb.mp4,m1,M2,7.5,2,1\nc.mp4,m2,M1,,,0\nd.mp4,m3,,3,1,-1\n"
#: Four videos of three mice; some cells are empty.
GOOD = HEADER + ROWS
FOLDS = "subject,fold\nm1,1\nm2,2\nm3,1\n"
VIDEOS = ("a.mp4", "b.mp4", "c.mp4", "d.mp4")


def level(frame: int) -> int:
    """The grey level of a frame by its number."""
    return 16 + 4 * frame


@cache
def film(frames: int = FRAMES) -> bytes:
    """An mp4 without losses, every frame all of its own grey level."""
    content = BytesIO()
    with av.open(content, "w", format="mp4") as container:
        stream: Any = container.add_stream("libx264", rate=20, options={"qp": "0"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        pictures = [np.full((HEIGHT, WIDTH), level(number), np.uint8) for number in range(frames)]
        for picture in [*(av.VideoFrame.from_ndarray(one, "gray") for one in pictures), None]:
            container.mux(stream.encode(picture))
    return content.getvalue()


def write(
    folder: Path,
    labels: str | bytes | None = GOOD,
    *,
    folds: str | None = None,
    videos: Mapping[str, int | bytes | None] | None = None,
) -> Path:
    """A folder; `videos` are numbers of frames, or what is in the file, or None for none, in place of the good ones."""
    (folder / "videos").mkdir(parents=True)
    for name, content in {**dict.fromkeys(VIDEOS, FRAMES), **(videos or {})}.items():
        path = folder / "videos" / name
        if content is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(film(content) if isinstance(content, int) else content)
    for file, text in (("labels.csv", labels), ("folds.csv", folds)):
        if text is not None:
            (folder / file).write_bytes(text if isinstance(text, bytes) else text.encode())
    return folder


def wanted(**values: Any) -> Wanted:
    """All frames of a good video in squares of 8 pixels, but for what is given."""
    usual = {"max_frames": FRAMES, "resolution": 8, "fit": "stretch", "frames": "even"}
    return Wanted(**{**usual, "first_frame": 0, "last_frame": 0, "event_frame": 0, **values})


def read(folder: Path, **values: Any) -> Clips:
    return grimace_files.read(folder, wanted(**values))


def problems(folder: Path, **values: Any) -> list[str]:
    """Everything that is wrong with a folder."""
    with pytest.raises(DataError) as error:
        read(folder, **values)
    first, *others = str(error.value).split("\n  ")
    assert first == f"{folder}: {len(others)} problem{'s' if len(others) > 1 else ''}"
    return others
