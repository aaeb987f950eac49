"""Read folds.csv: the folds that the subjects were dealt to before.

    subject             one row for each subject of labels.csv
    fold                its number; folds are numbered from 0 or from 1, without gaps

Further columns are ignored.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from objectives.grimace.table import LABELS_FILE, Labels, hint, strange_columns
from objectives.problems import Mistake, gathered, some
from objectives.tables import plain, ragged, read_table

FOLDS_FILE = "folds.csv"
_NEEDED = ("subject", "fold")


def read_folds(path: Path, labels: Labels, problems: list[str]) -> Mapping[str, int]:
    """The fold of each subject, from 0; everything that is wrong with the file is added to `problems`.

    Args:
        path: of the file.
        labels: whose subjects are looked for in it, where all of its rows are there.
        problems: where what is wrong is added.
    """
    table = read_table(path, FOLDS_FILE, problems)
    if table is None:
        return {}
    header = [cell.strip().lower() for cell in table.rows[0]]
    if strange := list(strange_columns(header, _NEEDED, way_out="correct that, or take the file away")):
        problems += [f"{FOLDS_FILE}, line {table.lines[0]}: {text}" for text in strange]
        return {}
    before = len(problems)
    problems += ragged(table)
    lines: dict[str, int] = {}
    folds: dict[str, int] = {}
    wrong: list[Mistake] = []
    for line, cells in zip(table.lines[1:], table.rows[1:], strict=True):
        if len(cells) != len(header) or not any(map(str.strip, cells)):  # the one is a problem already, the other none
            continue
        row = dict(zip(header, map(str.strip, cells), strict=True))
        subject, fold = row["subject"], plain(row["fold"])
        if not subject:
            wrong.append(Mistake(line, "subject is empty; every row needs one", "subject"))
        elif subject in lines:
            wrong.append(Mistake(line, f"subject {subject!r} is in line {lines[subject]} already; keep one", "twice"))
        elif not (fold.isdecimal() and fold.isascii() and len(fold) < 6):
            says = f"fold {row['fold'][:60]!r} of subject {subject!r} is no number of a fold (0, 1, 2, ...)"
            wrong.append(Mistake(line, f"{says}; correct it", "fold"))
        else:
            folds[subject] = int(fold)
        lines.setdefault(subject, line)
    problems += gathered(FOLDS_FILE, wrong)
    if len(problems) == before:
        problems += _gaps(folds)
    if labels.whole:
        problems += _out_of_step(labels, lines)
    lowest = min(folds.values(), default=0)
    return {subject: fold - lowest for subject, fold in folds.items()}


def _gaps(folds: Mapping[str, int]) -> Iterator[str]:
    numbers = sorted(set(folds.values()))
    if len(numbers) < 2:
        there = f"fold {numbers[0]} alone" if numbers else "no rows below the header"
        text = f"{FOLDS_FILE}: {there}; each fold is tested on a model of the others"
        yield f"{text}: name two or more, or remove the file to have them dealt"
    elif numbers not in (list(range(len(numbers))), list(range(1, len(numbers) + 1))):
        first = min(numbers[0], 1)
        missing = sorted(set(range(first, numbers[-1])) - set(numbers))
        text = f"no fold {some([str(number) for number in missing])}, though there is fold {numbers[-1]}"
        yield f"{FOLDS_FILE}: {text}; number them from 0 or 1 without gaps"


def _out_of_step(labels: Labels, lines: Mapping[str, int]) -> Iterator[str]:
    """Subjects that one of the two files names alone."""
    subjects: dict[str, int] = {}
    for row in labels.rows:
        if row.subject:  # else it is a problem already
            subjects.setdefault(row.subject, row.line)
    stray = tuple(name for name in lines if name and name not in subjects)
    lacking = tuple(name for name in subjects if name not in lines)
    if lacking:
        named = [f"{name!r} in line {subjects[name]}{hint(name, stray)}" for name in lacking]
        way_out = f"give each a row there, or remove {FOLDS_FILE} to have the folds dealt"
        yield f"{LABELS_FILE}: subject in no fold of {FOLDS_FILE}: {some(named)}; {way_out}"
    if stray:
        named = [f"{name!r} in line {lines[name]}{hint(name, lacking)}" for name in stray]
        yield f"{FOLDS_FILE}: subject that {LABELS_FILE} does not name: {some(named)}; correct or remove its row"
