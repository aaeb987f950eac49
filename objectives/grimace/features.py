"""Each scored feature of a face: predicted against true, with how well the order and how well the values fit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from objectives.confusion_figure import Columns, Shown, short
from objectives.picture_panels import plain
from objectives.problems import some

#: Features with a panel, and panels beside each other.
PANELS, ACROSS = 12, 3
#: Of Okabe and Ito: clips, and the line on which prediction and truth agree.
POINT, AGREE = "#0072B2", "rgba(128,128,128,0.75)"


def features(predictions: Columns, names: Sequence[str]) -> Shown | None:
    """A panel per feature that is scored somewhere; None where none is.

    Args:
        predictions: as `objectives.grimace.figures.figures` takes them.
        names: of the features.
    """
    pairs = dict(_scored(predictions, names))
    if not pairs:
        return None
    fits = {name: fit(*pair) for name, pair in pairs.items()}
    shown = list(pairs)[:PANELS]
    across = min(ACROSS, len(shown))
    titles = [f"{short(name)} ({len(pairs[name][0])})<br>{in_words(*fits[name])}" for name in shown]
    down = -(-len(shown) // across)
    figure = make_subplots(rows=down, cols=across, subplot_titles=titles, vertical_spacing=0.3 / down)
    for place, name in enumerate(shown):
        cell = {"row": place // across + 1, "col": place % across + 1}
        truth, said = pairs[name]
        figure.add_trace(
            go.Scatter(
                x=truth,
                y=said,
                mode="markers",
                marker={"size": 5, "opacity": 0.6, "color": POINT},
                showlegend=False,
                hovertemplate=f"{plain(name)}: true %{{x:.3g}}, predicted %{{y:.3g}}<extra></extra>",
            ),
            **cell,
        )
        ends = [float(min(truth.min(), said.min())), float(max(truth.max(), said.max()))]
        line = {"color": AGREE, "width": 1.5, "dash": "dash"}
        figure.add_shape(type="line", x0=ends[0], y0=ends[0], x1=ends[1], y1=ends[1], line=line, **cell)
    figure.update_xaxes(title_text="true", row=down)
    figure.update_yaxes(title_text="predicted", col=1)
    figure.update_annotations(font_size=12)
    height = 110 + 220 * down
    return "Features: predicted and true", _caption(fits, names, shown), figure.update_layout(height=height)


def _scored(predictions: Columns, names: Sequence[str]) -> Iterator[tuple[str, tuple[np.ndarray, np.ndarray]]]:
    """Truth and prediction of each feature that is scored somewhere, where it is."""
    for name in names:
        if f"feature.{name}" in predictions:
            truth, said = predictions[f"feature.{name}"], predictions[f"prediction.{name}"]
            if (known := np.isfinite(truth)).any():
                yield name, (truth[known], said[known])


def fit(truth: np.ndarray, said: np.ndarray) -> tuple[float, float]:
    """Pearson's r and R²; NaN where the truth does not vary, r also where the prediction does not."""
    if not np.ptp(truth):
        return np.nan, np.nan
    truth, said = truth.astype(np.float64), said.astype(np.float64)
    r = float(np.corrcoef(truth, said)[0, 1]) if np.ptp(said) else np.nan
    return r, float(1 - ((said - truth) ** 2).sum() / ((truth - truth.mean()) ** 2).sum())


def in_words(r: float, r2: float) -> str:
    """What `fit` returns, a dash where there is no such number."""
    numbers = (f"{value:.2f}".replace("-", "\u2212") if np.isfinite(value) else "\u2013" for value in (r, r2))
    return "r {}, R² {}".format(*numbers)


def _caption(fits: Mapping[str, tuple[float, float]], names: Sequence[str], shown: Sequence[str]) -> str:
    odd = [name for name, (r, r2) in fits.items() if r > 0 and r2 < 0]
    ordered = (
        f" Of {some(odd)} the order is right and the values are not (r above 0, R² below): the network sees the "
        "feature, and says it on another scale or with another mean than the raters."
        if odd
        else ""
    )
    unscored = [name for name in names if name not in fits]
    without = f" Scored in no clip: {some(unscored)}." if unscored else ""
    rest = [name for name in fits if name not in shown]
    more = f" Not shown: {some([f'{name}: {in_words(*fits[name])}' for name in rest])}." if rest else ""
    return (
        "Clips of all folds together, in brackets their number; on the dashed line prediction and truth agree. r is "
        "Pearson's correlation; an R² of 0 is that of always saying the mean of the feature."
        f"{ordered}{without}{more}"
    )
