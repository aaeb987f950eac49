"""What the log says about an epoch: a line with every term, score and rate, and some indented ones with more.

And about the parameters of a trial, before the first one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from hpo.objective import GROUPS, Epoch, Params

#: Epochs from one look at the spread of the batches to the next; the first one has it, too.
SPREAD_EVERY = 10
COLUMNS = ("precision", "recall", "f1-score", "support")


def epoch_lines(epoch: Epoch, of: int, weights: Mapping[str, float]) -> Iterator[str]:
    """The line of an epoch and the details below it.

    Args:
        epoch: that has been trained.
        of: the most epochs.
        weights: of the loss terms in the epoch before; those of this one are said when they differ.
    """
    sides = [("train", epoch.train), ("validation" if epoch.full else "fast", epoch.validation)]
    values = " | ".join(f"{side} {_pairs(found)}" for side, found in sides if found)
    norms = {"gradient": epoch.gradient_norm}
    norms |= {f"gradient.{term}": value for term, value in epoch.gradient_norms.items()}
    yield f"epoch {epoch.number}/{of} | {values} | lr {epoch.lr:.3g} {_pairs(norms, 3)} {epoch.seconds:.2f} s"
    if epoch.weights != weights:
        yield f"  weights {_pairs(epoch.weights, 3)}"
    if epoch.number == 1 or epoch.number % SPREAD_EVERY == 0:
        for term, spread in epoch.spread.items():
            about = f"sd {spread['sd']:.3g}, {spread['min']:.3g} to {spread['max']:.3g}"
            yield f"  batches loss.{term} {epoch.train[f'loss.{term}']:.4g} ({about})"
        if ratios := epoch.ratios():
            yield f"  ratios {_pairs(ratios, 3)}"
    yield from reference_lines(epoch)
    yield from _table(epoch.report or {}, "" if epoch.full else "(fast)")


def reference_lines(epoch: Epoch) -> Iterator[str]:
    """After the first epoch, what predictors that have learned nothing come to on the same validation rows."""
    if epoch.references:
        yield "  nothing learned | " + " | ".join(f"{name} {_pairs(found)}" for name, found in epoch.references.items())


def epoch_values(epoch: Epoch) -> dict[str, str]:
    """The numbers of an epoch's line by their names, as they stand there.

    Training values are called `train.NAME`; those of a fast validation, on a part of the rows, get a `~`.
    """
    about = "" if epoch.full else "~"
    found = {f"train.{name}": f"{value:.4g}" for name, value in epoch.train.items()}
    found |= {name: f"{about}{value:.4g}" for name, value in epoch.validation.items()}
    found |= {"lr": f"{epoch.lr:.3g}", "gradient": f"{epoch.gradient_norm:.3g}"}
    found |= {f"gradient.{term}": f"{value:.3g}" for term, value in epoch.gradient_norms.items()}
    return found | {"seconds": f"{epoch.seconds:.2f}"}


def _pairs(values: Mapping[str, float], digits: int = 4) -> str:
    return " ".join(f"{name} {value:.{digits}g}" for name, value in values.items())


def parameter_lines(params: Params) -> Iterator[str]:
    """All values of a trial, a line per group, indented as what belongs to the line above."""
    for group in GROUPS:
        if values := getattr(params, group):
            yield "  " + " ".join(f"{group}.{name}={value}" for name, value in sorted(values.items()))


def _table(report: Mapping[str, Mapping[str, float]], about: str) -> Iterator[str]:
    """A classification report, its columns aligned; what a row does not have stays empty."""
    width = max(map(len, (about, *report)))
    if report:
        yield f"  {about:{width}}" + "".join(f"{column:>11}" for column in COLUMNS)
    for name, row in report.items():
        cells = ("" if column not in row else _cell(column, row[column]) for column in COLUMNS)
        yield f"  {name:{width}}{''.join(f'{cell:>11}' for cell in cells)}".rstrip()


def _cell(column: str, value: float) -> str:
    return f"{value:.0f}" if column == "support" else f"{value:.3f}"
