"""Read what EPL's instrument and peak picker write: recordings and, beside them, `*-analyzed.txt`.

The cochlear function test suite of Eaton-Peabody Laboratories writes one text file per level series, `KIND-ANIMAL-RUN`
such as `ABR-52-3` or `CAP-139-5`; its peak-picking program (github.com/bburan/abr, `abr/parsers/EPL.py` and
`abr/parsers/__init__.py`) writes `ABR-52-3-analyzed.txt` or `ABR-52-3-16.0kHz-analyzed.txt` beside it.
`objectives.abr.epl_files` knows the two layouts. How they become labels:

- Subject: the animal of the name, so that all runs of an animal, ABR and CAP alike, stay in one fold; a file with
  another kind of name is a subject of its own.
- Class: level minus threshold (`class_of_level`). Missing where the threshold is `None`: the analyst gave none.
- Wave V is P5. It is present (1) where P5 has a latency, absent (0) where its latency is negative, which is how the
  program writes "no peak" (every peak below threshold), missing where the file has no P5 (a CAP has P1 and N1 alone) or
  does not list the level.
- Amplitude: of the peak, as in `waveforms.csv`, not from P5 to N5. Clinics measure wave V to the trough after it (Hall
  2007); the program, and the picks of `waveforms.csv`, store the value of the waveform at the peak, and mixing the two
  would teach the network a difference between files.

Units, checked on the two recordings that come with the program: data and amplitudes have the same ones, microvolts (a
wave I of 2.1 and a CAP of 68 at 80 dB are what a mouse gives), and latencies count from the first sample. The program
picks on a filtered copy of the first 8.5 ms. With the poles and zeros of its "filter history" (order 1, 100 Hz to 5 kHz
at the recording's rate), forwards and backwards, the sample at a pick has the picked amplitude to 0.017 uV in the ABR
and to 1.5 uV of 68 in the CAP. In the recording as it is, which is what the network sees, drift below 100 Hz is left:
there it differs by 0.23 uV on average at P5, 0.43 at most. An amplitude is thus that of the wave over the drift.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from hpo.objective import DataError
from objectives.abr.data import Grid, Recordings, class_of_level
from objectives.abr.epl_files import MAGIC, Analysis, Recording, read_analysis, read_recording
from objectives.problems import listing, some

_NAME = re.compile(r"(?P<kind>[A-Za-z]+)-(?P<animal>.+)-(?P<run>\d+)")
_ANALYSIS = re.compile(r"(?P<recording>.+?)(-(?P<freq>[\d.]+)kHz(-\w+)?)?-analyzed\.txt", re.IGNORECASE)


def is_analysis(path: Path) -> bool:
    """Whether a file is, by its name, an analysis of a recording."""
    return _ANALYSIS.fullmatch(path.name) is not None


def is_recording(path: Path) -> bool:
    """Whether a file is, by its first bytes or its name, an EPL recording."""
    if is_analysis(path):
        return False
    with path.open("rb") as opened:
        return opened.read(len(MAGIC)) == MAGIC or _NAME.fullmatch(path.name) is not None


def is_folder(path: Path) -> bool:
    """Whether a folder holds EPL recordings or analyses."""
    return any(is_analysis(file) or is_recording(file) for file in _files(path))


def read_file(path: Path, grid: Grid) -> Recordings:
    """Read one recording, without picks: a file beside it would not be part of the source.

    Raises:
        DataError: as `read_folder`.
    """
    problems: list[str] = []
    recording = read_recording(path, problems)
    problems += _lacks([recording] if recording else [], grid)
    if recording is None or problems:
        raise DataError(listing(path.parent, problems))
    return _join([recording], {}, grid, (), "a single recording is read without its picks; give its folder")


def read_folder(folder: Path, grid: Grid) -> Recordings:
    """Read all recordings of a folder, and their picks where there are some.

    Raises:
        DataError: with file, line, value and way out of everything that is wrong in the folder, MOST_LISTED at most.
    """
    problems: list[str] = []
    analysed = [file for file in _files(folder) if is_analysis(file)]
    found = [file for file in _files(folder) if is_recording(file)]
    recordings = [recording for file in found if (recording := read_recording(file, problems))]
    picks: dict[str, Analysis] = {}
    for file in analysed:
        name = _recording_of(file)
        if name not in {_key(path) for path in found}:
            problems.append(f"{file.name}: no recording {name} beside it; add it, or remove this file")
        elif (analysis := read_analysis(file, problems)) and name in picks:
            problems.append(f"{file.name}: {name} has picks in {picks[name].path.name} already; keep one of the two")
        elif analysis:
            picks[name] = analysis
    problems += [*_mismatches(recordings, picks), *_duplicates(recordings), *_lacks(recordings, grid)]
    if problems:
        raise DataError(listing(folder, problems))
    others = [file.name for file in _files(folder) if file not in analysed and file not in found]
    notes = [f"not read, neither EPL recordings nor their picks: {some(others)}"] if others else []
    lacks = "no thresholds and no picks of wave V (P5) in any *-analyzed.txt; only predictions do without labels"
    return _join(recordings, picks, grid, notes, lacks)


def _files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.iterdir() if file.is_file() and not file.name.startswith("."))


def _key(path: Path) -> str:
    """The name by which an analysis refers to a recording."""
    return path.name.removesuffix(".txt")


def _recording_of(analysis: Path) -> str:
    match = _ANALYSIS.fullmatch(analysis.name)
    return match["recording"] if match else analysis.name


def _subject(path: Path) -> str:
    match = _NAME.fullmatch(_key(path))
    return match["animal"] if match else _key(path)


def _mismatches(recordings: Sequence[Recording], picks: Mapping[str, Analysis]) -> Iterator[str]:
    """Picks that belong to another recording than the one of their name."""
    for recording in recordings:
        if not (analysis := picks.get(_key(recording.path))):
            continue
        own, name = recording.path.name, analysis.path.name
        if abs(analysis.freq_khz - recording.freq_khz) > 0.01:
            yield f"{name}, line 2: {analysis.freq_khz:g} kHz, {own} was recorded at {recording.freq_khz:g} kHz"
        strange = [f"{level:g}" for level in analysis.levels_db if level not in recording.levels_db]
        if strange:
            yield f"{name}: picks at {some(strange)} dB, which {own} does not have; is it of another recording?"


def _duplicates(recordings: Sequence[Recording]) -> Iterator[str]:
    names: dict[str, str] = {}
    waves: dict[bytes, str] = {}
    for recording in recordings:
        name, key = recording.path.name, _key(recording.path)
        other = names.setdefault(key, name)
        if other != name:
            yield f"{name}: {other} is a recording of the same name; keep one of the two"
        elif (other := waves.setdefault(recording.waves.tobytes(), name)) != name:
            yield f"{name}: the same waveforms as {other}; keep one of the two"


def _lacks(recordings: Sequence[Recording], grid: Grid) -> Iterator[str]:
    for recording in recordings:
        if lack := grid.lacks(recording.waves.shape[1], recording.rate_hz, 0.0):
            yield f"{recording.path.name}: {lack}"


def _join(
    recordings: Sequence[Recording], picks: Mapping[str, Analysis], grid: Grid, notes: Sequence[str], lacks: str
) -> Recordings:
    """All levels of all recordings as rows; `lacks` is why, where nothing is labelled.

    A waveform of zeros is left out: EPL's instrument sometimes saves one instead of what it recorded (the program
    skips it for that reason).
    """
    parts: list[Recordings] = []
    empty: list[str] = []
    for recording in recordings:
        filled: np.ndarray = np.any(recording.waves != 0, axis=1)
        name = recording.path.name
        empty += [f"{name} at {level:g} dB" for level in recording.levels_db[~filled]]
        parts.append(_rows(recording, filled, picks.get(_key(recording.path)), grid))
    columns = {name: np.concatenate([getattr(part, name) for part in parts]) for name in _COLUMNS}
    if not len(columns["subject"]):
        raise DataError(f"{some(empty)}: nothing but zeros was recorded")
    left_out = [f"left out, as nothing but zeros was recorded: {some(empty)}"] if empty else []
    labelled = (columns["hearing_class"] >= 0).any() or (columns["present"] >= 0).any()
    return Recordings(**columns, notes=(*notes, *left_out), unlabelled="" if labelled else lacks)


_COLUMNS = ("subject", "statics", "waveform", "hearing_class", "present", "latency_ms", "amplitude_uv", "file")


def _rows(recording: Recording, filled: np.ndarray, analysis: Analysis | None, grid: Grid) -> Recordings:
    """One recording's levels, of which those that `filled` says have a waveform."""
    levels_db = recording.levels_db[filled]
    rows = len(levels_db)
    hearing, present = np.full(rows, -1), np.full(rows, -1)
    latency_ms, amplitude_uv = np.full((2, rows), np.nan, np.float32)
    if analysis:
        if analysis.threshold_db is not None:
            hearing = class_of_level(levels_db - analysis.threshold_db)
        for row, level in enumerate(levels_db.tolist()):
            if level in analysis.wave_v:
                latency, amplitude = analysis.wave_v[level]
                present[row] = latency >= 0
                if present[row]:
                    latency_ms[row], amplitude_uv[row] = latency, amplitude
    return Recordings(
        subject=np.full(rows, _subject(recording.path)),
        statics=np.stack([levels_db, np.full(rows, recording.freq_khz), np.full(rows, recording.n_sweeps)], axis=1),
        waveform=grid.place(recording.waves[filled], recording.rate_hz, 0.0),
        hearing_class=hearing.astype(np.int64),
        present=present.astype(np.int64),
        latency_ms=latency_ms,
        amplitude_uv=amplitude_uv,
        file=np.full(rows, recording.path.name),
    )
