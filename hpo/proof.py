"""The proof of an answer: the promotion over all folds, and the targets, as tables and sentences."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from hpo.evidence import finite, fold_pairs, min_epochs, ordered_names, paired_difference
from hpo.objective import Epoch, Metric
from hpo.records import FinalRecord, JobRecord, TrialRecord
from hpo.verdict import Case, Part, Rows, is_better
from hpo.wording import MISSING, decimals_for, fixed, last_line, plus_minus

if TYPE_CHECKING:
    from hpo.study import Target

#: What `Target.reached` returns: the value and the verdict, None twice where it cannot be measured.
Measured = tuple[float | None, bool | None]


def promotion(case: Case) -> Part:
    """Baseline and best retrained over all folds, then the best refitted on all data."""
    part = Part()
    if case.final is None and not case.jobs:
        part.sentences.append(
            "Not promoted yet: everything above was measured on one fold. The promotion retrains the best trial and "
            "the baseline over all folds."
        )
        return part
    if case.final is not None and case.proven:
        _add_promoted(part, case, case.final)
    else:
        done = sum(j.state == "done" for j in case.jobs)
        part.sentences.append(
            f"The promotion of trial {case.candidate} is not finished: {done} of {len(case.jobs)} trainings are done."
        )
    if case.best is not None and case.best.number != case.candidate:
        part.cautions.append(
            f"Trial {case.candidate} was the best when the promotion began; trial {case.best.number} has become better "
            "since and is not what was retrained."
        )
    if case.final is not None and case.final.status == "failed":
        why = last_line(case.final.end_text) or "no reason on record"
        part.cautions.append(f"The promotion of trial {case.final.candidate} failed: {why}")
    part.cautions += [
        f"{'The refit' if j.fold < 0 else f'Fold {j.fold}'} of the {j.role}, trial {j.candidate}, failed: "
        f"{last_line(j.end_text)}"
        for j in case.jobs
        if j.state == "failed"
    ]
    _add_folds(part, case)
    return part


def _add_promoted(part: Part, case: Case, final: FinalRecord) -> None:
    """The table of means, with the difference taken fold by fold."""
    measured = (
        "retrained on every fold: mean ± standard deviation over folds of the validation values at the best epoch."
    )
    if case.compared:
        part.sentences.append(
            f"Trial {final.candidate} and the baseline, {measured} The difference is taken fold by fold; its own "
            "deviation says how steady it is."
        )
    else:
        same = case.baseline is not None and case.baseline.number == final.candidate
        alone = "is the baseline itself, so there is no difference to tell" if same else "has no baseline beside it"
        part.sentences.append(f"Trial {final.candidate}, {measured} It {alone}.")
    part.sentences.append(_tested(case, final))
    both = ("baseline", "best", "difference", "better on") if case.compared else ("best",)
    tested = ("test, final model",) if final.test_scores else ()
    part.scores_heads = ("measure", "better\u00a0is", *both, *tested)
    part.scores_numeric = tuple(range(2, len(part.scores_heads)))
    for name in ordered_names([*final.scores, *final.baseline_scores, *final.test_scores], case.metric.name):
        part.scores.append(_promoted_row(case, final, name))


def _tested(case: Case, final: FinalRecord) -> str:
    """What the column of test scores is, or why there is none."""
    if final.test_scores:
        return "The last column is the final model on rows that no training and no choice has seen."
    if not case.study.split.get("test"):
        why = "the study holds out no test rows"
    elif final.path:
        why = "the labels of the held-out test rows allow none"
    elif final.status == "done":
        why = "the study makes no final model (promotion.refit)"
    else:
        why = "there is no final model" + " yet" * (final.status != "failed")
    return f"There are no test scores: {why}."


def _promoted_row(case: Case, final: FinalRecord, name: str) -> tuple[Any, ...]:
    direction = case.direction_of(name)
    pairs = fold_pairs(case.jobs, final.candidate, name)
    mean, spread, count = paired_difference(pairs) or (None, None, 0)
    rescaled = case.rescaled(name, case.promoted)
    wins = "other scale" if rescaled else MISSING
    if not rescaled and direction and count:
        better = Metric(name, direction)
        wins = f"{sum(p.difference is not None and is_better(p.difference, better) for p in pairs)} of {count}"
    test = finite(final.test_scores.get(name))
    way = {"maximize": "higher", "minimize": "lower", None: MISSING}[direction]
    before = plus_minus(finite(final.baseline_scores.get(name)), finite(final.baseline_spread.get(name)))
    after = plus_minus(finite(final.scores.get(name)), finite(final.spread.get(name)))
    difference = "not measurable" if mean is None else plus_minus(mean, spread, sign=True)
    cells = (before, after, difference, wins) if case.compared else (after,)
    tested = (fixed(test, decimals_for(test)),) if final.test_scores else ()
    return (name, way, *cells, *tested)


def _add_folds(part: Part, case: Case) -> None:
    pairs = case.pairs
    values = [v for p in pairs for v in (p.before, p.after)]
    differences = [p.difference for p in pairs if p.difference]
    decimals = decimals_for(*values, difference=min(differences, key=abs, default=None))
    kept = {(j.fold, j.seed, j.role): _epochs_cell(j) for j in case.jobs if j.state == "done"}
    if not case.compared:
        part.folds_heads, part.folds_numeric = ("fold", "seed", "best", "kept epoch"), (2, 3)
        part.folds = [
            (p.fold, p.seed, fixed(p.after, decimals), kept.get((p.fold, p.seed, "best"), MISSING)) for p in pairs
        ]
        return
    part.folds_heads = ("fold", "seed", "baseline", "best", "difference", "kept epoch, baseline", "kept epoch, best")
    part.folds_numeric = (2, 3, 4, 5, 6)
    part.folds = [
        (
            p.fold,
            p.seed,
            fixed(p.before, decimals),
            fixed(p.after, decimals),
            "not measurable" if p.difference is None else fixed(p.difference, decimals, sign=True),
            *(kept.get((p.fold, p.seed, role), MISSING) for role in ("baseline", "best")),
        )
        for p in pairs
    ]


def _epochs_cell(job: JobRecord) -> str:
    """Which epoch's model was kept, of how many that were trained: one that kept its first has hardly trained."""
    return f"{MISSING if job.best_epoch is None else job.best_epoch} of {len(job.epochs)}"


