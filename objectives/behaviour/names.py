"""What the names of files, points and animals say: whose file it is, which clip of it, which points one animal has.

DeepLabCut names a file of key points after its video and itself, `rat1DLC_resnet50_pawMay7shuffle1_500000.csv`: the
session is `rat1`. A file of annotations belongs to the session whose name occurs in its own,
`prediction_rat1.mp4_2.csv` to `rat1`, and a number at the end counts the clips that the session was cut into.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import PurePath

from objectives.problems import some
from objectives.video import VIDEO_ENDINGS

#: How a file is matched, for messages.
RULE = "a file belongs to the session whose name (that of its key points up to DLC_) occurs in its own as whole words"
#: What DeepLabCut puts between the name of the video and that of its network.
_SCORER = "DLC_"
#: What may follow the session's name before the number of a clip: words, the ending of a video, all of DeepLabCut's
#: name where a video ending closes it. A number has three digits at most, and no other before it: dates, years and
#: training iterations are no clips.
_ENDING = "|".join(map(re.escape, VIDEO_ENDINGS))
_CLIP = re.compile(rf"(?:{_SCORER}.*(?:{_ENDING})|(?:[_-][^\W\d_]+)*(?:{_ENDING})?)[_-](\d{{1,3}})", re.IGNORECASE)
#: Words before or after `_` that tell parts of one body apart, and not animals.
_SIDES = {
    *("l", "r", "left", "right", "front", "fore", "hind", "rear", "back"),
    *("upper", "lower", "top", "bottom", "inner", "outer"),
}


def session_name(file: str) -> str:
    """The session of a file of key points."""
    stem = PurePath(file).stem
    at = stem.find(_SCORER, 1)
    name = stem if at < 0 else stem[:at].rstrip("_-. ") or stem
    return _without_video_ending(name)


def owner(stem: str, sessions: Collection[str]) -> tuple[str, int | None] | None:
    """The session that a file without key points belongs to and the number of its clip; None without a session.

    Of several names that occur the longest counts, of equally long ones the first in the file's name.
    """
    found = [(len(name), -at, name) for name in sessions if (at := _place(name, stem)) is not None]
    if not found:
        return None
    length, before, name = max(found)
    clip = _CLIP.fullmatch(_without_video_ending(stem[length - before :]))
    return name, int(clip[1]) if clip else None


def _place(name: str, stem: str) -> int | None:
    """Where a name occurs in another, not inside of a longer word or number."""
    if name not in stem:
        return None
    word = re.search(rf"(?<![^\W_]){re.escape(name)}(?:(?![^\W_])|(?={_SCORER}))", stem)
    return word.start() if word else None


def _without_video_ending(name: str) -> str:
    for ending in VIDEO_ENDINGS:
        if name.lower().endswith(ending) and len(name) > len(ending):
            return name[: -len(ending)]
    return name


def animals(points: Sequence[str]) -> tuple[int, ...]:
    """The animal of each point, from 0, where names of points are all there is.

    `r1_nose, r1_tail, r2_nose, r2_tail` are two animals: the same parts after each of several words. Words for sides
    (`left_ear, left_paw, right_ear, right_paw`) are none of animals.
    """
    parts: dict[str, set[str]] = {}
    for point in points:
        word, _, part = point.partition("_")
        parts.setdefault(word, set()).add(part)
    first = next(iter(parts.values()), set())
    same = all(found == first for found in parts.values()) and "" not in first
    sides = any(word.lower() in _SIDES for word in parts) or all(part.lower() in _SIDES for part in first)
    if len(parts) < 2 or len(first) < 2 or not same or sides:
        return (0,) * len(points)
    numbers = {word: number for number, word in enumerate(parts)}
    return tuple(numbers[point.partition("_")[0]] for point in points)


def clips(session: str, files: Mapping[str, int | None], problems: list[str]) -> tuple[dict[str, int], list[str]]:
    """Which clip of a session each of its files is, from 0 and in order, and notes; files with the number they bear."""
    if len(files) == 1:
        (file, number), *_ = files.items()
        if number is None or number < 2:
            return {file: 0}, []
        note = f"{file}: clip {number} is all there is of {session}; taken as the last of {number}"
        return {file: number - 1}, [note]
    if bare := sorted(file for file, number in files.items() if number is None):
        also = sorted(set(files) - set(bare)) or bare[1:]
        text = f"{some(bare)} has no number of a clip although {session} has several files ({some(also)})"
        problems.append(f"{text}; end their names in _1, _2, ..., or keep one file")
        return {}, []
    by_number: dict[int, list[str]] = {}
    for file, number in files.items():
        by_number.setdefault(number or 0, []).append(file)
    if twice := [names for names in by_number.values() if len(names) > 1]:
        problems += [f"{' and '.join(sorted(names))}: the same clip of {session} twice; keep one" for names in twice]
        return {}, []
    first = min(1, *by_number)
    order = {by_number[number][0]: number - first for number in sorted(by_number)}
    missing = sorted(set(range(first, max(by_number))) - set(by_number))
    lacks = [f"{session}: no annotations of clip {some([str(number) for number in missing])}"] if missing else []
    return order, lacks
