"""What people look at while a study runs: a live table in a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from contextlib import suppress
from types import TracebackType
from typing import Any

from rich.console import Group
from rich.live import Live
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from hpo.cli.standing import standing
from hpo.cli.terminal import Terminal
from hpo.cli.work_view import work_table
from hpo.records import StudyRecord, TrialRecord, WorkRecord
from hpo.status import Takeovers, active
from hpo.store import DATABASE_ERRORS, Store
from hpo.wording import last_line

#: Seconds between two looks at the database.
REFRESH = 1.0
UNFINISHED = ("WAITING", "RUNNING")


class LaunchView:
    """Follows a study; `update` is called in a loop and paces itself."""

    def __init__(self, store: Store, record: StudyRecord) -> None:
        self._store, self._record = store, record
        self._console = Terminal()
        self._live = Live(console=self._console, auto_refresh=False) if self._console.is_terminal else None
        self._next = 0.0
        self._reported: set[int] = set()
        self._first_open = 0
        self._jobs_done: set[int] = set()
        self._work: list[WorkRecord] = []
        self._takeovers = Takeovers()
        self._began = time.monotonic()
        self._ended_before = store.reading.ended(record.study_id)

    def __enter__(self) -> LaunchView:
        self._catch_up(quiet=True)
        used, of = self._store.reading.tickets(self._record.study_id), self._record.trials
        self.say(
            f"study {self._record.name}: {used} of {of} trials begun, {self._record.metric} "
            f"({self._record.direction}), fold {self._fold()} of {len(self._record.split['folds'])}"
        )
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(*DATABASE_ERRORS):  # also when it has gone, whatever is shown stays readable
            self._catch_up(quiet=False)
        if self._live:
            self._live.stop()

    def update(self) -> None:
        """Show what is new; sleeps a moment, so that a loop around it does not spin."""
        time.sleep(0.1)
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + REFRESH
        self._catch_up(quiet=False)
        if self._live:
            self._live.update(self._table(), refresh=True)

    def summary(self) -> None:
        """The last words: best trial, measured difference, where the model lies."""
        for line in standing(self._store, self._record, self._console.width):
            self.say(line)
        self._failures()

    def _failures(self) -> None:
        trials = self._store.reading.trials(self._record.study_id, curves=False)
        failed = [t for t in trials if t.state == "FAIL"]
        if failed:
            last = failed[-1]
            self.say(f"failed     {len(failed)} trials; trial {last.number}: {last.end}: {last_line(last.end_text)}")
            self.say(f"           see `hpo logs {self._record.name} {last.number}`")

    def _catch_up(self, quiet: bool) -> None:
        self._work = self._store.reading.work(self._record.study_id)
        for line in self._takeovers.seen(self._work):
            self.say(line)
        trials = self._store.reading.trials(self._record.study_id, start=self._first_open, curves=False)
        for trial in trials:
            if trial.state not in UNFINISHED and trial.number not in self._reported:
                self._reported.add(trial.number)
                if not quiet:
                    self.say(self._ended(trial))
        still = [t.number for t in trials if t.state in UNFINISHED]
        self._first_open = min(still) if still else max(self._reported, default=-1) + 1
        for job in self._store.reading.jobs(self._record.study_id, curves=False):
            if job.state in ("done", "failed") and job.job_id not in self._jobs_done:
                self._jobs_done.add(job.job_id)
                value = (job.scores or {}).get(self._record.metric)
                where = "refit on all data" if job.fold < 0 else f"fold {job.fold}"
                text = f"promotion: {job.role} (trial {job.candidate}), {where}: {job.state}"
                if not quiet:
                    self.say(text + (f", {self._record.metric} {value:.4g}" if value is not None else ""))

    def _ended(self, trial: TrialRecord) -> str:
        name = f" ({trial.configuration})" if trial.configuration else ""
        best = " best" if trial.state == "PRUNED" else ""  # of the epochs it had
        value = "" if trial.value is None else f"{best} {self._record.metric} {trial.value:.4g}"
        text = last_line(trial.end_text)
        why = {None: "", "pruned": f",{text.removeprefix('pruned')}"}.get(trial.end, f" {trial.end}: {text}")
        again = f" (attempt {trial.attempt})" if trial.attempt > 1 else ""  # after a takeover
        return f"trial {trial.number}{name} {trial.state.lower()}{value}{why}{again}"

    def _table(self) -> Group:
        study_id = self._record.study_id
        done = self._store.reading.ended(study_id)
        bar = Progress(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn(self._eta(done)))
        bar.add_task(f"{escape(self._record.name)}", total=self._record.trials, completed=done)
        parts: list[Any] = [bar]
        jobs = self._store.reading.jobs(study_id, curves=False)
        if jobs:
            promotion = Progress(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
            finished = sum(job.state in ("done", "failed") for job in jobs)
            promotion.add_task("promotion", total=len(jobs), completed=finished)
            parts.append(promotion)
        best = self._store.reading.best_trial(study_id, self._record.direction)
        if best is not None:
            parts.append(f"best {self._record.metric} {best.value:.4g} (trial {best.number})")
        workers = active(self._store.reading.workers(study_id))
        parts.append(work_table(self._work, workers, self._record.metric, self._console.width))
        return Group(*parts)

    def _eta(self, done: int) -> str:
        new = done - self._ended_before
        if new <= 0 or done >= self._record.trials:
            return ""
        seconds = (time.monotonic() - self._began) / new * (self._record.trials - done)
        return f"about {int(seconds) // 60}:{int(seconds) % 60:02d} left in the search"

    def _fold(self) -> int:
        from hpo.stored import as_launched

        return as_launched(self._record).folds.search

    def say(self, text: str) -> None:
        """A line, above the live table."""
        self._console.print(text, soft_wrap=True)