def target_heads(case: Case) -> tuple[str, ...]:
    """Columns of the targets; one for the search fold where the best trial is the baseline."""
    searched = ("best",) if case.best is case.baseline else ("baseline", "best")
    return (
        "target",
        *(f"{role}, search fold" for role in searched),
        *(f"{role}, retrained over folds" for role in _retrained(case)),
    )


def target_rows(case: Case) -> Rows:
    """Every target with its number, reached or missed, on the search fold and over the retrained folds.

    The only place that touches `Target`.
    """

    def measured(target: Target, epochs: Sequence[Epoch], trial: TrialRecord | None) -> Measured:
        return target.reached(epochs, case.metric, min_epochs(trial) if trial else 1)

    rows: Rows = []
    searched = [case.baseline] if case.best is case.baseline else [case.baseline, case.best]
    retrained = _retrained(case)
    for target in case.targets:
        ends = [measured(target, t.epochs if t else (), t) for t in searched]
        folds = [[measured(target, epochs, trial) for epochs in trained] for trial, trained in retrained.values()]
        rows.append(
            (str(target), *(target_cell(target, *end) for end in ends), *(_folds_cell(target, f) for f in folds))
        )
    return rows


def _retrained(case: Case) -> dict[str, tuple[TrialRecord | None, list[Sequence[Epoch]]]]:
    """Role -> trial that is retrained over the folds, and the epochs of each fold that is done."""
    trials = ({"baseline": case.baseline} if case.compared else {}) | {"best": case.promoted}
    return {
        role: (trial, [j.epochs for j in case.jobs if j.role == role and j.fold >= 0 and j.state == "done"])
        for role, trial in trials.items()
    }


def target_cell(target: Target, value: float | None, reached: bool | None) -> str:
    """What `Target.reached` returns, in words."""
    if finite(value) is None or reached is None:
        return "not measurable"
    decimals = 0 if target.kind == "epochs" else decimals_for(value)
    return f"{fixed(value, decimals)} {'reached' if reached else 'missed'}"


def _folds_cell(target: Target, folds: Sequence[Measured]) -> str:
    if not folds:
        return "not promoted yet"
    values = [n for value, _ in folds if (n := finite(value)) is not None]
    if not values:
        return "not measurable"
    reached = sum(bool(verdict) for _, verdict in folds)
    missing = f", not measurable on {len(folds) - len(values)}" if len(values) < len(folds) else ""
    count = f"reached on {reached} of {len(folds)} folds{missing}"
    if target.of_every_fold:
        return f"smallest {target_cell(target, min(values), reached == len(folds))}: {count}"
    spread = statistics.stdev(values) if len(values) > 1 else None
    return f"{plus_minus(statistics.fmean(values), spread)}, {count}"
