"""Figures say what the records say, in labels that nobody's text can act through."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import plotly.graph_objects as go
import pytest

from hpo import figure_style, figures, parameter_figures, training_figures
from hpo.evidence import fold_pairs
from hpo.objective import Metric
from tests import made_up
from tests.made_up import HOSTILE

F1 = Metric("f1.macro", "maximize")


def named(figure: go.Figure, name: str) -> Any:
    (trace,) = (t for t in figure.data if t.name == name)
    return trace


def test_history_keeps_pruned_failed_and_configurations_apart() -> None:
    figure = figures.history(made_up.trials(), F1)
    assert len(named(figure, "complete").x) == 8, "of ten, two are configurations: stars"
    assert list(named(figure, "ended without a value").x) == [5, 11]
    assert list(named(figure, "configuration").text) == ["before", "guess"]
    assert not set(named(figure, "pruned").x) & set(named(figure, "complete").x)


def test_history_has_no_place_for_what_there_is_not() -> None:
    """All trials have values, every complete one is a configuration, and others wait."""
    trials = [replace(t, configuration=f"c{t.number}") for t in made_up.trials() if t.value is not None][:3]
    waiting = [replace(trials[0], number=n, state="WAITING", value=None, epochs=()) for n in (20, 21)]
    figure = figures.history([*trials, *waiting], F1)
    assert {t.name for t in figure.data} == {"best so far", "configuration"}
    assert max(x for t in figure.data for x in t.x) == trials[-1].number
    assert "yaxis2" not in figure.layout, "no strip for trials without a value"


@pytest.mark.parametrize(("direction", "pick"), [("maximize", max), ("minimize", min)])
def test_best_so_far_counts_complete_trials_only(direction: Any, pick: Any) -> None:
    trials = made_up.trials()
    trials.append(replace(trials[0], number=20, state="PRUNED", end="pruned", value=pick([-9.0, 9.0])))
    line = named(figures.history(trials, Metric("f1.macro", direction)), "best so far").y
    values = [t.value for t in trials if t.state == "COMPLETE" and t.value is not None]
    assert list(line) == [pick(values[: i + 1]) for i in range(len(values))] + [pick(values)]


def test_a_trial_pruned_before_min_epochs_shows_the_best_of_its_epochs() -> None:
    values = made_up.params(1e-5, 0.1)
    pruned = made_up.trial(0, values, 2, state="PRUNED", end="pruned", value=None)
    assert list(named(figures.history([pruned], F1), "pruned").y) == [pruned.epochs[1].validation["f1.macro"]]


@pytest.mark.parametrize(
    ("values", "log"),
    [
        ([1e-4, 1e-2], True),
        ([0.1, 0.9], False),
        ([0.0, 100.0], False),
        ([-1, 1000], False),
        ([], False),
        (["a"], False),
    ],
)
def test_two_decades_make_an_axis_logarithmic(values: list[Any], log: bool) -> None:
    assert figure_style.wants_log(values) is log


@pytest.mark.parametrize(
    ("values", "axis"),
    [
        ([0.5, 0.6], {"type": "linear"}),
        # "~g" of d3-format: 0.5 and 0.05, where plotly by itself says 5 and 5.
        ([0.04, 8.0], {"type": "log", "dtick": "D2", "tickformat": "~g"}),
        ([1e-4, 1.0], {"type": "log", "dtick": 1}),
        ([1e-9, 1.0], {"type": "log", "dtick": 2}),
    ],
)
def test_ticks_of_a_logarithmic_axis_are_whole_numbers(values: list[float], axis: dict[str, Any]) -> None:
    assert figure_style.value_axis(values) == axis


def test_curves_of_a_large_study_show_the_best_fifty_and_the_configurations() -> None:
    trials = made_up.trials(300)
    shown = figures.shown_in_curves(trials, F1)
    hidden = [t.value for t in trials if t.state == "COMPLETE" and t not in shown and t.value is not None]
    plain = [t for t in shown if t.configuration is None]
    assert {0, 1} <= {t.number for t in shown}
    assert 48 <= len(plain) <= 50
    assert min(t.value or 0 for t in plain) >= max(hidden)
    assert len(figures.shown_in_curves(made_up.trials(), F1)) == 19  # one of 20 has no epoch


def test_losses_draw_training_dashed_and_validation_solid_for_both() -> None:
    figure = training_figures.losses(made_up.trials(), F1)
    lines = [t for t in figure.data if t.name == "pain"]
    assert [t.line.dash for t in lines] == ["dash", "solid"] * 2
    assert [t.showlegend for t in lines] == [False, True, False, False]
    assert figure.layout.yaxis.type == "log"


def test_scatters_have_one_panel_per_searched_parameter_with_its_own_scale() -> None:
    figure = parameter_figures.scatters(made_up.trials(), F1)
    axes = [figure.layout[name] for name in ("xaxis", "xaxis2", "xaxis3", "xaxis4")]
    titles = [axis.title.text for axis in axes]
    assert titles == ["optimizer.lr", "model.dropout", "loss.focal_gamma", "schedule.name"]
    assert [axis.type for axis in axes] == ["log", "linear", "linear", "category"]


def test_a_parameter_of_one_value_is_left_out_and_named() -> None:
    trials = [replace(t, params=dict(t.params) | {"model.dropout": 0.1}) for t in made_up.trials()]
    assert parameter_figures.constants(trials, F1) == {"model.dropout": 0.1}
    assert parameter_figures.constants(made_up.trials(), F1) == {}
    titles = [axis.title.text for axis in parameter_figures.scatters(trials, F1).select_xaxes()]
    assert titles == ["optimizer.lr", "loss.focal_gamma", "schedule.name"]
    names = parameter_figures.parallel(trials, F1).layout.xaxis.ticktext
    broken = ["optimizer.<br>lr (log)", "loss.<br>focal_gamma", "schedule.<br>name", "f1.<br>macro"]
    assert list(names) == broken, "a line for the group"


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.000878, "8.8e-4"), (1e-5, "1e-5"), (0.09613, "0.0961"), (0.0, "0"), (-0.5, "-0.5"), (64, "64")],
)
def test_texts_of_close_axes_are_brief(value: float, text: str) -> None:
    assert parameter_figures._brief(value) == text


def test_small_rates_have_short_level_numbers() -> None:
    rates = {0: 1e-5, 1: 2e-5, 2: 4e-5}
    trials = [replace(t, params=dict(t.params) | {"optimizer.lr": rates[t.number]}) for t in made_up.trials()[:3]]
    axis = parameter_figures.scatters(trials, F1).layout.xaxis
    assert (axis.type, axis.tickformat, axis.tickangle) == ("linear", "~g", 0)


def test_a_best_trial_that_is_the_baseline_is_one_mark() -> None:
    trials = made_up.trials()
    best = max((t for t in trials if t.state == "COMPLETE"), key=lambda t: t.value or 0)
    swapped = [replace(t, configuration="before" if t is best else None) for t in trials]
    figure = parameter_figures.scatters(swapped, F1)
    assert {t.name for t in figure.data} == {"pruned", "complete", "best = baseline"}
    shown = [t.name for t in parameter_figures.parallel(swapped, F1).data if t.showlegend]
    assert shown == [f"best = baseline: trial {best.number} “before”"]


def test_parallel_places_every_value_between_the_ends_of_its_axis() -> None:
    figure = parameter_figures.parallel(made_up.trials(), F1)
    lines = [t for t in figure.data if t.mode == "lines"]
    places = [y for line in lines for y in line.y if y is not None]
    assert min(places) == 0 and max(places) == 1
    assert next(t.name for t in lines if t.showlegend).startswith("baseline")
    assert lines[-1].name.startswith("best") and lines[-1].y[-1] == 1


@pytest.mark.parametrize(
    ("count", "rows"), [(1, [1]), (5, [5]), (6, [3, 3]), (12, [4, 4, 4]), (27, [5, 4, 5, 4, 5, 4])]
)
def test_many_parameters_stand_in_rows_that_end_with_the_value(count: int, rows: list[int]) -> None:
    names = [f"augment.strength{i:02}" for i in range(count)]
    drawn = [dict.fromkeys(names, 0.1 * t.number) for t in made_up.trials()]
    trials = [replace(t, params=p, searched=p) for t, p in zip(made_up.trials(), drawn, strict=True)]
    figure = parameter_figures.parallel(trials, F1)
    axes = [[text.replace("<br>", "") for text in axis.ticktext] for axis in figure.select_xaxes()]
    assert [len(row) - 1 for row in axes] == rows
    assert [name for row in axes for name in row[:-1]] == names and {row[-1] for row in axes} == {"f1.macro"}
    lines = [t for t in figure.data if t.mode == "lines" and t.name.startswith("best")]
    assert [t.showlegend for t in lines] == [True] + [False] * (len(rows) - 1), "one entry, which hides all of them"
    assert {t.legendgroup for t in lines} == {"best"}


def test_folds_without_a_baseline_have_no_marks_for_it() -> None:
    trials = made_up.trials()
    jobs = [j for j in made_up.jobs(6, trials[6].params, trials[0].params) if j.role == "best"]
    figure = figures.folds(fold_pairs(jobs, 6, "f1.macro"), F1)
    assert [t.name for t in figure.data if t.mode == "markers"] == ["best"]


def test_folds_join_what_was_trained_on_the_same_fold() -> None:
    trials = made_up.trials()
    pairs = fold_pairs(made_up.jobs(6, trials[6].params, trials[0].params), 6, "f1.macro")
    figure = figures.folds(pairs, F1)
    assert list(named(figure, "best").x) == [f"fold {i}" for i in range(made_up.FOLDS)]
    assert all(b > a for a, b in zip(named(figure, "baseline").y, named(figure, "best").y, strict=True))


@pytest.mark.parametrize(
    "build", [figures.history, figures.curves, training_figures.losses, parameter_figures.scatters]
)
def test_nothing_to_draw_is_an_empty_figure(build: Any) -> None:
    assert not [p for t in build([], F1).data for p in (t.x or ()) if p is not None]


@pytest.mark.parametrize("text", HOSTILE)
def test_labels_hold_no_markup_and_no_template(text: str) -> None:
    shown = figure_style.label(text, 200)
    assert not set("<>{") & set(shown)


def test_labels_are_cut_and_on_one_line() -> None:
    assert figure_style.label("a\nb" + "c" * 100, 10) == "a bcccccc…"
