"""Each symptom has a curve that shows it and one that does not."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from sklearn.metrics import classification_report

from hpo import diagnosis
from hpo.class_report import majority, side_by_side
from hpo.diagnosis import symptoms
from hpo.objective import Direction, Epoch, Metric
from hpo.range_edge import Range, at_the_edge, of_study, ranges
from hpo.symptom import Symptom, Training
from tests import made_up

F1 = Metric("macro_f1", "maximize")
PARAMS = {
    "data.batch_size": 64,
    "optimizer.lr": 1e-4,
    "optimizer.gradient_clip": 1.0,
    "loss.signal_weight": 2.0,
    "loss.class_weight": 0.5,
    "stopping.patience": 10,
}


def epoch(number: int, f1: float | None = None, **changes: Any) -> Epoch:
    """An unremarkable epoch: both terms fall, the metric rises."""
    learned = 1 - 0.9**number
    signal, entropy = 1.2 - 0.6 * learned, 1.4 - 0.8 * learned
    f1 = 0.7 * learned if f1 is None else f1
    terms = {"loss.signal": signal, "loss.class": entropy}
    facts: dict[str, Any] = {
        "number": number,
        "train": {**terms, "macro_f1": min(1.0, f1 + 0.05)},
        "validation": {**terms, "macro_f1": f1},
        "lr": 1e-4,
        "gradient_norm": 1.0,
        "seconds": 1.0,
        "samples": 100,
        "peak_memory_mb": 1.0,
        "weights": {"signal": 1.0, "class": 1.0},
        "spread": {term: {"sd": 0.1, "min": 0.5, "max": 1.5} for term in ("signal", "class")},
    }
    return Epoch(**facts | changes)


def healthy(count: int = 20) -> list[Epoch]:
    return [epoch(number) for number in range(1, count + 1)]


def changed(change: Callable[[Epoch], Mapping[str, Any]], count: int = 20) -> list[Epoch]:
    return [replace(e, **change(e)) for e in healthy(count)]


def direction_of(name: str) -> Direction | None:
    if name.startswith("loss") or name.endswith("_mae"):
        return "minimize"
    return None if name.startswith("odd") else "maximize"


def seen(epochs: Sequence[Epoch], **facts: Any) -> dict[str, Symptom]:
    given: dict[str, Any] = {"metric": F1, "params": PARAMS, "budget": len(epochs), "direction_of": direction_of}
    given |= facts
    return {s.name: s for s in symptoms(Training(epochs=epochs, **given))}


def test_a_healthy_training_has_no_symptom() -> None:
    assert seen(healthy()) == {}
    assert seen([]) == {}
    assert seen(healthy(3), budget=3) == {}


def test_each_check_has_a_training_that_shows_it() -> None:
    """So that a check which nobody tests is noticed."""
    assert [check.__name__ for check in diagnosis.CHECKS] == [
        *("loss_of_nothing", "learns_nothing", "score_is_low", "term_does_not_fall", "term_dominates", "overfits"),
        *("stops_at_the_start", "epochs_are_noisy", "gradient_is_unstable"),
    ]


# ---- F1 always 0.0000

NOTHING = "the metric learns nothing"


def score(value: float) -> Callable[[Epoch], Mapping[str, Any]]:
    return lambda e: {"validation": {**e.validation, "macro_f1": value}, "train": {**e.train, "macro_f1": value}}


def test_a_metric_that_stays_at_zero_is_seen_after_the_fifth_epoch() -> None:
    found = seen(changed(score(0.0)))[NOTHING]
    seen_in = "macro_f1 in 15 epochs after epoch 5: median 0, at most 0 (epoch 6)"
    assert found.evidence == f"{seen_in}; nothing is predicted right"
    assert "raise optimizer.lr (now 0.0001)" in found.remedy and "rare_boost_cap" not in found.remedy
    assert NOTHING not in seen(changed(score(0.0), 5))
    moving = changed(lambda e: score(0.01 + 0.001 * (e.number == 9))(e))
    assert NOTHING not in seen(moving)


def test_a_metric_of_numbers_near_zero_says_nothing_of_right_answers() -> None:
    """An R2 of 0 is what the mean gives; rare classes are no matter of it."""
    r2 = [replace(e, validation={**e.validation, "r2": -0.01}) for e in healthy(6)]
    params = PARAMS | {"sampling.rare_boost_cap": 1.0}
    found = seen(r2, metric=Metric("r2", "maximize"), params=params)[NOTHING]
    assert found.evidence.startswith("r2 in 1 epoch after epoch 5: median -0.01, at most -0.01 (epoch 6); ")
    assert found.evidence.endswith("; no better than one answer to everything, such as the mean")
    assert "raise optimizer.lr (now 0.0001)" in found.remedy and "rare_boost_cap" not in found.remedy


@pytest.mark.parametrize(("counts", "rare"), [((60, 40), False), ((76, 24), True), ((25, 75), False)])
def test_rare_classes_are_boosted_where_there_are_any(counts: tuple[int, int], rare: bool) -> None:
    rows = {name: {"f1-score": 0.0, "support": count} for name, count in zip("ab", counts, strict=True)}
    report = {**rows, "macro avg": {"f1-score": 0.0, "support": sum(counts)}}
    epochs = [replace(e, report=report) for e in changed(score(0.0))]
    found = seen(epochs, params=PARAMS | {"sampling.rare_boost_cap": 1.0})[NOTHING]
    assert ("raise sampling.rare_boost_cap (now 1)" in found.remedy) == rare


def test_a_metric_that_falls_to_zero_is_seen() -> None:
    falling = changed(lambda e: score(0.12 if e.number < 8 else 0.0)(e))
    assert "median 0, at most 0.12 (epoch 6)" in seen(falling)[NOTHING].evidence


def test_a_metric_that_never_moves_is_one_answer_to_everything() -> None:
    found = seen(changed(score(0.119)))
    assert found[NOTHING].evidence.endswith("it never moves, as when one answer is given to everything")
    assert EARLY not in found, "it does not sink either"


def test_the_majority_predictors_score_is_nothing_learned() -> None:
    truth = ["loud"] * 60 + ["soft"] * 30 + ["none"] * 10
    reported = classification_report(truth, ["loud"] * 100, output_dict=True, zero_division=0.0)
    report = {name: row for name, row in reported.items() if isinstance(row, dict)}
    floor = reported["macro avg"]["f1-score"]
    assert majority(report, "macro_f1") == pytest.approx(floor)
    assert majority(report, "weighted_f1") == pytest.approx(reported["weighted avg"]["f1-score"])
    assert majority(report, "accuracy") == pytest.approx(reported["accuracy"])
    assert majority(report, "balanced_accuracy") == pytest.approx(reported["macro avg"]["recall"])
    assert majority(report, "latency_mae_ms") is None and majority(None, "macro_f1") is None

    def stuck(value: float) -> list[Epoch]:
        return [replace(e, **score(value - 0.01 * (e.number < 9))(e), report=report) for e in healthy()]

    assert "always the most frequent class gives 0.25" in seen(stuck(floor))[NOTHING].evidence
    assert NOTHING not in seen(stuck(floor + 0.05))


def test_a_metric_that_is_an_error_is_not_asked_to_rise() -> None:
    assert NOTHING not in seen(changed(score(0.0)), metric=Metric("macro_f1", "minimize"))


# ---- "AU-F1 0.0000", beside an emotion F1 that rises

NEAR_0 = "a score is near 0"


def beside(value: Callable[[int], float], name: str = "class_f1", train: float | None = None) -> list[Epoch]:
    """A healthy training with another score, a function of the epoch; its metric is best in the last epoch."""

    def change(e: Epoch) -> Mapping[str, Any]:
        learned = value(e.number) if train is None else train
        return {"validation": {**e.validation, name: value(e.number)}, "train": {**e.train, name: learned}}

    return changed(change)


def test_a_score_beside_the_metric_that_stays_at_zero_is_seen() -> None:
    found = seen(beside(lambda _: 0.0), params=PARAMS | {"loss.unit_weights": "none", "loss.class_weights": "odds"})
    assert set(found) == {NEAR_0}
    assert found[NEAR_0].evidence == "in epoch 20, which is kept: class_f1 0, 0 in training (not learned)"
    labels = "look first at whether missing labels are read as negative"
    weights = "raise loss.class_weight (now 0.5), set loss.unit_weights (now none)"
    assert found[NEAR_0].remedy == f"{labels}; then {weights}", "loss.class_weights is set"


def test_a_score_that_training_rows_have_is_told_from_one_that_is_not_learned() -> None:
    found = seen(beside(lambda _: 0.04, train=0.6))[NEAR_0]
    assert found.evidence.endswith("class_f1 0.04, 0.6 in training (learned, but not for new rows)")


def test_a_score_that_no_parameter_is_named_after_leads_to_the_weights_of_all_terms() -> None:
    weights = "loss.signal_weight (now 2), loss.class_weight (now 0.5)"
    nearest = f"raise the weight of the loss term that comes nearest to it, of {weights}"
    assert seen(beside(lambda _: 0.0, "surface_dice@2"))[NEAR_0].remedy == nearest
    labels = "look first at whether missing labels are read as negative"
    assert seen(beside(lambda _: 0.0, "mean_f1"))[NEAR_0].remedy == f"{labels}; then {nearest}"
    single = {name: value for name, value in PARAMS.items() if name != "loss.signal_weight"}
    assert seen(beside(lambda _: 0.0, "mean_f1"), params=single)[NEAR_0].remedy == labels
    nothing = seen(beside(lambda _: 0.0, "surface_dice@2"), params=single)[NEAR_0].remedy
    assert nothing == "no parameter of the study is known to bear on it"


def test_a_score_counts_in_the_kept_epoch_only() -> None:
    """One that begins at 0 is healthy; one that was high in an epoch that is not kept is not."""
    assert not seen(beside(lambda n: 0.0 if n < 8 else 0.3))
    found = seen(beside(lambda n: 0.3 if n == 4 else -0.1, "signal_correlation"))[NEAR_0]
    expected = "in epoch 20, which is kept: signal_correlation -0.1, -0.1 in training (not learned), and 0.3 in epoch 4"
    assert found.evidence == expected
    assert found.remedy == "raise loss.signal_weight (now 2)", "no labels of classes"


@pytest.mark.parametrize("name", ["class_mae", "class_f1.loud", "odd", "loss.class"])
def test_only_headline_scores_that_should_rise_are_asked_to(name: str) -> None:
    assert NEAR_0 not in seen(beside(lambda _: 0.0, name))


def test_a_dot_in_the_name_of_a_score_of_its_own_hides_it_from_nobody() -> None:
    """Only a family that the objective declares, such as `f1.*`, is left to the report of its classes."""
    found = seen(beside(lambda _: 0.0, "segment_f1@0.3"), direction_of={"segment_f1@0.3": "maximize"}.get)
    assert found[NEAR_0].evidence.startswith("in epoch 20, which is kept: segment_f1@0.3 0,")


def test_neither_a_missing_score_nor_a_short_training_is_near_zero() -> None:
    assert NEAR_0 not in seen(beside(lambda _: float("nan")))
    assert NEAR_0 not in seen(beside(lambda _: 0.0)[:5])
    assert NEAR_0 not in seen(beside(lambda _: 0.0), params=PARAMS | {"stopping.min_epochs": 30}, budget=40)


# ---- "Classification loss decreasing"

LEVEL = "a loss term does not fall"


def test_a_term_that_stays_level_is_named_with_its_weight() -> None:
    found = seen(changed(lambda e: {"train": {**e.train, "loss.class": 1.4}}))[LEVEL]
    assert found.evidence == "training loss of class 1.4 in epoch 1, 1.4 at the end"
    assert found.remedy.startswith("raise loss.class_weight (now 0.5)")
    both = seen(changed(lambda e: {"train": {**e.train, "loss.class": 1.4, "loss.signal": 1.2}}))[LEVEL]
    assert both.remedy == "change optimizer.lr (now 0.0001)", "weights divide what the rate drives"


def test_a_term_of_a_curriculum_counts_from_its_start() -> None:
    late = changed(
        lambda e: {
            "weights": {"signal": 1.0, "class": 0.0 if e.number <= 10 else 1.0},
            "train": {**e.train, "loss.class": 1.4 if e.number <= 10 else 1.4 - 0.05 * (e.number - 10)},
        }
    )
    assert LEVEL not in seen(late)
    assert LEVEL not in seen([e for e in late if e.number <= 12], budget=12)


# ---- "AU loss 1000x smaller than emotion loss"

DOMINATES = "one weighted loss term dominates"


def weighing(weight: float, share: float = 1.0) -> list[Epoch]:
    """The weight of `signal` in the first share of the epochs; both terms are equal otherwise."""
    equal = {"loss.signal": 1.0, "loss.class": 1.0}

    def change(e: Epoch) -> Mapping[str, Any]:
        heavy = weight if e.number <= 20 * share else 1.0
        return {"train": {**e.train, **equal}, "weights": {"signal": heavy, "class": 1.0}}

    return changed(change)


def test_a_weighted_term_over_ten_times_another_dominates() -> None:
    found = seen(weighing(23.0))[DOMINATES]
    assert found.evidence == "signal is 23 times class (median; over 10 in 20 of 20 epochs)"
    assert found.remedy == "lower loss.signal_weight (now 2), raise loss.class_weight (now 0.5)"
    assert seen(weighing(0.02))[DOMINATES].evidence.startswith("class is 50 times signal")


def test_a_few_epochs_do_not_make_a_term_dominate() -> None:
    assert DOMINATES not in seen(weighing(9.0))
    assert DOMINATES not in seen(weighing(23.0, share=0.5))
    assert DOMINATES in seen(weighing(23.0, share=0.75))


# ---- "High loss variance within epochs"

NOISY = "losses vary widely within epochs"


@pytest.mark.parametrize(("sd", "there"), [(0.9, True), (0.2, False)])
def test_batches_that_differ_by_more_than_half_their_mean_are_noise(sd: float, there: bool) -> None:
    epochs = changed(lambda e: {"spread": {"class": {"sd": sd * e.train["loss.class"], "min": 0.0, "max": 9.0}}})
    found = seen(epochs)
    assert (NOISY in found) is there
    if there:
        assert found[NOISY].evidence.endswith("class 90%")
        assert found[NOISY].remedy.startswith("raise data.batch_size (now 64)")


# ---- "train 96 % / validation 52 %"

OVERFITS = "overfitting"


@pytest.mark.parametrize(("train", "validation", "there"), [(0.96, 0.52, True), (0.7, 0.6, False), (0.4, 0.7, False)])
def test_a_gap_of_the_metric_is_overfitting(train: float, validation: float, there: bool) -> None:
    found = seen(changed(lambda e: {"train": {**e.train, "macro_f1": train}, "validation": {"macro_f1": validation}}))
    assert (OVERFITS in found) is there
    if there:
        assert "macro_f1 0.96 in training, 0.52 on validation" in found[OVERFITS].evidence


def test_a_validation_loss_that_rises_again_is_overfitting() -> None:
    epochs = changed(lambda e: {"validation": {**e.validation, "loss.class": 1 + 0.04 * abs(e.number - 8)}})
    assert seen(epochs)[OVERFITS].evidence == "validation loss of class 1 in epoch 8, 1.48 at the end"
    rising = changed(lambda e: {part: {"loss.class": 0.9 + 0.1 * e.number} for part in ("train", "validation")})
    assert OVERFITS not in seen(rising), "training rises too: that is no overfitting"


def test_fast_validations_are_not_compared() -> None:
    epochs = [
        replace(e, full=e.number % 5 == 0, validation=e.validation if e.number % 5 == 0 else {"loss.class": 0.01})
        for e in healthy(30)
    ]
    assert seen(epochs) == {}


# ---- "6 of 9 folds stopped at epoch 1"

EARLY = "stopped at the first epochs"


def test_a_training_that_ends_at_once_is_seen_unless_a_pruner_ended_it() -> None:
    found = seen(healthy(6), budget=40)[EARLY]
    assert found.evidence == "the best of 6 epochs is epoch 6, of a budget of 40"
    assert "raise stopping.patience (now 10)" in found.remedy
    assert EARLY not in seen(healthy(6), budget=40, cut=True)
    assert EARLY not in seen(healthy(12), budget=40)


def test_a_metric_that_is_best_in_the_first_epoch_is_seen() -> None:
    sinking = changed(lambda e: {"validation": {**e.validation, "macro_f1": 0.5 - 0.01 * e.number}})
    assert seen(sinking)[EARLY].evidence == "the best of 20 epochs is epoch 1, of a budget of 20"
    rarely = [replace(epoch, full=epoch.number % 5 == 0) for epoch in sinking]
    assert seen(rarely)[EARLY].evidence == "the best of 20 epochs is epoch 5, of a budget of 20"


# ---- "Stable gradient norms"

UNSTABLE = "the gradient norm is unstable"


@pytest.mark.parametrize(
    ("norm", "evidence"),
    [
        (lambda n: 25.0 if n == 9 else 1.0, "norm 25 in epoch 9, median 1"),
        (lambda n: 1.2**n, "norm 1.901 at first, 29.29 at the end"),
        (lambda n: 50.0 if n == 1 else 1.0, None),
        (lambda n: 2.0 / n, None),
    ],
    ids=["a jump", "growth", "only the first epoch", "it falls"],
)
def test_a_gradient_that_jumps_or_grows_is_unstable(norm: Callable[[int], float], evidence: str | None) -> None:
    found = seen(changed(lambda e: {"gradient_norm": norm(e.number)}))
    assert (found[UNSTABLE].evidence if UNSTABLE in found else None) == evidence
    if evidence:
        assert found[UNSTABLE].remedy.startswith(
            "lower optimizer.lr (now 0.0001), lower optimizer.gradient_clip (now 1)"
        )


# ---- the study's range


def test_best_trials_at_the_end_of_the_range_ask_for_a_wider_one() -> None:
    rates = [1e-2, 9e-3, 8e-3, 1e-4, 1e-5, 3e-5, 2e-4]  # from the best to the worst
    trials = [replace(made_up.trial(n, made_up.params(lr, 0.1), 5), value=1.0 - 0.1 * n) for n, lr in enumerate(rates)]
    metric, space = Metric("f1.macro", "maximize"), {"optimizer.lr": FloatDistribution(1e-5, 1e-2, log=True)}
    searched = ranges(space | {"loss.weighting": CategoricalDistribution(["a"])})
    assert searched == {"optimizer.lr": Range(low=1e-5, high=1e-2, log=True)}
    (found,) = of_study(trials, metric, searched)
    assert found.name == "optimizer.lr lies at the upper end of its range"
    assert found.evidence == "3 of the best 3 trials lie in the last 10% of 1e-5 to 0.01: 0.01, 0.009, 0.008"
    wide = Range(low=1e-6, high=1.0, log=True)
    assert at_the_edge(trials, metric, "optimizer.lr", wide) is None
    assert at_the_edge(trials[:5], metric, "optimizer.lr", searched["optimizer.lr"]) is None, "too few to say"
    lower = [replace(t, value=-(t.value or 0)) for t in trials]
    middle = at_the_edge(lower, metric, "optimizer.lr", Range(low=1e-5, high=1e-2, log=True))
    assert middle is None, "the best of these are 2e-4, 3e-5 and 1e-5"


def test_ranges_of_whole_numbers_have_a_place_too() -> None:
    searched = ranges({"stopping.patience": IntDistribution(5, 25)})["stopping.patience"]
    assert [searched.place(value) for value in (5, 15, 25)] == [0.0, 0.5, 1.0]


# ---- the classification report


def test_the_report_of_both_stands_side_by_side_with_the_difference() -> None:
    draw = np.random.default_rng(0)
    truth = draw.integers(0, 3, 200)
    said = [np.where(draw.random(200) < share, truth, 0) for share in (0.3, 0.9)]
    reports = [
        classification_report(truth, s, target_names=["a", "b", "c"], output_dict=True, zero_division=0.0) for s in said
    ]
    before, after = (replace(epoch(1), report={n: r for n, r in each.items() if n != "accuracy"}) for each in reports)
    heads, rows = side_by_side(before, after)
    assert heads == (
        *("class", "support", "precision, baseline", "best", "recall, baseline", "best", "f1-score, baseline", "best"),
        "difference",
    )
    assert [row[0] for row in rows] == ["a", "b", "c", "macro avg", "weighted avg"]
    b = [reports[k]["b"][column] for column in ("precision", "recall", "f1-score") for k in (0, 1)]
    written = [f"{value:.3f}" for value in b] + [f"{b[5] - b[4]:+.3f}"]
    assert rows[1] == ("b", str(int((truth == 1).sum())), *written)
    alone, few = side_by_side(None, after)
    assert alone == ("class", "support", "precision", "recall", "f1-score") and len(few) == 5
    assert side_by_side(None, epoch(1)) == ((), [])
