"""The report's part on how baseline and best trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from hpo.evidence import ordered_names
from hpo.objective import Epoch
from hpo.range_edge import Range
from hpo.reference_table import CAPTION, MARKED
from hpo.training_part import UNSEEN, training_part
from hpo.verdict import Case
from tests import made_up
from tests.test_diagnosis import healthy, score
from tests.test_report import promoted

STUDY = made_up.study(metric="macro_f1")


def case(baseline: Sequence[Epoch], best: Sequence[Epoch], **changes: Any) -> Case:
    values = made_up.params(1e-3, 0.1)
    first = made_up.trial(0, values, 3, configuration="before", value=0.1, epochs=tuple(baseline))
    second = replace(first, number=1, configuration=None, value=0.9, epochs=tuple(best))
    return Case(STUDY, [first, second], (), None, made_up.direction_of, epochs=20, **changes)


def zero(epochs: Sequence[Epoch]) -> list[Epoch]:
    return [replace(e, **score(0.0)(e)) for e in epochs]


def test_a_symptom_of_the_baseline_that_the_best_has_lost_is_not_seen_there() -> None:
    part = training_part(case(zero(healthy()), healthy()))
    said = "1 symptom of the baseline, trial 0 “before”, on the search fold; none of them also in trial 1."
    assert part.sentences == [said]
    assert part.symptoms_heads == ("symptom", "baseline", "best", "what to try")
    ((name, baseline, best, remedy),) = part.symptoms
    assert name == "the metric learns nothing" and baseline.startswith("macro_f1 in 15 epochs") and best == UNSEEN
    assert remedy.startswith("look at labels")


def test_a_symptom_that_stays_and_one_of_the_bests_own_are_counted() -> None:
    noisy = [replace(e, spread={"class": {"sd": 9.0, "min": 0.0, "max": 99.0}}) for e in zero(healthy())]
    (said,) = training_part(case(zero(healthy()), noisy)).sentences
    assert said.endswith("; 1 of them also in trial 1, which has 1 of its own.")
    (said,) = training_part(case(healthy(), noisy)).sentences
    assert said == "No symptoms of the baseline, trial 0 “before”, on the search fold; trial 1 has 2."


def test_that_no_symptom_is_seen_in_a_short_training_says_little() -> None:
    part = training_part(case(healthy(), healthy()[:5]))
    assert part.sentences[1:] == [
        "There are at most 5 epochs of trial 1: most symptoms can be seen after more than 5 epochs only."
    ]
    assert len(training_part(case(healthy(), healthy()[:6])).sentences) == 1


def test_symptoms_are_looked_for_in_every_retrained_fold() -> None:
    trials, jobs, final = promoted()
    part = training_part(Case(made_up.study(), trials, jobs, final, made_up.direction_of, epochs=24))
    dominates = next(row for row in part.symptoms if row[0] == "one weighted loss term dominates")
    assert dominates[1].endswith("(and in 5 of 5 retrained folds)")


def test_the_best_trials_at_the_end_of_a_range_are_a_row_of_their_own() -> None:
    trials = [replace(made_up.trial(n, made_up.params(1e-2 - 1e-4 * n, 0.1), 5), value=1.0 - 0.1 * n) for n in range(8)]
    ranges = {"optimizer.lr": Range(low=1e-5, high=1e-2, log=True)}
    part = training_part(Case(made_up.study(), trials, (), None, made_up.direction_of, ranges=ranges))
    assert part.symptoms[-1][0] == "optimizer.lr lies at the upper end of its range"
    assert part.symptoms_heads == ("symptom", "best", "what to try"), "there is no baseline"


def test_the_classification_report_is_that_of_the_epochs_that_gave_the_values() -> None:
    part = training_part(Case(made_up.study(), made_up.trials(), (), None, made_up.direction_of, epochs=24))
    assert (
        part.report_title == "Classification report, validation: epoch 21 of trial 0 “before” and epoch 23 of trial 6"
    )
    assert [row[0] for row in part.report] == ["rest", "walk", "macro avg"]
    assert part.report[-1][6:] == ("0.446", "0.600", "+0.154")
    assert training_part(case(healthy(), healthy())).report == []


def test_every_figure_says_what_to_look_for() -> None:
    fast = [
        replace(e, full=e.number % 2 == 0, validation={**e.validation, "f1.a": 0.1, "f1.b": 0.2}) for e in healthy()
    ]
    part = training_part(case(fast, fast))
    assert part.keys == {"losses", "balance", "weights", "gradients", "family-0"}
    assert all(len(plot.caption) > 60 for plot in part.plots)
    (family,) = (plot for plot in part.plots if plot.key == "family-0")
    assert family.title == "f1 of each class" and "on a part of the rows only are left out" in family.caption


def test_a_family_is_called_one_of_classes_where_its_members_are_some() -> None:
    """Those of the data are `rest` and `walk`."""
    values = {"foreground.predicted": 0.9, "foreground.true": 0.66, "share.rest": 0.8, "share.walk": 0.2}
    values |= {"au_f1.AU1": 0.1, "au_f1.AU2": 0.1}
    epochs = [replace(e, validation={**e.validation, **values}) for e in healthy()]
    asked = replace(case(epochs, epochs), direction_of=lambda name: "minimize" if "loss" in name else "maximize")
    found = {plot.title: plot.caption for plot in training_part(asked).plots if plot.key.startswith("family")}
    assert list(found) == ["foreground, epoch by epoch", "share of each class", "au_f1 of each class"]
    shares, *others = found.values()
    assert "as predicted and as true" in shares and "class" not in shares
    assert all("A class that stays at 0" in caption for caption in others)


def test_shares_are_drawn_though_they_are_neither_good_nor_bad() -> None:
    values = {"foreground.predicted": 0.9, "foreground.true": 0.66, "odd.a": 1.0, "odd.b": 1.0}
    epochs = [replace(e, validation={**e.validation, **values}) for e in healthy()]
    whole = replace(case(epochs, epochs), direction_of=lambda name: None)
    asked = replace(whole, study=replace(whole.study, vocabulary={"shares": ["foreground.*"]}))
    found = [plot.title for plot in training_part(asked).plots if plot.key.startswith("family")]
    assert found == ["foreground, epoch by epoch"]


def test_what_has_learned_nothing_stands_beside_baseline_and_best() -> None:
    given = {"majority": {"loss": 2.5, "macro_f1": 0.3}}
    epochs = [replace(e, references=given if e.number == 1 else {}) for e in healthy()]
    part = training_part(case(epochs, epochs))
    assert part.references_heads == ("measure", "majority", "baseline", "best")
    assert [row[:2] for row in part.references] == [("macro_f1", "0.300"), ("loss", "2.50")]
    assert part.references_caption == CAPTION
    (losses,) = (plot for plot in part.plots if plot.key == "losses")
    assert "Dotted lines" in losses.caption
    without = training_part(case(healthy(), healthy()))
    assert without.references == [] and "Dotted" not in without.plots[0].caption


def test_a_mark_in_the_table_of_references_is_explained() -> None:
    given = {"majority": {"loss": 2.5, "accuracy": 0.9}}
    epochs = [
        replace(e, references=given if e.number == 1 else {}, validation={**e.validation, "accuracy": 0.6})
        for e in healthy()
    ]
    part = training_part(case(epochs, epochs))
    assert [row[0] for row in part.references] == ["accuracy *", "loss"]
    assert part.references_caption == CAPTION + MARKED


def test_without_an_epoch_there_is_no_such_part() -> None:
    assert training_part(Case(made_up.study(), (), (), None, made_up.direction_of)).sentences == []


def test_measures_stand_as_a_reader_counts() -> None:
    names = ["loss.au", "f1.AU10", "f1.AU2", "accuracy", "loss", "f1.AU1", "f1.1", "f1.b2c10", "f1.b2c9", "macro_f1"]
    scores = ["macro_f1", "accuracy", "f1.1", "f1.AU1", "f1.AU2", "f1.AU10", "f1.b2c9", "f1.b2c10"]
    assert ordered_names(names, "macro_f1") == [*scores, "loss", "loss.au"]
