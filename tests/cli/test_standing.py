"""How far a study has come, in words."""

from __future__ import annotations

from pathlib import Path

from hpo.cli.standing import standing
from hpo.promotion import plan, run_job
from hpo.trial import run_trial
from tests.toy import STUDY, Launched, launch

#: Five configurations, of which the budget reaches three.
MANY = STUDY.replace("trials: 4", "trials: 3") + "".join(
    f"  {name}: {{optimizer: {{lr: {lr}}}}}\n" for name, lr in (("b", 1e-3), ("c", 2e-3), ("d", 3e-3), ("e", 4e-3))
)


def lines(launched: Launched) -> list[str]:
    record = launched.store.studies.get("toy")
    return [line.strip() for line in standing(launched.store, record, 80) if not line.endswith(" of training")]


def made(root: Path, text: str) -> Launched:
    return launch(f"sqlite:///{root / 'hpo.db'}", root, text)


def test_configurations_that_the_budget_does_not_reach_are_not_waiting(tmp_path: Path) -> None:
    launched = made(tmp_path, MANY)
    way = f"d, e; `hpo launch {tmp_path / 'toy.yaml'} --trials 5` tries them"
    assert lines(launched) == [
        "trials     3 waiting; 0 of 3 trials begun",
        f"2 configurations beyond the budget: {way}",
    ]
    for _ in range(3):
        run_trial(launched.trial(), launched.search, launched.around)
    first, second, *_ = lines(launched)
    assert first == "trials     3 complete; 3 of 3 trials begun"
    assert second == f"2 configurations never tried: {way}"
    launched.store.close()


def test_a_baseline_that_is_the_best_trial_is_not_compared_with_itself(tmp_path: Path) -> None:
    launched = made(tmp_path, STUDY)
    run_trial(launched.trial(), launched.search, launched.around)
    plan(launched.store, launched.record, launched.spec)
    while (job := launched.job()) is not None:
        run_job(job, launched.around)
        plan(launched.store, launched.record, launched.spec)
    (measured,) = [line for line in lines(launched) if line.startswith("measured")]
    assert measured.endswith(" over all folds; the best trial is the baseline")
    launched.store.close()


def test_work_that_was_given_back_is_not_running(tmp_path: Path) -> None:
    launched = made(tmp_path, STUDY)
    lease = launched.trial()
    assert lines(launched)[0] == "trials     1 running; 1 of 4 trials begun"
    launched.store.leases.give_back_lost("w")
    assert lines(launched)[0] == "trials     1 given back; 1 of 4 trials begun"
    assert lines(launched)[1].startswith("nobody works on it: `hpo launch")
    assert lease.number == 0
    launched.store.close()


def test_the_parameters_of_the_best_trial_are_folded_to_the_terminal(tmp_path: Path) -> None:
    more = "    weight_decay: {float: [0, 0.1]}\n  model: {dropout: {float: [0, 0.4]}}\nfixed:\n"
    text = STUDY.replace("fixed:\n", more)
    launched = made(tmp_path, text.replace("{lr: 3e-2}", "{lr: 3e-2, weight_decay: 0}, model: {dropout: 0.4}"))
    run_trial(launched.trial(), launched.search, launched.around)
    (told,) = (line for line in standing(launched.store, launched.record, 47) if "optimizer.lr" in line)
    assert told.splitlines() == [
        "           optimizer.lr 0.03,",
        "           optimizer.weight_decay 0,",
        "           model.dropout 0.4",
    ]
    launched.store.close()
