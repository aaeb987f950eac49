"""Count and decode the frames of videos, whatever the container and codec: FFmpeg's libraries, through PyAV.

A padded square holds the whole frame, as in `objectives.pictures`: its longer side is scaled to the square's, its
shape stays, and what is left over is black, equally wide on both sides, so that mirroring the square mirrors the frame.
For that the shorter side takes the nearest length that leaves an even number of pixels over. A stretched square is
filled by the frame, which loses its shape. Scaling is the same triangle filter, as wide as the step between the new
pixels.

Frames are turned as the file asks, as OpenCV does, from which DeepLabCut and others have the frames that they track
points in. Like OpenCV, nothing here heeds pixels that are not square.

A file whose frames are not all there would put every later frame beside the wrong points, so it is refused. What gives
it away: a frame, a packet or a whole file that FFmpeg calls damaged, a frame count or a length in the header that the
file does not reach, a packet without a frame. Bytes that were changed but can be decoded go unnoticed, and so does a
missing end where FFmpeg takes the length from what is there (MPEG-TS, WMV).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import av
import numpy as np
from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation, VideoReformatter
from av.video.stream import VideoStream

from hpo.objective import DataError

#: What files are taken for videos, where a folder holds others.
VIDEO_ENDINGS = (".mp4", ".avi", ".mov", ".mkv", ".m4v", ".mpg", ".mpeg", ".wmv", ".webm")
#: What is read, whatever the ending says. Others of FFmpeg's formats are lists of further files or addresses, or take
#: any text for a film (tty).
_FORMATS = ("mov", "avi", "matroska", "mpegts", "mpeg", "asf", "flv", "ogg", "h264", "hevc", "m4v")
_NAMES = "MP4, MOV, AVI, MKV, WebM, MPEG, WMV, FLV and OGG are read"
#: Nothing but the file itself is opened, whatever a file names.
_OPTIONS = {"protocol_whitelist": "file", "format_whitelist": ",".join(_FORMATS)}
#: The same grey levels on every processor.
_SCALING = Interpolation.BILINEAR | Interpolation.ACCURATE_RND | Interpolation.BITEXACT | Interpolation.FULL_CHR_H_INT
#: Seconds by which the last packet may end before the length in the header: last frames and sounds of unknown length.
_SLACK = 0.5
_AGAIN = "copy it again from where it was recorded, or leave its recording out"


@dataclass(frozen=True)
class Facts:
    """What a video holds, as it is to be shown."""

    frames: int  #: as many as `pictures` gives
    width: int  #: in pixels
    height: int  #: in pixels
    fps: float | None  #: frames per second on average; None where the file does not say


def facts(path: Path) -> Facts:
    """Count the frames of a video and decode the first.

    Frames are counted by reading every packet, 0.06 s where decoding takes 3 s: headers have the number in some
    containers only, and those of recordings that were cut off have a wrong one.

    Raises:
        DataError: naming a file that is no video, has no frame, or ends before its header says.
    """
    with _opened(path) as (container, stream):
        frames, first = 0, None
        for packet in _packets(path, container, stream):
            frames += _shows(packet)
            if first is None:
                first = next(_decoded(path, packet, 0), None)
        if first is None:
            raise DataError(f"{path}: the video has no frames; {_AGAIN}")
        sizes = (first.width, first.height)
        width, height = reversed(sizes) if _quarters(first) % 2 else sizes
        return Facts(frames, width, height, float(stream.average_rate) if stream.average_rate else None)


def pictures(
    path: Path,
    side: int,
    *,
    grey: bool,
    fit: Literal["pad", "stretch"] = "pad",
    only: Collection[int] | None = None,
) -> Iterator[np.ndarray]:
    """Decode a video to squares, in the order in which its frames are shown.

    On one thread, because workers share the cores: four decode H.264 of 1280 x 720 in 60 % of the time.

    Args:
        path: of the file.
        side: of the squares, in pixels.
        grey: luminance alone.
        fit: whether a frame lies within black in its square, or is stretched over it.
        only: numbers of the frames that are given, counted from 0; None = all. The others are decoded, for the
            frames behind them and to see whether they can be, but not scaled, which takes longer than decoding.

    Yields:
        uint8 `[side, side]` where grey, 0 black to 255 white, else `[3, side, side]`: red, green and blue.

    Raises:
        DataError: as `facts` does; and where a frame cannot be decoded, after the frames before it.
    """
    scaler = VideoReformatter()
    with _opened(path) as (container, stream):
        packets, frames = 0, 0
        for packet in _packets(path, container, stream):
            packets += _shows(packet)
            for frame in _decoded(path, packet, frames):
                if only is None or frames in only:
                    yield _square(scaler, frame, side, grey=grey, fit=fit)
                frames += 1
        if not frames:
            raise DataError(f"{path}: the video has no frames; {_AGAIN}")
        if frames != packets:
            raise DataError(f"{path}: {packets} frames are stored, {frames} could be decoded; {_AGAIN}")


@contextmanager
def _opened(path: Path) -> Iterator[tuple[InputContainer, VideoStream]]:
    """A file and its video, to be decoded on one thread."""
    try:
        container = av.open(f"file:{path}", options=_OPTIONS, metadata_errors="replace")
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except (av.FFmpegError, OSError) as error:
        why = "the file is empty" if path.is_file() and not path.stat().st_size else f"{error.strerror}"
        raise DataError(f"{path}: no video, or one that was cut off ({why}); {_NAMES}") from None
    with container:
        stream = container.streams.best("video")
        if not isinstance(stream, VideoStream):
            raise DataError(f"{path}: there are no pictures in it, only {_kinds(container)}")
        stream.thread_count = 1
        yield container, stream


def _packets(path: Path, container: InputContainer, stream: VideoStream) -> Iterator[Packet[Any]]:
    """The packets of a video, then empty ones, which ask a decoder for what it still holds.

    Raises:
        DataError: where they cannot be read, or once the file has ended too early.
    """
    count, end = 0, 0.0
    try:
        for packet in container.demux():
            if packet.dts is not None and packet.time_base:
                start = packet.dts if packet.pts is None else packet.pts
                end = max(end, float((start + (packet.duration or 0)) * packet.time_base))
            if packet.stream is not stream:
                continue
            if packet.is_corrupt:
                raise DataError(f"{path}: damaged at frame {count}; {_AGAIN}")
            count += bool(packet.size)
            yield packet
    except (av.FFmpegError, OSError) as error:
        raise DataError(f"{path}: cannot be read beyond frame {count} ({error.strerror}); {_AGAIN}") from None
    if count < stream.frames:
        raise DataError(f"{path}: {count} of {stream.frames} frames are there, the file was cut off; {_AGAIN}")
    length = (container.duration or 0) / av.time_base
    if end < length - _SLACK:
        raise DataError(f"{path}: {end:.1f} of {length:.1f} s are there, the file was cut off; {_AGAIN}")


def _shows(packet: Packet[Any]) -> bool:
    """Whether a frame will be shown for it: not for empty ones, nor for those that an edit list leaves out."""
    return bool(packet.size) and not packet.is_discard


def _decoded(path: Path, packet: Packet[Any], frames: int) -> Iterator[VideoFrame]:
    """What a decoder has ready after a packet, once it gave so many frames."""
    try:
        found = packet.decode()
    except (av.FFmpegError, OSError) as error:
        raise DataError(f"{path}: frame {frames} or one near it is damaged ({error.strerror}); {_AGAIN}") from None
    for frame in found:
        if frame.is_corrupt:
            raise DataError(f"{path}: frame {frames} is damaged; {_AGAIN}")
        frames += 1
        yield frame


def _square(
    scaler: VideoReformatter, frame: VideoFrame, side: int, *, grey: bool, fit: Literal["pad", "stretch"]
) -> np.ndarray:
    """A frame within black or stretched, uint8 `[side, side]` or `[3, side, side]`."""
    longest = max(frame.width, frame.height)
    padded = (_fitted(frame.width, longest, side), _fitted(frame.height, longest, side))
    width, height = padded if fit == "pad" else (side, side)
    kind = "gray" if grey else "rgb24"
    scaled = scaler.reformat(frame, width, height, kind, interpolation=_SCALING, threads=1).to_ndarray()
    square = np.zeros((side, side, *scaled.shape[2:]), np.uint8)
    top, left = (side - height) // 2, (side - width) // 2
    square[top : top + height, left : left + width] = scaled
    turned = np.rot90(square, _quarters(frame))
    return np.ascontiguousarray(turned if grey else turned.transpose(2, 0, 1))


def _fitted(length: int, longest: int, side: int) -> int:
    """Pixels of a square's side that a side of a frame takes; as many are free before it as behind it."""
    return max(side - 2 * round(side * (1 - length / longest) / 2), 2 - side % 2)


def _quarters(frame: VideoFrame) -> int:
    """Quarter turns counter-clockwise to what is shown; cameras that were held upright store them beside the frames."""
    return round(frame.rotation / 90) % 4


def _kinds(container: InputContainer) -> str:
    return ", ".join(sorted({stream.type for stream in container.streams})) or "nothing"
