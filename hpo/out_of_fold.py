"""What a model says of rows that it was not trained on: made when a training of the promotion ends."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from hpo.measure import forward
from hpo.objective import Batch, Objective, Whole
from hpo.predictions import Predictions, join, long, save
from hpo.training import FoldRun, Interrupted

if TYPE_CHECKING:
    from hpo.store import Lease
    from hpo.work import Log, Surroundings

#: Rows of a fold that are kept with their inputs and outputs.
EXAMPLES = 16


def predict(
    network: torch.nn.Module,
    batches: Iterable[Batch],
    objective: Objective,
    info: Mapping[str, Any],
    whole: Whole | None = None,
) -> dict[str, np.ndarray]:
    """The objective's predictions for every row of the batches, and of their wholes, as columns for `long`."""
    network.eval()
    parts = []
    with torch.inference_mode():
        for batch in batches:
            outputs = forward(network, batch)
            parts.append(objective.predict(outputs, batch, info))
            if whole is not None:
                whole.add(outputs, batch)
        if whole is None:
            return join(parts)
        whole.finish()
        return join(parts) | whole.columns()


def out_of_fold(run: FoldRun, stop: Callable[[], bool] = lambda: False) -> Predictions:
    """Predictions of a finished run for the validation rows of its fold.

    Side-effect: the run's model becomes that of its best epoch (of its last one where no epoch has the metric).

    Raises:
        Interrupted: the stop flag was seen between two batches.
    """
    if run.best_state is not None:
        run.model.load_state_dict(run.best_state)
    rows, objective, info = run.fold.validation, run.objective, run.arrays.info
    predicted = predict(run.model, _batches(run, rows, stop), objective, info, objective.whole(run.arrays))
    own = {name: column[rows] for name, column in objective.identify(run.arrays).items()} | predicted
    which = {"row": rows, "fold": np.full(len(rows), run.fold.index)}
    return Predictions(long(which | own | which), _examples(run, stop), (run.fold.index,))


def leave_predictions(run: FoldRun, lease: Lease, around: Surroundings, log: Log) -> None:
    """Write the predictions of a training that is over into its folder.

    What goes wrong with them, a full disk or the objective's own code, is said in the log and fails no job: its
    scores hold.

    Raises:
        Interrupted: the stop flag was seen between two batches.
    """
    assert lease.candidate is not None
    folder = around.files.fold_predictions(around.record.folder, lease.candidate, lease.fold, lease.seed)
    try:
        path = save(folder, lease.lease_id, lease.token, out_of_fold(run, around.stop))
    except Interrupted:
        raise
    except OSError as error:
        log.say(f"the predictions of fold {lease.fold} could not be written ({error}); its scores hold")
    except (Exception, SystemExit):
        log.say(f"no predictions of fold {lease.fold}, its scores hold:\n{traceback.format_exc()}")
    else:
        log.say(f"predictions {path}")


def _examples(run: FoldRun, stop: Callable[[], bool]) -> dict[str, np.ndarray]:
    """What the objective shows of some validation rows."""
    rows = example_rows(run.objective.example_kinds(run.arrays), run.fold.validation, run.seed)
    with torch.inference_mode():
        batches = _batches(run, rows, stop)
        parts = [run.objective.examples(forward(run.model, batch), batch, run.arrays.info) for batch in batches]
    shown = join(parts)
    if not shown:
        return {}
    return {**shown, "row": rows, "fold": np.full(len(rows), run.fold.index)}


def example_rows(kinds: np.ndarray, rows: np.ndarray, seed: int) -> np.ndarray:
    """At most `EXAMPLES` of the given rows, in their order: one of each kind in turn, drawn with the seed."""
    shuffled = np.random.default_rng(seed).permutation(rows)
    kind = kinds[shuffled]
    # The how-manieth of its kind a row is: all firsts come before all seconds.
    turn = np.empty(len(rows), np.int64)
    for one in np.unique(kind):
        turn[kind == one] = np.arange(np.sum(kind == one))
    return np.sort(shuffled[np.argsort(turn, kind="stable")[:EXAMPLES]])


def _batches(run: FoldRun, rows: np.ndarray, stop: Callable[[], bool]) -> Iterator[Batch]:
    index = torch.from_numpy(rows).to(run.device if run.feed.resident else "cpu")
    for batch in run.feed.batches(index.split(4 * int(run.params.data["batch_size"]))):
        if stop():
            raise Interrupted
        yield batch
