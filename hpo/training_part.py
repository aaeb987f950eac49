"""The part of a report on how baseline and best trained: what is wrong with the one, and does it show in the other?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hpo import training_figures
from hpo.class_report import side_by_side
from hpo.diagnosis import of_trial, symptoms
from hpo.evidence import best_epoch
from hpo.learned_nothing import references
from hpo.page import Plot
from hpo.range_edge import of_study
from hpo.records import TrialRecord
from hpo.reference_table import CAPTION, MARK, MARKED, Row, beside
from hpo.symptom import LEARNED_BY, TOO_SHORT, Symptom, Training, of_classes
from hpo.verdict import Case, Rows, called
from hpo.wording import MISSING

CAPTIONS = {
    "losses": "Means per term before weighting; the weighted sum is grey. A wide gap between dashed and solid of one "
    "colour is overfitting of that term; a line that stays level is a term that learns nothing; a wide band (one "
    "standard deviation of the batches' means) is a term whose gradient is mostly noise. The axis is "
    "that of the lines: bands and rings may leave it.",
    "lines of nothing": " Dotted lines, with dashes or without, are the weighted sum of what has learned nothing: "
    "a grey line at their height has learned nothing either. One far above all others is left out; the table has it.",
    "balance": "How many times as large one weighted term is as another, from the training means. Around the line at 1 "
    "both teach alike; beyond the dotted lines at 10 and 0.1 for most of the training, the smaller one hardly teaches.",
    "weights": "What each term is multiplied by. A curriculum shows as a line that leaves 0 late and rises.",
    "gradients": "Mean norm per epoch, before clipping. It should settle: jumps and growth ask for a lower learning "
    "rate, a warm-up or tighter clipping.",
    "terms": " Coloured lines are the gradients of single weighted terms: the largest one steers the shared layers.",
    "per_class": "Validation score of each class after every epoch; grey is the metric. A class that stays at 0 is "
    "never predicted right: it is too rare, or its labels are wrong.",
    "family": "Validation values that belong together, after every epoch; grey is the metric. Where something is drawn "
    "as predicted and as true, the one should come to lie on the other and stay there.",
    "fast": " Epochs that were validated on a part of the rows only are left out of the lines: they do not compare.",
}
UNSEEN = "not seen"


@dataclass(kw_only=True)
class TrainingPart:
    """Sentences, tables and figures."""

    sentences: list[str] = field(default_factory=list)
    symptoms_heads: tuple[str, ...] = ()
    symptoms: Rows = field(default_factory=list)
    references_caption: str = CAPTION
    references_heads: tuple[str, ...] = ()
    references: list[Row] = field(default_factory=list)
    report_title: str = ""
    report_heads: tuple[str, ...] = ()
    report: Rows = field(default_factory=list)
    plots: list[Plot] = field(default_factory=list)

    @property
    def keys(self) -> set[str]:
        return {plot.key for plot in self.plots}


def training_part(case: Case) -> TrainingPart:
    """Symptoms, classification report and curves of baseline and best; empty as long as neither has an epoch."""
    part = TrainingPart()
    baseline = None if case.baseline is case.best else case.baseline
    trained = {role: t for role, t in (("baseline", baseline), ("best", case.best)) if t is not None and t.epochs}
    if not trained:
        return part
    _add_symptoms(part, case, trained)
    part.references_heads, part.references = beside(trained, case.metric, case.direction_of)
    if any(row[0].endswith(MARK) for row in part.references):
        part.references_caption += MARKED
    _add_report(part, case)
    part.plots = _plots(case)
    return part


def _add_symptoms(part: TrainingPart, case: Case, trained: Mapping[str, TrialRecord]) -> None:
    trials = list(trained.values())
    found = [{s.name: s for s in of_trial(t, case.metric, case.direction_of, case.epochs)} for t in trials]
    names = list(dict.fromkeys(name for one in found for name in one))
    part.symptoms_heads = ("symptom", *trained, "what to try")
    for name in names:
        cells = [_cell(one.get(name), case, trial) for one, trial in zip(found, trials, strict=True)]
        remedy = next(one[name].remedy for one in found if name in one)
        part.symptoms.append((name, *cells, remedy))
    for symptom in of_study(case.trials, case.metric, case.ranges):
        part.symptoms.append((symptom.name, *[MISSING] * (len(trials) - 1), symptom.evidence, symptom.remedy))
    part.sentences.append(_summary(found, trials))
    if short := [called(t) for t in trials if len(t.epochs) <= LEARNED_BY]:
        part.sentences.append(f"There are at most {LEARNED_BY} epochs of {' and '.join(short)}: {TOO_SHORT}.")


def _summary(found: list[dict[str, Symptom]], trials: list[TrialRecord]) -> str:
    if len(trials) == 1:
        return f"{_counted(len(found[0]))} of {called(trials[0])}, on the search fold."
    both = sum(name in found[1] for name in found[0])
    kept = (
        f"{both or 'none'} of them also in {called(trials[1])}"
        if found[0]
        else f"{called(trials[1])} has {len(found[1])}"
    )
    more = len(found[1]) - both
    new = f", which has {more} of its own" if found[0] and more else ""
    return f"{_counted(len(found[0]))} of the baseline, {called(trials[0])}, on the search fold; {kept}{new}."


def _counted(count: int) -> str:
    return f"{count or 'No'} symptom{'' if count == 1 else 's'}"


def _cell(symptom: Symptom | None, case: Case, trial: TrialRecord) -> str:
    """What was seen in the search trial, and in how many folds of its promotion."""
    folds = [j for j in case.jobs if j.candidate == trial.number and j.fold >= 0 and j.state == "done" and j.epochs]
    budget = case.epochs or max((len(j.epochs) for j in folds), default=0)
    if symptom is None:
        return UNSEEN
    facts: dict[str, Any] = {"metric": case.metric, "params": trial.params, "direction_of": case.direction_of}
    again = sum(
        symptom.name in {s.name for s in symptoms(Training(epochs=j.epochs, budget=budget, **facts))} for j in folds
    )
    return symptom.evidence + (f" (and in {again} of {len(folds)} retrained folds)" if folds else "")


def _add_report(part: TrainingPart, case: Case) -> None:
    """The classification report of the epochs that gave baseline and best their values."""
    both = (None if case.baseline is case.best else case.baseline), case.best
    before, after = (best_epoch(trial, case.metric) if trial is not None else None for trial in both)
    part.report_heads, part.report = side_by_side(before, after)
    if part.report:
        shown = [(t, e) for t, e in zip(both, (before, after), strict=True) if t is not None and e and e.report]
        where = " and ".join(f"epoch {e.number} of {called(t)}" for t, e in shown)
        part.report_title = f"Classification report, validation: {where}"


def _plots(case: Case) -> list[Plot]:
    trials, metric = case.trials, case.metric
    shown = [e for _, epochs in training_figures.panels(trials, metric) for e in epochs]
    fast = CAPTIONS["fast"] if any(not e.full for e in shown) else ""
    found = []

    def add(key: str, title: str, caption: str, figure: object) -> None:
        found.append(Plot(key=key, title=title, caption=caption, figure=figure))

    about = CAPTIONS["losses"] + CAPTIONS["lines of nothing"] * bool(references(shown))
    add("losses", "Loss terms", about, training_figures.losses(trials, metric))
    if any(e.ratios() for e in shown):
        add("balance", "Balance of the loss terms", CAPTIONS["balance"], training_figures.balance(trials, metric))
    if any(e.weights for e in shown):
        add("weights", "Weights of the loss terms", CAPTIONS["weights"], training_figures.weights(trials, metric))
    named = CAPTIONS["gradients"] + (CAPTIONS["terms"] if any(e.gradient_norms for e in shown) else "")
    add("gradients", "Gradient norm", named, training_figures.gradients(trials, metric))
    shares = case.study.vocabulary.get("shares", ())
    families = training_figures.families(trials, metric, case.direction_of, shares)
    for number, (family, names) in enumerate(families.items()):
        drawn = training_figures.per_class(trials, metric, family, names)
        classes = _are_classes(family, names, case)
        title = f"{family} of each class" if classes else f"{family}, epoch by epoch"
        add(f"family-{number}", title, CAPTIONS["per_class" if classes else "family"] + fast, drawn)
    return found


def _are_classes(family: str, names: list[str], case: Case) -> bool:
    """Whether the members of a family of scores are classes: those of the data, or it is a score of right answers."""
    classes = {str(name) for name in case.study.info.get("classes") or ()}
    return of_classes(family) or {name.removeprefix(f"{family}.") for name in names} <= classes
