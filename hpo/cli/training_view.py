"""What is seen of a training in this very process: a bar where there is a terminal, a line per epoch where not."""

from __future__ import annotations

from types import TracebackType

import click
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from hpo.cli.terminal import Terminal
from hpo.objective import Epoch


class TrainingView:
    """Of one training after the other, on the error stream.

    Args:
        metric: whose value is shown.
    """

    def __init__(self, metric: str) -> None:
        self._metric = metric
        self._console = Terminal(stderr=True)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self._bar = Progress(*columns, console=self._console, transient=True)
        self._what, self._task = "", self._bar.add_task("", total=None, visible=False)

    def __enter__(self) -> TrainingView:
        if self._console.is_terminal:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def begin(self, what: str) -> None:
        """The training that the epochs are of from now on."""
        self._what = what
        self._bar.reset(self._task, description=what, visible=True)
        if not self._console.is_terminal:
            click.echo(f"{what} ...", err=True)

    def say(self, text: str) -> None:
        if self._console.is_terminal:
            self._console.print(text, soft_wrap=True)
        else:
            click.echo(text, err=True)

    def heard(self, epoch: Epoch, of: int) -> None:
        """An epoch that has been trained, and of how many."""
        found = ((name, epoch.get(name)) for name in (self._metric, "train.loss"))
        shown = next((f"{name} {value:.4g}" for name, value in found if value is not None), "nothing labelled")
        self._bar.update(self._task, completed=epoch.number, total=of, description=f"{self._what}, {shown}")
        if not self._console.is_terminal:
            click.echo(f"epoch {epoch.number}/{of} | {shown} | lr {epoch.lr:.3g} {epoch.seconds:.2f} s", err=True)
