"""The report says what was measured, says so when nothing was, and no name in it can act."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from hpo.evidence import best_trial
from hpo.objective import Metric
from hpo.records import FinalRecord, JobRecord, StudyRecord, TrialRecord
from hpo.report import write_report
from hpo.study import Target
from hpo.unseen import Unseen
from hpo.verdict import Case
from hpo.wording import change, decimals_for, fixed, number, plus_minus
from tests import made_up
from tests.made_up import HOSTILE

PLAIN = made_up.params(1e-3, 0.1)
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def page(
    to: Path,
    study: StudyRecord | None = None,
    trials: Sequence[TrialRecord] = (),
    jobs: Sequence[JobRecord] = (),
    final: FinalRecord | None = None,
    targets: Sequence[Target] = (),
    rows: Unseen | None = None,
) -> str:
    """The report without its scripts and style, as text with one line per table row."""
    case = Case(study or made_up.study(), trials, jobs, final, made_up.direction_of, targets, epochs=24)
    write_report(case, rows or Unseen(), to / "report.html")
    html = (to / "report.html").read_text(encoding="utf-8")
    html = re.sub(r"<(script|style)\b.*?</\1>", "", html, flags=re.DOTALL)
    html = re.sub(r"</t[dh]>\s*", " | ", html.replace("\n", " "))
    html = re.sub(r"</(tr|p|h\d)>", "\n", html)
    text = unescape(re.sub(r"<[^>]+>", "", html))
    return "\n".join(re.sub(r"\s+", " ", line).strip() for line in text.splitlines())


def promoted() -> tuple[list[TrialRecord], list[JobRecord], FinalRecord]:
    trials = made_up.trials()
    best = best_trial(trials, Metric("f1.macro", "maximize"))
    assert best is not None
    jobs = made_up.jobs(best.number, best.params, trials[0].params)
    return trials, jobs, made_up.final(best.number, jobs)


def test_the_answer_comes_first_with_the_measured_difference(tmp_path: Path) -> None:
    text = page(tmp_path, trials=made_up.trials())
    assert "10 complete, 9 pruned, 1 failed, 0 running; budget 20 trials or 8 hours. The search is finished." in text
    assert "trial 6 reaches f1.macro 0.600, the baseline, trial 0 “before”, 0.446: +0.154 (better)" in text
    assert "best of 10 complete trials chosen by this very number, so a part of it is luck" in text
    assert "model.dropout | 0.1 | 0.408 | \u00d74.08 |" in text
    assert "f1.macro | higher | 0.446 | 0.600 | +0.154 | better |" in text
    assert "Not promoted yet" in text
    assert text.index("What helped") < text.index("Course of the search")


def test_losses_with_other_parameters_are_not_called_better(tmp_path: Path) -> None:
    text = page(tmp_path, trials=made_up.trials())
    assert re.search(r"loss\.pain \| lower .* \| other scale \|", text)
    assert "losses of the two are on different scales" in text


def test_weights_change_the_scale_of_the_sum_only(tmp_path: Path) -> None:
    before = made_up.params(1e-4, 0.1) | {"loss.pain_weight": 1.0}
    after = made_up.params(1e-3, 0.1) | {"loss.pain_weight": 5.0}
    trials = [made_up.trial(0, before, 20, configuration="before"), made_up.trial(1, after, 20)]
    text = page(tmp_path, trials=trials)
    assert re.search(r"\nloss \| lower .* \| other scale \|", text)
    assert not re.search(r"loss\.pain \| lower .* \| other scale \|", text)


def test_a_promotion_is_reported_fold_by_fold(tmp_path: Path) -> None:
    trials, jobs, final = promoted()
    text = page(tmp_path, trials=trials, jobs=jobs, final=final)
    mean, spread = final.scores["f1.macro"], final.spread["f1.macro"]
    assert f"trial 6 reaches f1.macro {mean:.3f} ± {spread:.3f}, the baseline" in text
    assert "better on 5 of 5." in text
    assert re.search(
        r"f1\.macro \| higher \| 0\.\d+ ± 0\.\d+ \| 0\.\d+ ± 0\.\d+ \| \+0\.\d+ ± 0\.\d+ \| 5 of 5 \| 0\.571", text
    )
    first = (jobs[1].scores or {})["f1.macro"], (jobs[2].scores or {})["f1.macro"]
    kept = f"{jobs[2].best_epoch} of {len(jobs[2].epochs)} | {jobs[1].best_epoch} of {len(jobs[1].epochs)} |"
    assert f"0 | 1 | {first[1]:.3f} | {first[0]:.3f} | {first[0] - first[1]:+.3f} | {kept}" in text
    assert "/data/runs/behaviour/final" in text


def test_a_best_trial_that_is_the_baseline_is_said_so_once_and_compared_with_nothing(tmp_path: Path) -> None:
    trials, jobs, final = promoted()
    jobs = [replace(j, candidate=0) for j in jobs if j.role == "best"]
    final = replace(final, candidate=0, baseline_scores=final.scores, baseline_spread=final.spread)
    targets = [Target(kind="score", measure="f1.macro", direction="maximize", at_least=0.55)]
    text = page(tmp_path, trials=trials[:1], jobs=jobs, final=final, targets=targets)
    assert "target | best, search fold | best, retrained over folds |" in text
    assert "f1.macro at least 0.55 | 0.446 missed | 0." in text
    assert "It is the baseline itself, so there is no difference to tell." in text
    assert "measure | better is | best | test, final model |" in text.replace("\u00a0", " ")
    assert "fold | seed | best | kept epoch |" in text and "Each point is one fold" in text
    assert "not measurable" not in text


@pytest.mark.parametrize(
    ("changes", "held_out", "why"),
    [
        ({}, False, "the study holds out no test rows"),
        ({}, True, "the labels of the held-out test rows allow none"),
        ({"path": None}, True, "the study makes no final model (promotion.refit)"),
        ({"path": None, "status": "running"}, True, "there is no final model yet"),
        ({"path": None, "status": "failed"}, True, "there is no final model"),
    ],
)
def test_without_test_scores_their_column_is_left_out_and_it_is_said_why(
    tmp_path: Path, changes: dict[str, Any], held_out: bool, why: str
) -> None:
    trials, jobs, final = promoted()
    study = made_up.study()
    study = study if held_out else replace(study, split={**study.split, "test": []})
    text = page(tmp_path, study=study, trials=trials, jobs=jobs, final=replace(final, test_scores={}, **changes))
    assert f"There are no test scores: {why}." in text
    assert "better on |\n" in text.replace(" \n", "\n") and "test, final model" not in text


def test_a_promotion_under_way_and_a_failed_one_say_so(tmp_path: Path) -> None:
    trials, jobs, final = promoted()
    waiting = [replace(j, state="waiting", scores=None, epochs=()) for j in jobs[4:]]
    running = page(
        tmp_path, trials=trials, jobs=[*jobs[:4], *waiting], final=replace(final, status="running", path=None)
    )
    assert "The promotion of trial 6 is not finished: 4 of 11 trainings are done." in running
    assert "2 | 1 | — | — | not measurable |" in running
    error = 'Traceback (most recent call last):\n  File "x.py"\nRuntimeError: disk full'
    lost = replace(jobs[0], state="failed", end_text=error)
    failed = page(
        tmp_path, trials=trials, jobs=[lost, *jobs[1:]], final=replace(final, status="failed", end_text=error)
    )
    assert "The promotion of trial 6 failed: RuntimeError: disk full" in failed
    assert "The refit of the best, trial 6, failed: RuntimeError: disk full" in failed


def test_a_better_trial_since_the_promotion_is_pointed_out(tmp_path: Path) -> None:
    trials, jobs, final = promoted()
    text = page(tmp_path, trials=[*trials, replace(trials[6], number=20, value=0.7)], jobs=jobs, final=final)
    assert "Trial 6 was the best when the promotion began; trial 20 has become better since" in text


def test_every_target_is_shown_with_its_number_or_as_not_measurable(tmp_path: Path) -> None:
    targets = [
        Target(kind="score", measure="f1.macro", direction="maximize", at_least=0.55),
        Target(kind="gap", measure="accuracy", direction="maximize", at_most=0.25),
        Target(kind="score", measure="f1.paw_withdraw", direction="maximize", at_least=0.4),
        Target(kind="balance", measure="behaviour/pain", direction="minimize", at_most=10),
    ]
    trials, jobs, final = promoted()
    text = page(tmp_path, trials=trials, jobs=jobs, final=final, targets=targets)
    assert "f1.macro at least 0.55 | 0.446 missed | 0.600 reached |" in text
    assert "accuracy at most 0.25 | 0.335 missed | 0.189 reached |" in text
    assert "f1.paw_withdraw at least 0.4 | not measurable | not measurable | not measurable |" in text
    assert re.search(
        r"terms behaviour and pain within a factor of 10 \| [\d.]+ missed \| [\d.]+ missed \| .*on 0 of 5", text
    )
    assert "reached on 5 of 5 folds" in text
    alone = page(tmp_path, trials=trials, targets=targets)
    assert "0.600 reached | not promoted yet |" in alone


def test_of_epochs_the_fold_that_trained_shortest_counts(tmp_path: Path) -> None:
    """A mean over folds would hide the one that kept its first epoch."""
    trials, jobs, final = promoted()
    folds = [j for j in jobs if j.role == "best" and j.fold >= 0]
    kept = [max(j.epochs[2:], key=lambda e: e.validation["f1.macro"]).number for j in folds]  # min_epochs is 3
    short = folds[1].epochs[:4]
    first = replace(short[2], validation={**short[2].validation, "f1.macro": 0.99})
    jobs = [replace(j, epochs=(*short[:2], first, short[3])) if j is folds[1] else j for j in jobs]
    others = [number for k, number in enumerate(kept) if k != 1]
    least = min(others)
    assert least > 4
    reachable = Target(kind="epochs", measure="kept", direction="maximize", at_least=3.0)
    missed = replace(reachable, at_least=float(least))
    beyond = replace(reachable, at_least=24.0)
    text = page(tmp_path, trials=trials, jobs=jobs, final=final, targets=[reachable, missed, beyond])
    name = "epochs of the kept model at least"
    assert re.search(
        rf"{name} 3 on every fold \| \d+ reached \| \d+ reached \| .*\| smallest 3 reached: .* 5 of 5", text
    )
    assert re.search(rf"{name} {least} on every fold \| .*smallest 3 missed: reached on 4 of 5 folds", text)
    over = sum(number >= 24 for number in others)
    assert re.search(rf"{name} 24 on every fold \| .*smallest 3 missed: reached on {over} of 5 folds", text)
    unmeasured = [replace(j, epochs=()) if j.job_id == folds[0].job_id else j for j in jobs]
    text = page(tmp_path, trials=trials, jobs=unmeasured, final=final, targets=[reachable])
    assert "smallest 3 missed: reached on 4 of 5 folds, not measurable on 1" in text


def test_a_target_that_the_retrained_baseline_misses_is_told_beside_the_search_fold(tmp_path: Path) -> None:
    """On the search fold alone the baseline looks as if it had reached it."""
    trials, jobs, final = promoted()
    kept = max(trials[0].epochs[2:], key=lambda e: e.validation["f1.macro"]).number  # min_epochs is 3
    short = [replace(j, epochs=j.epochs[: 3 + j.fold]) if j.role == "baseline" else j for j in jobs]
    cut = [j.epochs for j in short if j.role == "baseline"]
    least = [max(epochs[2:], key=lambda e: e.validation["f1.macro"]).number for epochs in cut]
    target = Target(kind="epochs", measure="kept", direction="maximize", at_least=5.0)
    text = page(tmp_path, trials=trials, jobs=short, final=final, targets=[target])
    head = "best, search fold | baseline, retrained over folds | best, retrained over folds |"
    assert f"target | baseline, search fold | {head}" in text
    over = f"smallest {min(least)} missed: reached on {sum(n >= 5 for n in least)} of 5 folds | smallest"
    assert re.search(rf"at least 5 on every fold \| {kept} reached \| \d+ reached \| {over}", text)


def test_what_has_learned_nothing_has_a_table_where_it_was_measured(tmp_path: Path) -> None:
    assert "What has learned nothing" not in page(tmp_path, trials=made_up.trials())
    given = {"majority": {"loss": 2.5, "f1.macro": 0.25}, "constant": {"loss": 2.4}}
    trials = [replace(t, epochs=tuple(replace(e, references=given) for e in t.epochs)) for t in made_up.trials()]
    text = page(tmp_path, trials=trials)
    assert "What has learned nothing\n" in text and "shows nothing learned, however good it looks" in text
    assert "measure | majority | constant | baseline | best |" in text
    assert re.search(r"f1\.macro \| 0\.250 \| — \| 0\.446 \| 0\.600 \|", text)


def test_ends_are_counted_with_their_texts(tmp_path: Path) -> None:
    text = page(tmp_path, trials=made_up.trials())
    assert re.search(r"pruned \| 8 \| .* below the median at epoch 4 \(trials \d+, ", text)
    assert "nan | 1 | loss or gradient became NaN or infinite | loss.behaviour became NaN in epoch 2 (trial 5)" in text
    assert "code error | 1 | the code raised an error | KeyError: 'walk'" in text


def test_compute_states_what_savings_are_counted_against(tmp_path: Path) -> None:
    text = page(tmp_path, trials=made_up.trials())
    assert "epochs trained | 273 in the search, 0 in the promotion" in text
    assert (
        "about 160 (37% of the search), had every pruned trial trained 24 epochs as the median complete trial" in text
    )
    assert "5 folds, training 800\u2013804 rows, validation 200\u2013204 rows; 120 held-out test rows" in text


def test_synthetic_data_is_said_loudly(tmp_path: Path) -> None:
    assert "SYNTHETIC DATA" in page(tmp_path, made_up.study(info={"synthetic": True}, data=None))
    assert "SYNTHETIC DATA" not in page(tmp_path)


@pytest.mark.parametrize(
    ("trials", "said"),
    [
        ([], "No trial has been started"),
        ([made_up.trial(0, PLAIN, 0, state="WAITING", value=None, started=None, finished=None)], "1 waiting; budget"),
        ([made_up.trial(0, PLAIN, 0, state="RUNNING", value=None, finished=None)], "No trial is complete yet"),
        ([made_up.trial(0, PLAIN, 2, state="RUNNING", value=None, finished=None)], "Learning curves"),
        ([made_up.trial(0, PLAIN, 3, configuration="a")], "The baseline is still the best: no other trial is complete"),
        (
            [made_up.trial(0, PLAIN, 3, configuration="a"), made_up.trial(1, PLAIN, 3, value=0.0)],
            "The baseline is still the best: the one other complete trial did no better than",
        ),
        ([made_up.trial(0, PLAIN, 3)], "there is no baseline to compare it with"),
    ],
)  # fmt: skip
def test_a_study_at_any_stage_has_a_report(tmp_path: Path, trials: list[TrialRecord], said: str) -> None:
    assert said in page(tmp_path, trials=trials)


def test_configurations_that_the_budget_does_not_reach_are_not_waiting(tmp_path: Path) -> None:
    """A search that is finished waits for nothing."""
    waiting: dict[str, Any] = {"state": "WAITING", "value": None, "started": None, "finished": None}
    more = [made_up.trial(20 + k, PLAIN, 0, configuration=name, **waiting) for k, name in enumerate("bc")]
    head = "10 complete, 9 pruned, 1 failed, 0 running"
    said = "2 configurations beyond the budget, not tried: b, c."
    text = page(tmp_path, trials=[*made_up.trials(), *more])
    assert f"{head}; budget 20 trials or 8 hours. The search is finished. {said}" in text
    text = page(tmp_path, made_up.study(trials=21), trials=[*made_up.trials(), *more])
    said = "1 configuration beyond the budget, not tried: c."
    assert f"{head}, 1 waiting; budget 21 trials or 8 hours. The search is not finished. {said}" in text


def test_a_baseline_without_value_is_not_subtracted(tmp_path: Path) -> None:
    trials = made_up.trials()
    trials[0] = replace(trials[0], state="PRUNED", end="nan", end_text="loss became NaN", value=None, epochs=())
    text = page(tmp_path, trials=trials)
    assert "has no value (nan: loss became NaN), so the difference is not measurable" in text
    assert "f1.macro | higher | — | 0.600 | — | not measurable |" in text


def test_large_studies_say_what_the_curves_leave_out(tmp_path: Path) -> None:
    text = page(tmp_path, made_up.study(trials=300), made_up.trials(300))
    assert re.search(r"Shown are 5\d of 300 trials: the best 50 complete ones and the configurations", text)
    assert (tmp_path / "report.html").stat().st_size < 8e6


def test_the_file_replaces_an_older_one_and_leaves_nothing_beside(tmp_path: Path) -> None:
    (tmp_path / "report.html").write_text("old")
    page(tmp_path, trials=made_up.trials())
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert html.startswith("<!doctype html>") and len(html) < 6e6
    before_plotly = html.split("/**\n* plotly.js")[0]
    assert re.findall(r'\b(?:src|href)="[^"]*', before_plotly) == ['href="data:,']
    assert "default-src 'none'" in before_plotly


def hostile_case(suffix: str = "") -> tuple[StudyRecord, list[TrialRecord]]:
    """A study of hostile names, each of which ends in `suffix`."""
    trials = made_up.trials(8)
    names = [text + suffix for text in HOSTILE]
    for i, text in enumerate(names):
        own = {"schedule.name": text} | {f"model.{name}": 0.1 * (i + k) for k, name in enumerate(names)}
        params = dict(trials[i].params) | own
        curve = tuple(replace(e, validation={**e.validation, text: 0.5, f"loss.{text}": 0.5}) for e in trials[i].epochs)
        searched = dict(trials[i].searched) | own
        changes: dict[str, Any] = {"configuration": text, "worker": text, "end_text": text, "epochs": curve}
        trials[i] = replace(trials[i], params=params, searched=searched, **changes)
    study = made_up.study(name=names[0], text=names[2], data=names[1], versions={names[3]: names[0]})
    return study, trials


def test_hostile_names_stay_text(tmp_path: Path) -> None:
    study, trials = hostile_case()
    text = page(tmp_path, study, trials)
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    for name in HOSTILE:
        assert name not in html
    assert HOSTILE[0] in text
    nonces = set(re.findall(r'<script nonce="([^"]+)"', html))
    assert len(nonces) == 1 and f"script-src 'nonce-{nonces.pop()}'" in html


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
def test_hostile_names_are_inert_in_a_browser_and_every_figure_draws(tmp_path: Path) -> None:
    study, trials = hostile_case()
    page(tmp_path, study, trials)
    command = [
        *(str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
        *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
        *(f"--user-data-dir={tmp_path / 'profile'}", "--enable-logging=stderr", "--virtual-time-budget=8000"),
        *("--dump-dom", (tmp_path / "report.html").as_uri()),
    ]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert "CONSOLE" not in ran.stderr, ran.stderr
    dom = re.sub(r"<script\b.*?</script>", "", ran.stdout, flags=re.DOTALL)
    title = re.search(r"<title>(.*?)</title>", dom, flags=re.DOTALL)
    assert title and unescape(title[1]).startswith(HOSTILE[0])
    assert not re.search(r"<(img|b)\b|href=\"https://example", dom)
    assert dom.count('class="main-svg"') >= 5
    drawn = unescape(" ".join(re.findall(r"<text\b.*?</text>", dom, flags=re.DOTALL)))
    assert "<script>document" in drawn and "%{x}" in drawn


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (5e-5, "5e-5"), (0.001611, "0.001611"), (64, "64"), (-0.5, "-0.5"), (True, "True"), ("adam", "adam"),
        (None, "—"), (0.30000000000000004, "0.3"), (float("nan"), "nan"),
    ],
)  # fmt: skip
def test_numbers_have_the_digits_that_mean_something(value: Any, text: str) -> None:
    assert number(value) == text


def test_differences_keep_two_digits_and_deviations_set_the_decimals() -> None:
    assert decimals_for(0.446, 0.600, difference=0.154) == 3
    assert decimals_for(0.9912, 0.9918, difference=0.0006) == 5
    assert plus_minus(0.5249, 0.0552) == "0.525 ± 0.055"
    assert plus_minus(0.1444, 0.0174, sign=True) == "+0.144 ± 0.017"
    assert plus_minus(0.5, 1e-17) == "0.500"
    assert fixed(-0.0001, 2, sign=True) == "0.00"
    assert [change(0.1, 1), change(0.3, 0.4), change(1e-3, 5e-4), change(0, 1)] == ["\u00d710", "+33 %", "\u00f72", ""]
