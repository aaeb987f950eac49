"""How baseline and best trained, in figures: the numbers of hand-made epochs are where a reader expects them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import plotly.graph_objects as go
import pytest

from hpo import figure_style, figures, training_figures
from hpo.objective import Direction, Epoch, Metric, Vocabulary
from hpo.records import TrialRecord
from tests import made_up
from tests.test_diagnosis import epoch

F1 = Metric("macro_f1", "maximize")


def trials(epochs: Sequence[Epoch], best: Sequence[Epoch] | None = None) -> list[TrialRecord]:
    """A baseline with these epochs, and the best trial."""
    values = made_up.params(1e-3, 0.1)
    baseline = made_up.trial(0, values, 3, configuration="before", value=0.2, epochs=tuple(epochs))
    return [baseline, replace(baseline, number=1, configuration=None, value=0.9, epochs=tuple(best or epochs))]


def points(figure: go.Figure, name: str, mode: str = "lines+markers", axis: str | None = None) -> list[dict[Any, Any]]:
    """x -> y of every trace of that name."""
    found = [t for t in figure.data if t.name == name and t.mode == mode and (axis is None or t.yaxis == axis)]
    return [dict(zip(t.x, t.y, strict=True)) for t in found if t.x != (None,)]


def by_hand(number: int, signal: float, weight: float, **changes: Any) -> Epoch:
    """Two terms, of which `class` is 1 and `signal` is given."""
    values = {"loss": 1 + signal, "loss.signal": signal, "loss.class": 1.0}
    spread = {"signal": {"sd": 0.5, "min": signal - 0.2, "max": signal + 2}}
    facts: dict[str, Any] = {"train": values, "validation": values, "weights": {"signal": weight, "class": 2.0}}
    return replace(epoch(number), **facts | {"spread": spread} | changes)


def test_the_band_is_one_deviation_within_smallest_and_largest() -> None:
    figure = training_figures.losses(trials([by_hand(1, 4.0, 1.0), by_hand(2, 3.0, 1.0)]), F1)
    bands = [t for t in figure.data if t.name == "signal, spread of the batches"]
    assert len(bands) == 2, "baseline and best"
    assert list(bands[0].x) == [1, 2, 2, 1]
    assert list(bands[0].y) == pytest.approx([3.8, 2.8, 3.5, 4.5])
    assert not [t for t in figure.data if t.name == "class, spread of the batches"], "none was recorded"
    training, validation = points(figure, "signal")[:2]
    assert training == validation == {1: 4.0, 2: 3.0}


def test_small_terms_get_a_logarithmic_axis_that_no_band_stretches() -> None:
    wide = {"signal": {"sd": 0.05, "min": 1e-9, "max": 0.2}}
    epochs = [by_hand(n, 0.05, 1.0, spread=wide) for n in (1, 2)]
    figure = training_figures.losses(trials(epochs), F1)
    assert figure.layout.yaxis.type == "log"
    low, high = (10**end for end in figure.layout.yaxis.range)
    assert 0.02 < low < 0.05 and 1.05 < high < 2
    assert training_figures.losses(trials([by_hand(1, 0.9, 1.0)]), F1).layout.yaxis.type == "linear"


def test_rings_do_not_stretch_the_axis_of_the_lines() -> None:
    tiny = {"loss": 1.0, "loss.signal": 1e-7, "loss.class": 1.0}
    epochs = [by_hand(1, 0.05, 1.0), by_hand(2, 0.05, 1.0, validation=tiny, full=False)]
    figure = training_figures.losses(trials(epochs), F1)
    assert 0.02 < 10 ** figure.layout.yaxis.range[0] < 0.05
    assert points(figure, "signal, on a part of the rows", "markers")[0] == {2: 1e-7}


def test_fast_validations_are_rings_and_no_part_of_a_line() -> None:
    epochs = [by_hand(n, 5.0 - n, 1.0, full=n % 2 == 0) for n in range(1, 5)]
    shown = trials(epochs)
    figure = training_figures.losses(shown, F1)
    training, validation = points(figure, "signal")[:2]
    assert list(training) == [1, 2, 3, 4]
    assert validation == {2: 3.0, 4: 1.0}
    assert points(figure, "signal, on a part of the rows", "markers")[0] == {1: 4.0, 3: 2.0}
    assert "on a part of the validation rows" in [t.name for t in figure.data if t.showlegend is None]
    curves = figures.curves([replace(t, epochs=tuple(scored(epochs))) for t in shown], F1)
    lines = [t for t in curves.data if t.mode == "lines+markers"]
    assert [list(t.x) for t in lines] == [[2, 4], [2, 4]]


def with_references(epochs: Sequence[Epoch], **losses: float) -> list[Epoch]:
    given = {name: {"loss": loss, "loss.class": 7.0} for name, loss in losses.items()}
    return [replace(e, references=given if e.number == 1 else {}) for e in epochs]


def nothing(figure: go.Figure) -> list[Any]:
    return [t for t in figure.data if str(t.name).endswith(" (nothing learned)")]


def test_what_has_learned_nothing_is_a_line_that_the_legend_names_once() -> None:
    """In each panel its own: weights of the loss differ between baseline and best."""
    epochs = [by_hand(n, 5.0 - n, 1.0) for n in (1, 2, 3)]
    best = with_references(epochs, majority=2.0, constant=1.9)
    figure = training_figures.losses(trials(with_references(epochs, majority=4.1, constant=4.2), best), F1)
    found = {(t.name.split()[0], t.xaxis): (list(t.x), list(t.y), t.showlegend) for t in nothing(figure)}
    assert found == {
        ("majority", "x"): ([0, 3], [4.1, 4.1], True),
        ("constant", "x"): ([0, 3], [4.2, 4.2], True),
        ("constant", "x2"): ([0, 3], [1.9, 1.9], False),
        ("majority", "x2"): ([0, 3], [2.0, 2.0], False),
    }
    assert {(t.name.split()[0], t.line.dash) for t in nothing(figure)} == {("majority", "dot"), ("constant", "dashdot")}
    assert {t.mode for t in nothing(figure)} == {"lines"}, "no text lies on the curves"


def test_a_line_of_nothing_learned_does_not_press_the_others_together() -> None:
    epochs = [by_hand(n, 4.0, 1.0) for n in (1, 2)]  # the highest value is 5
    figure = training_figures.losses(trials(with_references(epochs, near=7.5, far=7.6)), F1)
    assert {t.name.split()[0] for t in nothing(figure)} == {"near"}
    only = training_figures.losses(trials(with_references(epochs, far=7.6), with_references(epochs, far=7.5)), F1)
    assert [(t.xaxis, t.showlegend) for t in nothing(only)] == [("x2", True)]
    small = [by_hand(n, 0.05, 1.0) for n in (1, 2)]  # a logarithmic axis, up to 1.05
    figure = training_figures.losses(trials(with_references(small, near=1.5)), F1)
    assert figure.layout.yaxis.type == "log" and 1.5 < 10 ** figure.layout.yaxis.range[1] < 4


def scored(epochs: Sequence[Epoch]) -> list[Epoch]:
    return [replace(e, validation={**e.validation, "macro_f1": 0.5, "f1.rare": 0.1, "f1.often": 0.9}) for e in epochs]


def test_ratios_are_of_the_weighted_terms_on_a_logarithmic_axis() -> None:
    epochs = [by_hand(1, 4.0, 0.0), by_hand(2, 4.0, 1.0), by_hand(3, 3.0, 40.0)]
    figure = training_figures.balance(trials(epochs), F1)
    assert points(figure, "signal/class")[0] == {1: None, 2: pytest.approx(2.0), 3: pytest.approx(60.0)}
    assert figure.layout.yaxis.type == "log"
    assert sorted({shape.y0 for shape in figure.layout.shapes}) == [0.1, 1, 10]
    weights = training_figures.weights(trials(epochs), F1)
    assert points(weights, "signal")[0] == {1: 0.0, 2: 1.0, 3: 40.0}
    assert points(weights, "class")[1] == {1: 2.0, 2: 2.0, 3: 2.0}


def test_gradients_of_terms_are_drawn_where_they_were_recorded() -> None:
    without = [by_hand(n, 1.0, 1.0, gradient_norm=n / 2) for n in (1, 2)]
    recorded = [replace(e, gradient_norms={"signal": 0.3, "class": 0.1}) for e in without]
    figure = training_figures.gradients(trials(without, recorded), F1)
    assert points(figure, "whole gradient") == [{1: 0.5, 2: 1.0}] * 2
    assert points(figure, "signal") == [{1: None, 2: None}, {1: 0.3, 2: 0.3}]


def test_a_family_of_scores_has_a_line_per_class() -> None:
    def better(name: str) -> Direction | None:
        known: Mapping[str, Direction] = {"f1": "maximize", "error": "minimize"}
        return known.get(name.partition(".")[0])

    epochs = scored([by_hand(1, 1.0, 1.0), by_hand(2, 1.0, 1.0, full=False), by_hand(3, 1.0, 1.0)])
    others = {"error.rare": 0.2, "error.often": 0.1, "odd.a": 1.0, "odd.b": 1.0, "f1.macro": 0.5}
    shown = trials([replace(e, validation={**e.validation, **others}) for e in epochs])
    found = training_figures.families(shown, Metric("f1.macro", "maximize"), better)
    assert found == {"f1": ["f1.rare", "f1.often"]}
    figure = training_figures.per_class(shown, F1, "f1", found["f1"])
    assert points(figure, "rare") == [{1: 0.1, 3: 0.1}] * 2
    assert points(figure, "macro_f1 (metric)")[0] == {1: 0.5, 3: 0.5}


def test_a_dot_in_a_name_makes_no_family() -> None:
    """Those that the objective declares do, also where names of the family or of its classes hold dots."""
    names = Vocabulary()
    names.name, names.terms = "clips", ()
    names.scores = dict.fromkeys(("segment_f1@0.1", "segment_f1@0.3", "f1.*", "f1@0.3.*"), "maximize")

    def direction_of(name: str) -> Direction | None:
        try:
            return names.metric(name).direction
        except KeyError:
            return None

    scores = {"segment_f1@0.1": 0.3, "segment_f1@0.3": 0.2}
    scores |= {"f1.0.5 s": 0.4, "f1.walk": 0.5, "f1@0.3.0.5 s": 0.1, "f1@0.3.walk": 0.2}
    shown = trials([by_hand(1, 1.0, 1.0, validation=scores)])
    found = training_figures.families(shown, F1, direction_of)
    assert found == {"f1": ["f1.0.5 s", "f1.walk"], "f1@0.3": ["f1@0.3.0.5 s", "f1@0.3.walk"]}
    figure = training_figures.per_class(shown, F1, "f1@0.3", found["f1@0.3"])
    assert points(figure, "0.5 s") == [{1: 0.1}] * 2
    assert figure.layout.yaxis.title.text == "f1@0.3, validation"


def test_more_terms_than_colours_differ_by_their_dash() -> None:
    count = 2 * len(figure_style.TERMS)
    looks = {(figure_style.term_colour(i), figure_style.dash_of(i)) for i in range(count)}
    assert len(looks) == count
    assert figure_style.faded("#E69F00") == "rgba(230,159,0,0.16)"


def test_one_epoch_is_a_visible_point() -> None:
    figure = training_figures.losses(trials([by_hand(1, 1.0, 1.0)]), F1)
    assert next(t for t in figure.data if t.name == "signal").marker.size >= 5


def test_the_baseline_alone_has_one_panel() -> None:
    only = trials([by_hand(1, 1.0, 1.0)])[:1]
    assert [title for title, _ in training_figures.panels(only, F1)] == ["epoch of the best,<br>trial 0 “before”"]
    assert training_figures.panels([], F1) == []
