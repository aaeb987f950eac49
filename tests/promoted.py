"""A promoted study of the toy, with the models of its folds and the final one, and commands on it in this process."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import torch
from click.testing import CliRunner, Result
from optuna.trial import TrialState

from hpo.cli.group import hpo as group
from hpo.leaving import SIGNALS
from hpo.promotion import plan, run_job
from tests.toy import STUDY, Launched, launch

TEXT = f"{STUDY}  recommended: {{optimizer: {{lr: 5e-3}}, model: {{dropout: 0.4}}}}\n"


@contextmanager
def promoted(root: Path, text: str = TEXT) -> Iterator[Launched]:
    """Trial 0 is the baseline, trial 1 the best; each has three folds."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    launched = launch(f"sqlite:///{root / 'runs' / 'hpo.db'}", root, text)
    for value in (0.5, 0.6):
        lease, search = launched.trial(), launched.search
        search.choose(lease)
        told = partial(search.tell, lease, TrialState.COMPLETE, value)
        launched.store.results.finish_trial(lease, told, value=value)
    plan(launched.store, launched.record, launched.spec)
    while (job := launched.job()) is not None:
        run_job(job, launched.around)
        plan(launched.store, launched.record, launched.spec)
    yield launched
    launched.store.close()
    torch.set_num_threads(threads)


def command(root: Path, *words: object) -> Result:
    """A command on the runs of the study; it catches signals, which are this process's again afterwards."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    try:
        return CliRunner().invoke(group, [*map(str, words), "--runs", str(root / "runs")], prog_name="hpo")
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
