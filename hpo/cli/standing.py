"""How far a study has come, in the same words for `hpo status` and the end of a launch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from hpo.circuit import BROKEN
from hpo.cli.folded import TIE, folded
from hpo.cli.group import typed
from hpo.objective import Metric
from hpo.quick import WARNING
from hpo.records import JobRecord, StudyRecord
from hpo.status import silent, status
from hpo.store import Store
from hpo.wording import duration, last_line

#: Where the facts begin, behind their labels.
INDENT = 11


def standing(store: Store, record: StudyRecord, width: int) -> Iterator[str]:
    """A text per fact, each with its label; facts that there are none of yet are left out.

    Args:
        store: with the study.
        record: of the study.
        width: of the terminal, for the parameters of the best trial; commands stay on one line, to be copied.
    """
    for label, text in _facts(store, record):
        line = f"{label:<{INDENT}}{text}"
        yield folded(line, INDENT, width) if TIE in text else line


def _facts(store: Store, record: StudyRecord) -> Iterator[tuple[str, str]]:
    now, metric = status(store, record), Metric(record.metric, record.direction)
    budget, best, final = now["budget"], now["best"], now["final"]
    limit = f" of {budget['hours']:g} hours" if budget["hours"] is not None else ""
    if record.quick:
        yield "numbers", WARNING
    yield "trials", f"{_states(now)}; {budget['used']} of {budget['trials']} trials begun"
    yield "", f"{duration(3600 * now['compute_hours'])}{limit} of training"
    yield from _untried(store, record, now)
    for end, numbers in store.reading.broken_ends(record.study_id).items():
        yield "", f"{len(numbers)} ended as {end}: trial {_listed(numbers)}; see `hpo logs {record.name} {numbers[-1]}`"
    if not now["states"]["COMPLETE"] and not now["work"] and budget["used"] >= budget["trials"]:
        more = f"`hpo launch {typed(record)} --trials {2 * budget['trials']}`"
        yield "", f"no trial is complete, so there is nothing to promote; with the cause mended, {more} goes on"
    if now["work"] and all(silent(worker["silent_seconds"]) for worker in now["workers"]):
        yield "", f"nobody works on it: `hpo launch {typed(record)}` goes on with the {len(now['work'])} begun"
    if now["exhausted"]:
        yield "", "space exhausted: every point has been evaluated"
    if now["stop"] == "broken":
        failed = [t for t in store.reading.trials(record.study_id, curves=False) if t.end in BROKEN]
        yield "", f"stopped, the objective is broken: {last_line(failed[-1].end_text)}" if failed else "stopped"
        yield "", f"its log: hpo logs {record.name} {failed[-1].number}" if failed else ""
    elif now["stop"]:
        yield "", f"a stop was requested; `hpo launch {typed(record)}` goes on"
    if best:
        yield "best", f"trial {best['trial']}: {metric.name} {best['value']:.4g} on the search fold"
        searched = store.reading.trials(record.study_id, [best["trial"]], curves=False)[0].searched
        yield "", ", ".join(f"{name}{TIE}{_short(value)}" for name, value in searched.items())
    if final:
        jobs = store.reading.jobs(record.study_id, curves=False)
        yield "promotion", _progress(jobs)
        yield from _outcome(final, metric, compared=any(job.role == "baseline" for job in jobs))


def _states(now: Mapping[str, Any]) -> str:
    """Trials by what has become of them; those given back are not running, those beyond the budget not waiting."""
    states = dict(now["states"])
    returned = sum(unit["trial"] is not None and not unit["held"] for unit in now["work"])
    states |= {"RUNNING": states["RUNNING"] - returned, "WAITING": states["WAITING"] - _beyond(now)}
    counts = [*((name.lower(), count) for name, count in states.items()), ("given back", returned)]
    return ", ".join(f"{count} {name}" for name, count in counts if count > 0) or "none yet"


def _beyond(now: Mapping[str, Any]) -> int:
    """Configurations that the budget does not reach."""
    room = max(now["budget"]["trials"] - now["budget"]["used"], 0)
    return max(now["states"]["WAITING"] - room, 0)


def _untried(store: Store, record: StudyRecord, now: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Which those are, and the budget that would."""
    if not (beyond := _beyond(now)):
        return
    waiting = [t for t in store.reading.trials(record.study_id, curves=False) if t.state == "WAITING"]
    names = ", ".join(t.configuration or f"trial {t.number}" for t in waiting[-beyond:])
    which = "never tried" if now["budget"]["used"] >= now["budget"]["trials"] else "beyond the budget"
    more = f"`hpo launch {typed(record)} --trials {now['budget']['used'] + len(waiting)}`"
    them = "it" if beyond == 1 else "them"
    yield "", f"{beyond} configuration{'s' * (beyond > 1)} {which}: {names}; {more} tries {them}"


def _listed(numbers: list[int]) -> str:
    """The first few."""
    return ", ".join(map(str, numbers[:5])) + (", ..." if len(numbers) > 5 else "")


def _progress(jobs: list[JobRecord]) -> str:
    count = {state: sum(job.state == state for job in jobs) for state in ("done", "running", "failed")}
    others = "".join(f", {count[state]} {state}" for state in ("running", "failed") if count[state])
    return f"{count['done']} of {len(jobs)} trainings done{others}"


def _outcome(final: Mapping[str, Any], metric: Metric, *, compared: bool) -> Iterator[tuple[str, str]]:
    """What the promotion has measured, and where the final model is; halfway, means over unlike folds would mislead.

    Args:
        final: of the status.
        metric: of the study.
        compared: whether a baseline was retrained beside the best trial, which may be the baseline itself.
    """
    if final["status"] not in ("done", "failed"):
        return
    name, value, base = metric.name, final["scores"].get(metric.name), final["baseline_scores"].get(metric.name)
    over = "all folds" if final["status"] == "done" else "the folds that are done"
    if value is not None:
        text = f"{name} {value:.4g} ± {final['spread'][name]:.2g} over {over}"
        if base is not None and not compared:
            text += "; the best trial is the baseline"
        elif base is not None:
            text += f"; baseline {base:.4g} ± {final['baseline_spread'][name]:.2g}; difference {value - base:+.4g}"
            text += "" if metric.better(value, base) else ": NOT better than the baseline"
        yield "measured", text
    if (tested := final["test_scores"].get(name)) is not None:
        yield "test", f"{name} {tested:.4g} on held-out rows"
    if final["path"]:
        yield "model", final["path"]
    if final["error"]:
        yield "failed", f"promotion: {last_line(final['error'])}"


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
