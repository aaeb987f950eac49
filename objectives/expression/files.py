"""Read a folder of faces in the layout of RAF-CE, or images without labels.

Images lie anywhere in the folder, label files in the folder itself (`objectives.expression.labels` says what they
hold); RAF-CE puts its name before theirs, `RAFCE_emolabel.txt`. All files call an image by the same name, its file name
or its path in the folder. A name is looked up among the images found there and never opened as a path, so that a label
file cannot point out of the folder. RAF-CE's labels name `0001.jpg` where its aligned faces are `0001_aligned.jpg`;
that one is taken where there is no image of the name itself.

Without a file of emotions the images are unlabelled: enough for predictions.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np

from hpo.objective import DataError
from objectives import pictures
from objectives.expression import labels as label_files
from objectives.expression.data import TEST, TRAIN, VALIDATION, Faces
from objectives.expression.folder import Images, aligned, find
from objectives.expression.labels import Labels
from objectives.expression.names import Names, read_names
from objectives.problems import Mistake, gathered, listing, some
from objectives.texts import not_text

EMOTIONS, UNITS, PARTS, GROUPS, CLASSES = "emolabel.txt", "AUlabel.txt", "partition.txt", "groups.csv", "classes.json"
#: What a part is called where it is counted.
_PARTS = {TRAIN: "train", VALIDATION: "validation", TEST: "test"}
_FOLDER = "the folder"
_WANTED = f"give an image, a folder of images, or one with {EMOTIONS} beside or above its images"


def read(source: Path) -> Faces:
    """Read labels and find the images they name; the images themselves are decoded later, by `Faces.pictures`.

    Raises:
        DataError: with file, line, value and way out of everything that is wrong in the folder, MOST_LISTED at most.
    """
    if source.is_file():
        lacks = "a single image is read without labels; give the folder that holds its label files"
        if problems := list(not_text([source.name])):
            raise DataError("; ".join(problems))
        return _unlabelled(source.parent, [source.name], lacks)
    if not source.is_dir():
        raise DataError(f"{source}: no such file or folder; {_WANTED}")
    images = find(source)
    if not images.paths:
        raise DataError(f"{source}: no images ({', '.join(pictures.ENDINGS)}); {images.skipped() or _WANTED}")
    problems = list(not_text(images.paths))
    files = _label_files(source, problems)
    if not files:
        if problems:
            raise DataError(listing(source, problems))
        lacks = f"no file of emotions ({EMOTIONS}); only predictions do without labels"
        notes = [note for note in (images.skipped(), images.left_out()) if note]
        return _unlabelled(source, images.paths, lacks, notes)
    if EMOTIONS not in files:
        others = some([path.name for path in files.values()])
        problems.append(f"no {EMOTIONS} beside {others}; add it, or remove them to predict on the images alone")
        raise DataError(listing(source, problems))
    return _labelled(source, images, files, problems)


def _unlabelled(folder: Path, images: Sequence[str], lacks: str, notes: Sequence[str] = ()) -> Faces:
    return Faces(
        file=np.asarray(images),
        emotion=np.full(len(images), -1),
        units=np.empty((len(images), 0), np.int64),
        classes=(),
        unit_names=(),
        pictures=partial(pictures.squares, folder, images),
        notes=tuple(notes),
        unlabelled=lacks,
    )


def _label_files(folder: Path, problems: list[str]) -> dict[str, Path]:
    """The file of each kind that is there, in the order of the kinds."""
    there = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    found = {}
    for kind in (EMOTIONS, UNITS, PARTS):
        of_kind = [path for path in there if path.name.lower().endswith(kind.lower())]
        if len(of_kind) > 1:
            names = some([path.name for path in of_kind])
            problems.append(f"{names}: {len(of_kind)} files of one kind (*{kind}); keep one")
        problems += not_text([path.name for path in of_kind])
        if of_kind:
            found[kind] = of_kind[0]
    return found


def _labelled(folder: Path, images: Images, files: Mapping[str, Path], problems: list[str]) -> Faces:
    labels = {kind: label_files.read_lines(path, images, problems) for kind, path in files.items()}
    if (folder / GROUPS).is_file():
        labels[GROUPS] = label_files.read_groups(folder / GROUPS, problems)
    listed = read_names(folder / CLASSES, problems) if (folder / CLASSES).is_file() else Names()
    emotions = labels[EMOTIONS]
    names = list(emotions.of)
    if not names:
        raise DataError(listing(folder, problems))
    problems += _out_of_step(labels, images)
    where, instead = _find(images, emotions, problems)

    classes, emotion = label_files.emotions(emotions, listed.classes, problems)
    codes, units = _units(labels.get(UNITS), listed, names, problems)
    part = _parts(labels, names, problems)
    group = labels.get(GROUPS)
    if problems:
        raise DataError(listing(folder, problems))

    notes = [*_changes(images, where, instead), *_unit_notes(labels.get(UNITS), units)]
    if part is not None:
        notes.append(f"{labels[PARTS].file}: {_counts(part)}")
    if part is not None and group is not None:
        count = len({label.text for label in group.of.values()})
        anew = f"parts {TRAIN} and {VALIDATION} of {labels[PARTS].file} are dealt to the folds anew"
        notes.append(f"{group.file}: {count} group{'s' if count > 1 else ''}; {anew}")
    return Faces(
        file=np.asarray(names),
        emotion=np.asarray(emotion, np.int64),
        units=units,
        classes=classes,
        unit_names=tuple(f"AU{code}" for code in codes),
        group=None if group is None else np.asarray([group.of[name].text for name in names]),
        part=part,
        pictures=partial(pictures.squares, folder, where),
        notes=tuple(notes),
    )


def _out_of_step(labels: Mapping[str, Labels], images: Images) -> Iterator[str]:
    """Images that one file names and another, or the folder, does not have.

    What a file lacks is not said where it has lines without the name of an image, or none: they are a problem already.
    """
    emotions = labels[EMOTIONS]
    others = [other for kind, other in labels.items() if kind != EMOTIONS]
    lacking: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for name in emotions.of:
        files = [other.file for other in others if other.whole and name not in other.of]
        lacking[*files, *([] if images.called(name) else [_FOLDER])].append(name)
    for where, names in lacking.items():
        if where:
            out = (_FOLDER in where and (images.skipped() or images.other_ending(names))) or "add or remove them"
            yield f"{emotions.file} names {_numbered(emotions, names)}, missing in {_all(where)}; {out}"
    for other in others:
        names = [name for name in other.of if name not in emotions.of]
        if names and emotions.whole:
            out = f"missing in {emotions.file}; add or remove them"
            yield f"{other.file} names {_numbered(other, names)}, {out}"


def _all(names: Sequence[str]) -> str:
    """A, B and C."""
    return " and ".join([part for part in (", ".join(names[:-1]), names[-1]) if part])


def _numbered(labels: Labels, names: Sequence[str]) -> str:
    count = f"{len(names)} image{'s' if len(names) > 1 else ''}"
    return f"{count} ({some([f'{name} in line {labels.of[name].line}' for name in names])})"


def _find(images: Images, labels: Labels, problems: list[str]) -> tuple[list[str], list[str]]:
    """Where in the folder the images are that a file names, and which of them are there as aligned ones alone."""
    where: list[str] = []
    wrong: list[Mistake] = []
    instead: list[str] = []
    first: dict[str, str] = {}
    for name, label in labels.of.items():
        found = images.called(name)
        if not found:  # a problem already
            continue
        if len(found) > 1:
            twice = f"{name} is there {len(found)} times ({some(found)})"
            wrong.append(Mistake(label.line, f"{twice}; keep one, or give its path in the folder", "many"))
        elif (same := first.setdefault(found[0], name)) != name:
            text = f"{name} is the image of line {labels.of[same].line}; keep one"
            wrong.append(Mistake(label.line, text, "same"))
        elif (file := PurePosixPath(found[0]).name) == aligned(name):
            instead.append(file)
        where.append(found[0])
    problems += gathered(labels.file, wrong)
    return where, instead


def _units(
    labels: Labels | None, listed: Names, names: Sequence[str], problems: list[str]
) -> tuple[tuple[int, ...], np.ndarray]:
    """Codes of the units, and int64 `[rows, unit]`."""
    if labels is None:  # those of classes.json, of which nobody looked for any: a model that says them fits the folder
        return listed.units or (), np.full((len(names), len(listed.units or ())), -1)
    codes, found = label_files.units(labels, listed.units, problems)
    active = dict(zip(labels.of, found, strict=True))
    rows = [active.get(name) for name in names]
    table = [[-1 if row is None else int(code in row) for code in codes] for row in rows]
    return codes, np.asarray(table, np.int64).reshape(len(names), len(codes))


def _parts(labels: Mapping[str, Labels], names: Sequence[str], problems: list[str]) -> np.ndarray | None:
    """int64 `[rows]`, or None without a partition."""
    if PARTS not in labels:
        return None
    own, groups = labels[PARTS], labels.get(GROUPS)
    found = dict(zip(own.of, label_files.parts(own, problems), strict=True))
    part = np.asarray([found.get(name, -1) for name in names], np.int64)
    if own.of and (part >= 0).all():
        if not (part == TRAIN).any():
            problems.append(f"{own.file}: part {TRAIN} (train) has no rows; there is nothing to learn from")
        if not (part == VALIDATION).any() and groups is None:
            text = f"part {VALIDATION} (validation) has no rows, and without {GROUPS} there are no other folds"
            problems.append(f"{own.file}: {text}; move rows to it, add {GROUPS}, or remove the file")
    if groups is not None:
        problems += _torn(groups, found)
    return part


def _torn(groups: Labels, part: Mapping[str, int]) -> Iterator[str]:
    """Groups that would be learnt from and tested on."""
    members: dict[str, list[str]] = defaultdict(list)
    for name, label in groups.of.items():
        members[label.text].append(name)
    for group, names in members.items():
        tested = [name for name in names if part.get(name) == TEST]
        learnt = [name for name in names if part.get(name) in (TRAIN, VALIDATION)]
        if tested and learnt:
            text = f"{some(tested)} in part {TEST} (test) and {some(learnt)} in others"
            yield f"group {group!r} has {text}: what is learnt would be tested on; move them to one side"


def _counts(part: np.ndarray) -> str:
    counts = ", ".join(f"{number} = {name} {(part == number).sum()}" for number, name in _PARTS.items())
    return counts + ("" if (part == TEST).any() else "; nothing is set aside for a final test")


def _changes(images: Images, where: Sequence[str], instead: Sequence[str]) -> Iterator[str]:
    """What is read in another way than the files say, or not at all."""
    named = set(where)
    if others := [image for image in images.paths if image not in named]:
        count = "1 image has" if len(others) == 1 else f"{len(others)} images have"
        yield f"{count} no emotion label and {'was' if len(others) == 1 else 'were'} left out: {some(others)}"
    if images.links:
        yield images.skipped()
    if instead:
        yield f"read in place of images of the names that the labels give: {some(instead)}"


def _unit_notes(labels: Labels | None, units: np.ndarray) -> Iterator[str]:
    if labels is None:
        yield f"no {UNITS}: " + ("no action unit has a label" if units.shape[1] else "action units are not learnt")
        return
    if nobody := sum(label.text.strip().lower() == "null" for label in labels.of.values()):
        yield f"nobody looked for action units in {nobody} of {len(units)} images (null)"
    if halves := [name for name, label in labels.of.items() if label_files.halves(label.text)]:
        yield f"units of one side or lip alone (L12, B23) are active units in {some(halves)}"
