"""The benchmarks start and run; nothing is timed here."""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import f1_score

from bench.measure import Goal, alternate, ratio, table
from bench.questions import Question
from hpo.arrays import Arrays
from hpo.objective import Fold
from hpo.study import Study
from tests.toy import STUDY, Toy, toy_arrays

REPOSITORY = Path(__file__).parents[1]


@pytest.mark.parametrize("name", ["loop", "overhead", "peers", "gpu", "renewal", "questions"])
def test_help_says_what_is_measured(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    module = importlib.import_module(f"bench.{name}")
    with pytest.raises(SystemExit) as ended:
        module.main(["--help"])
    shown = capsys.readouterr().out
    assert ended.value.code == 0
    assert str(module.__doc__).splitlines()[0] in shown
    assert "--quick" in shown and "--write" in shown


def test_loop_runs() -> None:
    # In a process of its own: it sets the number of torch's threads.
    command = [sys.executable, "-m", "bench.loop", "--quick"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    rows = [
        line.split("|")[1:3]
        for line in done.stdout.splitlines()
        if line.startswith(("| digits", "| abr", "| expression"))
    ]
    sides = [(objective.strip(), side.strip()) for objective, side in rows]
    assert sides == [(o, s) for o in ("digits", "abr", "expression") for s in ("FoldRun", "by hand", "DataLoader")]


def test_questions_are_answered_for_every_configuration() -> None:
    # In a process of its own: it sets the number of torch's threads.
    command = [sys.executable, "-m", "bench.questions", "digits", "--quick", "--repeats", "2"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    rows = [
        [cell.strip() for cell in line.split("|")[1:3]]
        for line in done.stdout.splitlines()
        if line[:1] == "|" and "±" in line
    ]
    assert [name for name, _ in rows] == ["majority predictor", "before", "recommended"]
    assert "- macro_f1, recommended minus before: " in done.stdout and "of 10 pairs" in done.stdout
    assert all(0 < float(score.split()[0]) < 1 for _, score in rows)


def test_the_majority_predictor_scores_as_scikit_learn_says(tmp_path: Path) -> None:
    """Of rows that hold frames of several classes, of which one occurs in training alone."""
    frames = np.random.default_rng(0).choice([-1, 0, 1, 2, 3], size=(120, 9), p=[0.3, 0.2, 0.4, 0.06, 0.04])
    train, validation = np.arange(80), np.arange(80, 120)
    frames[80:] = np.where(frames[80:] == 3, -1, frames[80:])

    class Clips(Toy):
        def class_counts(self, arrays: Arrays) -> np.ndarray:
            return np.stack([np.bincount(row[row >= 0], minlength=4) for row in frames])

    fold, objective = Fold(0, train, validation), Clips()
    study = Study.from_text(STUDY, "/toy.yaml", lambda _: objective)
    question = Question(study=study, objective=objective, arrays=toy_arrays(tmp_path), folds=(fold,))
    truth = frames[validation][frames[validation] >= 0]
    said = np.full_like(truth, 1)
    assert question.majority(fold) == pytest.approx(f1_score(truth, said, average="macro", zero_division=0))
    frames[80:] = -1
    assert question.majority(fold) is None


def test_renewal_runs() -> None:
    # In a process of its own: it wraps the heart and changes the environment.
    command = [sys.executable, "-m", "bench.renewal", "--quick"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    (row,) = [line.split("|") for line in done.stdout.splitlines() if line.startswith("| sqlite")]
    assert float(row[6]) > 0, "some beats were measured"


def test_gpu_needs_a_gpu(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    gpu = importlib.import_module("bench.gpu")
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert gpu.main([]) == 2
    assert capsys.readouterr().err == "bench.gpu measures on a GPU, and torch finds none here\n"


def test_phases_of_the_pause_exist() -> None:
    from bench.turnaround import PHASES

    assert [name for name, (owner, method) in PHASES.items() if not hasattr(owner, method)] == []


def test_sides_take_turns() -> None:
    order: list[str] = []

    def side(name: str, value: float) -> Callable[[], float]:
        def measure() -> float:
            order.append(name)
            return value

        return measure

    found = alternate({"a": side("a", 2.0), "b": side("b", 1.0)}, 3)
    assert "".join(order) == "abbaab"
    assert found == {"a": [2.0] * 3, "b": [1.0] * 3}


def test_ratio_is_taken_within_a_repetition() -> None:
    # Twice as fast throughout, on a machine that slows down: the medians' quotient would say 2.2.
    assert ratio([2.0, 4.0, 40.0], [1.0, 2.0, 20.0]) == 2.0


@pytest.mark.parametrize(
    ("bound", "value", "text"),
    [
        ({"at_most": 1.05}, 1.05, "time: 1.05x, must be at most 1.05x: yes"),
        ({"at_most": 1.05}, 1.06, "time: 1.06x, must be at most 1.05x: NO"),
        ({"at_least": 2.0}, 2.0, "time: 2x, must be at least 2x: yes"),
        ({"at_least": 2.0}, 1.99, "time: 1.99x, must be at least 2x: NO"),
    ],
)
def test_goals(bound: dict[str, float], value: float, text: str) -> None:
    goal = Goal(what="time", value=value, **bound)  # type: ignore[arg-type]
    assert str(goal) == text
    assert goal.reached is text.endswith("yes")


def test_table_is_markdown() -> None:
    assert table(["name", "ms"], [["a", 1.23456], ["bb", 10]]) == (
        "| name |    ms |\n"  #
        "|------|------:|\n"
        "| a    | 1.235 |\n"
        "| bb   |    10 |"
    )
