"""`hpo report`: a study as one self-contained HTML file, in the order a researcher reads it.

The answer first (best trial against the baseline, with measured differences), then the proof over all folds, the
targets, the figures, how trials ended, what it cost and what it ran on. What could not be measured says so.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hpo import figures, parameter_figures
from hpo.evidence import compute, value_of
from hpo.page import Plot, render
from hpo.proof import promotion, target_heads, target_rows
from hpo.quick import WARNING
from hpo.records import StudyRecord, TrialRecord
from hpo.training_part import CAPTIONS as TRAINING_CAPTIONS
from hpo.training_part import training_part
from hpo.unseen import Unseen
from hpo.verdict import Case, Rows, answer
from hpo.wording import DASH, counted, duration, last_line, moment, number

CAPTIONS = {
    "folds": "Each pair of points is one fold, trained with the same seed; dashed lines are the means.",
    "folds alone": "Each point is one fold; the dashed line is the mean.",
    "history": "Value of each trial in the order they were started. Pruned trials were cut short: their value is that "
    "of a shorter training. The line is the best complete trial so far.",
    "curves": "The metric on validation after every epoch. Dotted curves with a cross were pruned. The star marks the "
    "epoch that gave a trial its value.",
    "scatters": "Value against each searched parameter. Pruned trials (open triangles) were trained for fewer epochs.",
    "parallel": "One line per trial, from its parameters to its value, in rows where they are many; orange is better, "
    "dotted is pruned. Hover for the numbers.",
}
#: Ends in the order of the table, with their meaning; see `hpo.records.End`.
ENDS = {
    "complete": "trained until its stopping rule or last epoch",
    "pruned": "stopped early because others were ahead at the same epoch",
    "nan": "loss or gradient became NaN or infinite",
    "out_of_memory": "did not fit the device's memory",
    "timeout": "slower than the study allows",
    "data_error": "the data could not be used",
    "code_error": "the code raised an error",
    "worker_lost": "three workers in a row were lost without a new epoch",
    "exhausted": "every point of the space had been tried",
    "failed": "failed without a class on record",
    "running": "training now, or waiting for its worker's return",
    "waiting": "enqueued, not started",
}
#: Different texts shown per kind of end.
TEXTS_SHOWN = 3


def write_report(case: Case, rows: Unseen, to: Path) -> None:
    """Write the report of a study in any state, finished or not.

    Args:
        case: the study.
        rows: what is known of rows that no model was trained on.
        to: the file.

    Side-effect: the file appears complete, by rename; an older report at `to` is replaced.
    """
    part = training_part(case)
    shown = [*plots(case), *part.plots, *rows.plots]
    text = render(sections(case, datetime.now(UTC)) | {"training": part, "unseen": rows}, shown)
    to.parent.mkdir(parents=True, exist_ok=True)
    beside = to.with_name(f".{to.name}.{os.getpid()}.tmp")
    try:
        beside.write_text(text, encoding="utf-8")
        os.replace(beside, to)
    finally:
        beside.unlink(missing_ok=True)


def sections(case: Case, now: datetime) -> dict[str, Any]:
    """The variables of the page."""
    return {
        "title": case.study.name,
        "written_at": moment(now),
        "state": state(case),
        "synthetic": bool(case.study.info.get("synthetic")),
        "quick": WARNING if case.study.quick else "",
        "head": head(case),
        "answer": answer(case),
        "promotion": promotion(case),
        "targets_heads": target_heads(case),
        "targets": target_rows(case),
        "ends": ends(case.trials),
        "compute": costs(case),
        "workers": workers(case),
        "environment": environment(case),
        "text": case.study.text,
    }


def state(case: Case) -> str:
    """How far the search is, in one line."""
    counts = Counter(t.state for t in case.trials)
    words = {"COMPLETE": "complete", "PRUNED": "pruned", "FAIL": "failed", "RUNNING": "running", "WAITING": "waiting"}
    waiting = [t for t in case.trials if t.state == "WAITING"]
    room = max(case.study.trials - (len(case.trials) - len(waiting)), 0)
    counts["WAITING"] = min(len(waiting), room)
    parts = [f"{counts[key]} {word}" for key, word in words.items() if counts[key] or key != "WAITING"]
    hours = f" or {case.study.hours:g} hours" if case.study.hours is not None else ""
    ended = counts["COMPLETE"] + counts["PRUNED"] + counts["FAIL"]
    closing = "The search is finished." if ended >= case.study.trials else "The search is not finished."
    if case.study.exhausted:
        closing = "The search is finished: space exhausted, every point has been tried."
    elif case.study.stop:
        closing = "The search was asked to stop."
    if beyond := [t.configuration or f"trial {t.number}" for t in waiting[room:]]:
        closing += f" {counted(len(beyond), 'configuration')} beyond the budget, not tried: {', '.join(beyond)}."
    return f"{', '.join(parts)}; budget {case.study.trials} trials{hours}. {closing}"


def head(case: Case) -> Rows:
    study = case.study
    data = study.data or ("generated by the objective" if study.info.get("synthetic") else "the objective's own")
    rows = study.info.get("rows")
    way = "higher" if study.direction == "maximize" else "lower"
    return [
        ("metric", f"{study.metric} ({way} is better)"),
        ("objective", study.objective),
        ("data", data + (f", {rows} rows" if rows is not None else "")),
        ("launched", moment(study.created)),
    ]


def ends(trials: Sequence[TrialRecord]) -> Rows:
    """How many trials ended in which way, with the most frequent texts on record."""
    members: dict[str, list[TrialRecord]] = {}
    for trial in trials:
        members.setdefault(end_of(trial), []).append(trial)
    names = [*(n for n in ENDS if n in members), *sorted(set(members) - set(ENDS))]
    return [(name.replace("_", " "), len(members[name]), ENDS.get(name, ""), texts(members[name])) for name in names]


def end_of(trial: TrialRecord) -> str:
    if trial.state in ("COMPLETE", "RUNNING", "WAITING"):
        return trial.state.lower()
    return trial.end or ("pruned" if trial.state == "PRUNED" else "failed")


def texts(trials: Sequence[TrialRecord]) -> str:
    """`text (trials 3, 7); other text (trial 4); and 2 other texts`."""
    told: dict[str, list[int]] = {}
    for trial in trials:
        if text := last_line(trial.end_text):
            told.setdefault(text, []).append(trial.number)
    common = sorted(told.items(), key=lambda item: -len(item[1]))
    shown = [f"{text} ({_trials(numbers)})" for text, numbers in common[:TEXTS_SHOWN]]
    rest = len(common) - TEXTS_SHOWN
    return "; ".join([*shown, f"and {rest} other texts"] if rest > 0 else shown)


def _trials(numbers: Sequence[int]) -> str:
    few = ", ".join(str(n) for n in numbers[:6]) + (", …" if len(numbers) > 6 else "")
    return f"trial {few}" if len(numbers) == 1 else f"trials {few}"


def costs(case: Case) -> Rows:
    """What the study cost, and what pruning saved."""
    cost = compute(case.trials, case.jobs)
    if cost.saved_epochs is None:
        saved = "not measurable: no trial is complete"
    else:
        share = cost.saved_epochs / max(1, cost.trial_epochs + cost.saved_epochs)
        saved = (
            f"about {cost.saved_epochs:,} ({share:.0%} of the search), had every pruned trial trained "
            f"{cost.complete_epochs} epochs as the median complete trial did"
        )
    takeovers = sum(max(0, t.attempt - 1) for t in case.trials)
    return [
        ("training time, search", duration(3600 * cost.trial_hours)),
        ("training time, promotion", duration(3600 * cost.job_hours)),
        ("from first start to last end", span(case.trials)),
        ("epochs trained", f"{cost.trial_epochs:,} in the search, {cost.job_epochs:,} in the promotion"),
        ("epochs saved by pruning", saved),
        ("takeovers", f"{takeovers} (a trial went on under another worker)" if takeovers else "none"),
        ("final model", (case.final.path if case.final else None) or "none yet"),
    ]


def span(trials: Sequence[TrialRecord]) -> str:
    starts = [t.started for t in trials if t.started]
    ended = [t.finished for t in trials if t.finished]
    return duration((max(ended) - min(starts)).total_seconds()) if starts and ended else "nothing has ended yet"


def workers(case: Case) -> Rows:
    """Who did the work: the worker that ended each trial or holds it now."""
    found = sorted({w for w in (*(t.worker for t in case.trials), *(j.worker for j in case.jobs)) if w is not None})
    rows: Rows = []
    for name in found:
        trials = [t for t in case.trials if t.worker == name]
        jobs = [j for j in case.jobs if j.worker == name]
        seconds = sum(t.seconds for t in trials) + sum(e.seconds for j in jobs for e in j.epochs)
        rows.append((name, len(trials), len(jobs), duration(seconds)))
    return rows


def environment(case: Case) -> Rows:
    study = case.study
    return [
        ("study file", f"{study.source} (SHA-256 {study.text_hash[:16]})"),
        ("objective", study.objective + (f" (SHA-256 {study.objective_hash[:16]})" if study.objective_hash else "")),
        ("data fingerprint", study.fingerprint),
        ("folds", fold_sizes(study)),
        ("search fold", ", ".join(str(f) for f in sorted({t.fold for t in case.trials if t.fold >= 0})) or "none yet"),
        ("versions", ", ".join(f"{name} {version}" for name, version in sorted(study.versions.items()))),
    ]


def fold_sizes(study: StudyRecord) -> str:
    folds = study.split.get("folds", [])

    def sizes(side: str) -> str:
        counts = [len(fold[side]) for fold in folds] or [0]
        return str(counts[0]) if len(set(counts)) == 1 else f"{min(counts)}{DASH}{max(counts)}"

    test = len(study.split.get("test", []))
    held = f"{test} held-out test rows" if test else "no held-out test rows"
    return f"{len(folds)} folds, training {sizes('train')} rows, validation {sizes('validation')} rows; {held}"


def plots(case: Case) -> list[Plot]:
    """The figures that have something to show."""
    trials, metric = case.trials, case.metric
    found = []
    if any(p.before is not None or p.after is not None for p in case.pairs):
        drawn = figures.folds(case.pairs, metric)
        title, caption = (
            ("Baseline and best", CAPTIONS["folds"]) if case.compared else ("Best", CAPTIONS["folds alone"])
        )
        found.append(Plot(key="folds", title=f"{title}, fold by fold", caption=caption, figure=drawn))
    if any(t.state not in ("WAITING", "RUNNING") or value_of(t, metric) is not None for t in trials):
        drawn = figures.history(trials, metric)
        found.append(Plot(key="history", title="Optimisation history", caption=CAPTIONS["history"], figure=drawn))
    if any(t.epochs for t in trials):
        found += _curve_plots(case)
    if parameter_figures.varied_names(trials, metric):
        caption = CAPTIONS["parallel"] + selection(case)
        drawn = parameter_figures.scatters(trials, metric)
        each = CAPTIONS["scatters"] + constants(case)
        found.append(Plot(key="scatters", title="Each parameter", caption=each, figure=drawn))
        drawn = parameter_figures.parallel(trials, metric)
        title = "All parameters together"
        found.append(Plot(key="parallel", title=title, caption=caption, figure=drawn, wide=True))
    return found


def _curve_plots(case: Case) -> list[Plot]:
    trials, metric = case.trials, case.metric
    caption = CAPTIONS["curves"] + selection(case)
    if any(not e.full for t in trials for e in t.epochs):
        caption += TRAINING_CAPTIONS["fast"]
    return [Plot(key="curves", title="Learning curves", caption=caption, figure=figures.curves(trials, metric))]


def constants(case: Case) -> str:
    """What a figure of the parameters leaves out."""
    same = parameter_figures.constants(case.trials, case.metric)
    told = ", ".join(f"{name} {number(value)}" for name, value in same.items())
    return f" Left out, because all these trials had the same: {told}." if told else ""


def selection(case: Case) -> str:
    """What a figure of a large study leaves out."""
    if len(case.trials) <= figures.CURVES_LIMIT:
        return ""
    shown = len(figures.shown_in_curves(case.trials, case.metric))
    return (
        f" Shown are {shown} of {len(case.trials)} trials: the best {figures.CURVES_SHOWN} complete ones and the "
        "configurations."
    )
