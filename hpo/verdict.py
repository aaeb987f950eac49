"""What helped, and by how much: answer of a study, proof over all folds and targets, as tables and sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hpo.evidence import (
    DirectionOf,
    FoldPair,
    baseline_trial,
    best_epoch,
    best_trial,
    changed_params,
    compare_epochs,
    fold_pairs,
    paired_difference,
    value_of,
)
from hpo.objective import Epoch, Metric
from hpo.range_edge import Range
from hpo.records import FinalRecord, JobRecord, StudyRecord, TrialRecord
from hpo.wording import MISSING, change, counted, decimals_for, fixed, last_line, number, plus_minus, written

if TYPE_CHECKING:
    from hpo.study import Target

Rows = list[tuple[Any, ...]]


@dataclass(frozen=True)
class Case:
    """Everything a report is about, and the two trials it compares."""

    study: StudyRecord
    trials: Sequence[TrialRecord]
    jobs: Sequence[JobRecord]
    final: FinalRecord | None
    direction_of: DirectionOf
    targets: Sequence[Target] = ()
    epochs: int | None = None  #: the most of one training
    ranges: Mapping[str, Range] = field(default_factory=dict)  #: of the searched parameters

    @property
    def metric(self) -> Metric:
        return Metric(self.study.metric, self.study.direction)

    @property
    def best(self) -> TrialRecord | None:
        return best_trial(self.trials, self.metric)

    @property
    def baseline(self) -> TrialRecord | None:
        return baseline_trial(self.trials)

    @property
    def complete(self) -> int:
        return sum(t.state == "COMPLETE" for t in self.trials)

    def rescaled(self, name: str, after: TrialRecord | None) -> bool:
        """Whether a loss of the baseline and of `after` cannot be compared, because its own parameters differ.

        Terms are recorded before weighting, so weights change the scale of the sum only.
        """
        if after is None or self.baseline is None or not (name == "loss" or name.startswith("loss.")):
            return False
        changed = [p for p, _, _ in changed_params(self.baseline.params, after.params) if p.startswith("loss.")]
        return any(name == "loss" or not parameter.endswith("_weight") for parameter in changed)

    @property
    def candidate(self) -> int | None:
        """The trial under promotion."""
        return self.final.candidate if self.final else next((j.candidate for j in self.jobs if j.role == "best"), None)

    @property
    def promoted(self) -> TrialRecord | None:
        return next((t for t in self.trials if t.number == self.candidate), None)

    @property
    def proven(self) -> bool:
        """Whether every fold of the promotion has ended, so that means over folds will not change any more."""
        folds = [j for j in self.jobs if j.fold >= 0]
        ended = bool(folds) and all(j.state in ("done", "failed") for j in folds)
        return ended and self.final is not None and bool(self.final.scores)

    @property
    def compared(self) -> bool:
        """Whether the promotion retrains a baseline beside its candidate, which may be the baseline itself."""
        return any(j.role == "baseline" for j in self.jobs)

    @property
    def pairs(self) -> list[FoldPair]:
        return fold_pairs(self.jobs, self.candidate, self.metric.name)


@dataclass(kw_only=True)
class Part:
    """Sentences, warnings and tables of a part of the page; what stays empty is not shown."""

    sentences: list[str] = field(default_factory=list)
    cautions: list[str] = field(default_factory=list)
    params_title: str = ""
    params_heads: tuple[str, ...] = ()
    params_numeric: tuple[int, ...] = ()
    params: Rows = field(default_factory=list)
    scores_title: str = ""
    scores_heads: tuple[str, ...] = ()
    scores_numeric: tuple[int, ...] = ()
    scores: Rows = field(default_factory=list)
    folds_heads: tuple[str, ...] = ()
    folds_numeric: tuple[int, ...] = ()
    folds: Rows = field(default_factory=list)


def called(trial: TrialRecord) -> str:
    return f"trial {trial.number}" + (f" “{trial.configuration}”" if trial.configuration is not None else "")


def is_better(difference: float, metric: Metric) -> bool:
    return metric.better(difference, than=0.0)


def answer(case: Case) -> Part:
    """The best trial against the baseline, on the search fold."""
    best, baseline, metric = case.best, case.baseline, case.metric
    if best is None:
        return Part(sentences=["No trial is complete yet, so there is no best trial and nothing to compare."])
    after = best_epoch(best, metric)
    if baseline is None or baseline is best:
        return _answer_alone(case, best, after)
    before = best_epoch(baseline, metric)
    part = Part(sentences=[_headline(case, best, baseline)], cautions=_cautions(case, best, baseline))
    if (proof := _proof(case)) is not None:
        part.sentences.insert(0, proof)
    rows = changed_params(baseline.params, best.params)
    same = len({*baseline.params, *best.params}) - len(rows)
    part.params_title = f"Parameters that differ ({same} others are equal)"
    part.params_heads, part.params_numeric = ("parameter", "baseline", "best", "change"), (1, 2, 3)
    part.params = [(name, number(old), number(new), change(old, new)) for name, old, new in rows]
    epochs = f"epoch {before.number if before else MISSING} and epoch {after.number if after else MISSING}"
    part.scores_title = f"Measured on validation, fold {best.fold}: the best epochs of both ({epochs})"
    part.scores_heads = (
        "measure",
        "better\u00a0is",
        "baseline",
        "best",
        "difference",
        "",
        "training, baseline",
        "best",
    )
    part.scores_numeric = (2, 3, 4, 6, 7)
    for comparison in compare_epochs(before, after, metric.name, case.direction_of):
        w = written(comparison)
        verdict = "other scale" if case.rescaled(w.name, best) else w.verdict
        row = (w.name, w.way, w.before, w.after, w.difference, verdict, w.train_before, w.train_after)
        part.scores.append(row)
    return part


def _answer_alone(case: Case, best: TrialRecord, after: Epoch | None) -> Part:
    value = number(value_of(best, case.metric))
    if case.baseline is None:
        text = (
            f"The best of {counted(case.complete, 'complete trial')} is {called(best)} with {case.metric.name} "
            f"{value}. "
            "The study names no configuration, so there is no baseline to compare it with."
        )
    else:
        text = (
            f"The baseline is still the best: {_no_other(case.complete - 1)} better than "
            f"{called(best)} with {case.metric.name} {value}."
        )
    part = Part(sentences=[text])
    part.scores_title = f"Measured on validation, fold {best.fold}, epoch {after.number if after else MISSING}"
    part.scores_heads, part.scores_numeric = ("measure", "better\u00a0is", "validation", "training"), (2, 3)
    for comparison in compare_epochs(None, after, case.metric.name, case.direction_of):
        w = written(comparison)
        part.scores.append((w.name, w.way, w.after, w.train_after))
    return part


def _no_other(others: int) -> str:
    if others < 2:
        return ("no other trial is complete, so none did", "the one other complete trial did no")[others]
    return f"none of the {others} other complete trials did"


def _headline(case: Case, best: TrialRecord, baseline: TrialRecord) -> str:
    metric = case.metric
    after, before = value_of(best, metric) or 0.0, value_of(baseline, metric)
    if before is None:
        why = f" ({baseline.end}: {last_line(baseline.end_text)})" if baseline.end else ""
        return (
            f"The best of {counted(case.complete, 'complete trial')} is {called(best)} with {metric.name} "
            f"{number(after)}. The "
            f"baseline, {called(baseline)}, has no value{why}, so the difference is not measurable."
        )
    decimals = decimals_for(before, after, difference=after - before)
    verdict = "no difference" if after == before else "better" if is_better(after - before, metric) else "worse"
    return (
        f"On search fold {best.fold}, {called(best)} reaches {metric.name} {fixed(after, decimals)}, the baseline, "
        f"{called(baseline)}, {fixed(before, decimals)}: {fixed(after - before, decimals, sign=True)} ({verdict}). "
        f"This is the best of {case.complete} complete trials chosen by this very number, so a part of it is luck"
        + ("." if case.proven else ", until it is retrained over all folds.")
    )


def _proof(case: Case) -> str | None:
    """The honest number in one sentence, once the promotion is done."""
    if case.final is None or not case.proven or (paired := paired_difference(case.pairs)) is None:
        return None
    mean, spread, count = paired
    wins = sum(p.difference is not None and is_better(p.difference, case.metric) for p in case.pairs)
    name = case.metric.name
    after = plus_minus(case.final.scores.get(name), case.final.spread.get(name))
    before = plus_minus(case.final.baseline_scores.get(name), case.final.baseline_spread.get(name))
    return (
        f"Over {count} retrained folds, trial {case.final.candidate} reaches {name} {after}, the baseline {before}: "
        f"{plus_minus(mean, spread, sign=True)} fold by fold, better on {wins} of {count}."
    )


def _cautions(case: Case, best: TrialRecord, baseline: TrialRecord) -> list[str]:
    cautions = []
    if baseline.state == "PRUNED":
        cautions.append(
            f"The baseline was stopped after {len(baseline.epochs)} epochs ({baseline.end or 'pruned'}); the best "
            f"trial trained {len(best.epochs)}. The difference compares a cut training with a whole one."
        )
    elif baseline.state in ("RUNNING", "WAITING"):
        cautions.append(f"The baseline is {baseline.state.lower()}; the difference is not final.")
    if baseline.fold != best.fold:
        cautions.append(f"Baseline and best were trained on different folds ({baseline.fold} and {best.fold}).")
    if case.rescaled("loss", best):
        cautions.append(
            "Parameters of the loss differ, so losses of the two are on different scales and not comparable; "
            "the scores are."
        )
    return cautions
