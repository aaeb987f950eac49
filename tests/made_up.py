"""Made-up records of a plausible study: twenty trials with pruned, failed and NaN ones, and its promotion."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from hpo.objective import Direction, Epoch
from hpo.records import FinalRecord, JobRecord, StudyRecord, TrialRecord

START = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)
FOLDS = 5
#: Names a hostile or careless user could choose; each would act if any layer forgot to escape.
HOSTILE = (
    "<script>document.title='owned'</script>",
    "<img src=x onerror=\"document.title='owned'\">",
    "</script><b>bold</b>%{x}{{ 7 * 7 }}",
    "<a href='https://example.org'>link</a>&lt;i&gt;",
)


def direction_of(name: str) -> Direction | None:
    if name.startswith("loss"):
        return "minimize"
    return "maximize" if name.startswith(("f1", "accuracy")) else None


def study(**changes: Any) -> StudyRecord:
    record = StudyRecord(
        study_id=1,
        name="behaviour",
        folder="behaviour",
        text="name: behaviour\nmetric: f1.macro\n",
        text_hash="3f5a" * 16,
        source="/data/studies/behaviour.yaml",
        objective="behaviour",
        objective_hash=None,
        data="/data/recordings",
        fingerprint="9c1e77ab",
        split={
            "folds": [{"train": list(range(800 + i)), "validation": list(range(204 - i))} for i in range(FOLDS)],
            "test": list(range(120)),
        },
        info={"classes": ["rest", "walk"], "rows": 1124},
        vocabulary={},
        versions={"hpo": "0.1.0", "optuna": "5.0.0", "torch": "2.15.0"},
        metric="f1.macro",
        direction="maximize",
        trials=20,
        hours=8.0,
        created=START,
        stop=None,
        exhausted=False,
    )
    return replace(record, **changes)


def params(lr: float, dropout: float, schedule: str = "cosine", gamma: float = 1.5) -> dict[str, Any]:
    return {
        "data.batch_size": 64,
        "model.dropout": dropout,
        "loss.focal_gamma": gamma,
        "optimizer.lr": lr,
        "optimizer.weight_decay": 1e-2,
        "schedule.name": schedule,
        "stopping.min_epochs": 3,
    }


def quality(values: Mapping[str, Any]) -> float:
    """The macro F1 that a configuration tends to: best at lr 1e-3, dropout 0.35, gamma 2.5."""
    lr = math.log10(values["optimizer.lr"]) + 3
    dropout, gamma = values["model.dropout"] - 0.35, values["loss.focal_gamma"] - 2.5
    return float(0.62 - 0.09 * lr**2 - 0.8 * dropout**2 - 0.015 * gamma**2)


def epochs(values: Mapping[str, Any], count: int, seed: int = 0) -> tuple[Epoch, ...]:
    noise = random.Random(seed)
    reach, overfit = quality(values), 0.6 - values["model.dropout"]

    def one(number: int) -> Epoch:
        learned = 1 - math.exp(-number / 6)
        late = max(0, number - 14) * 0.004 * overfit
        f1 = max(0.02, reach * learned - late + noise.gauss(0, 0.008))
        behaviour, pain = 2.4 * (1 - 0.6 * learned), 0.02 * (1 - 0.5 * learned)
        train = {"loss.behaviour": behaviour * (1 - 0.5 * learned * overfit), "loss.pain": pain * 0.9}
        validation = {"loss.behaviour": behaviour + 3 * late, "loss.pain": pain * (1 + noise.gauss(0, 0.03))}
        train |= {"loss": sum(train.values()), "f1.macro": min(0.99, f1 + 0.3 * learned), "accuracy": 0.96 * learned}
        validation |= {"loss": sum(validation.values()), "f1.macro": f1, "accuracy": min(0.97, f1 + 0.15)}
        return Epoch(
            number=number,
            train=train,
            validation=validation,
            lr=values["optimizer.lr"],
            gradient_norm=1.0,
            seconds=21.5,
            samples=800,
            peak_memory_mb=1210.0,
            weights={"behaviour": 1.0, "pain": 1.0 if number > 3 else number / 4},
            spread={
                name.removeprefix("loss."): {"sd": 0.2 * value, "min": 0.6 * value, "max": 1.5 * value}
                for name, value in train.items()
                if name.startswith("loss.")
            },
            gradient_norms={"behaviour": 0.9, "pain": 0.02},
            report=report(f1),
        )

    return tuple(one(number) for number in range(1, count + 1))


def report(f1: float) -> dict[str, dict[str, float]]:
    """A classification report whose macro F1 is this."""
    rows = {"rest": (f1 + 0.1, 150), "walk": (f1 - 0.1, 54), "macro avg": (f1, 204)}
    return {
        name: {"precision": value, "recall": value, "f1-score": value, "support": support}
        for name, (value, support) in rows.items()
    }


def trial(number: int, values: Mapping[str, Any], count: int, **changes: Any) -> TrialRecord:
    curve = epochs(values, count, number)
    late = [e.validation["f1.macro"] for e in curve if e.number >= 3]
    searched = ("optimizer.lr", "model.dropout", "loss.focal_gamma", "schedule.name")
    record = TrialRecord(
        trial_id=100 + number,
        number=number,
        state="COMPLETE",
        value=max(late, default=None),
        params=values,
        searched={name: values[name] for name in searched},
        configuration=None,
        fold=0,
        worker=f"gpu-{number % 2}",
        attempt=1,
        end=None,
        end_text=None,
        started=START + timedelta(minutes=5 * number),
        finished=START + timedelta(minutes=5 * number + 8),
        epochs=curve,
    )
    return replace(record, **changes)


def trials(count: int = 20) -> list[TrialRecord]:
    """`before` and `guess` as configurations, then a search in which every sixth or so ends early."""
    draw = random.Random(7)
    found = [
        trial(0, params(1e-4, 0.1), 24, configuration="before"),
        trial(1, params(5e-5, 0.3, "plateau", 2.5), 24, configuration="guess"),
    ]
    for number in range(2, count):
        values = params(
            10 ** draw.uniform(-5, -1.5), round(draw.uniform(0, 0.7), 3), draw.choice(["cosine", "plateau"]),
            round(draw.uniform(0, 4), 2),
        )  # fmt: skip
        found.append(_searched(number, values))
    return found


def _searched(number: int, values: dict[str, Any]) -> TrialRecord:
    if number == 5:
        text = "loss.behaviour became NaN in epoch 2"
        return trial(number, values, 1, state="PRUNED", value=None, end="nan", end_text=text)
    if number == 11:
        text = "KeyError: 'walk' in objectives/behaviour/objective.py, line 80"
        return trial(number, values, 0, state="FAIL", value=None, end="code_error", end_text=text, searched={})
    if number > 4 and quality(values) < 0.5:
        return trial(number, values, 4, state="PRUNED", end="pruned", end_text="below the median at epoch 4")
    return trial(number, values, 24, attempt=2 if number == 8 else 1)


def jobs(best: int, values: Mapping[str, Any], baseline: Mapping[str, Any]) -> list[JobRecord]:
    """Both candidates on every fold, and the refit."""
    found: list[JobRecord] = []
    for fold in range(-1, FOLDS):
        for role, candidate, chosen in (("best", best, values), ("baseline", 0, baseline)):
            if fold < 0 and role == "baseline":
                continue
            curve = epochs(chosen, 24, 50 + fold + (100 if role == "best" else 0))
            last = {name: value * (1 - 0.06 * fold) for name, value in curve[-1].validation.items()}
            found.append(
                JobRecord(
                    job_id=len(found) + 1,
                    candidate=candidate,
                    role="best" if role == "best" else "baseline",
                    fold=fold,
                    seed=1,
                    state="done",
                    worker="gpu-1",
                    epochs=curve,
                    best_epoch=24,
                    scores=last,
                    end_text=None,
                )
            )
    return found


def final(best: int, found: list[JobRecord], **changes: Any) -> FinalRecord:
    def summary(role: str) -> tuple[dict[str, float], dict[str, float]]:
        columns = [j.scores for j in found if j.role == role and j.fold >= 0 and j.scores]
        mean = {n: sum(c[n] for c in columns) / len(columns) for n in columns[0]}
        return mean, {n: math.sqrt(sum((c[n] - mean[n]) ** 2 for c in columns) / (len(columns) - 1)) for n in mean}

    scores, spread = summary("best")
    baseline_scores, baseline_spread = summary("baseline")
    record = FinalRecord(
        status="done",
        path="/data/runs/behaviour/final",
        candidate=best,
        scores=scores,
        spread=spread,
        baseline_scores=baseline_scores,
        baseline_spread=baseline_spread,
        test_scores={"f1.macro": 0.5713, "accuracy": 0.702},
        end_text=None,
    )
    return replace(record, **changes)
