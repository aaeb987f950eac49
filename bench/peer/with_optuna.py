"""The digits study as a plain Optuna script: two processes share a study in SQLite.

Usage: `python -m bench.peer.with_optuna TRIALS SEED`, in an empty folder.
"""

from __future__ import annotations

import json
import sys
from multiprocessing import Process

import optuna
from optuna.study import MaxTrialsCallback

from bench.peer.training import FIRST, MIN_EPOCHS, REDUCTION, train

STORAGE, NAME = "sqlite:///optuna.db", "digits"


def objective(trial: optuna.Trial) -> float:
    config = {
        "lr": trial.suggest_float("lr", 1e-4, 3e-2, log=True),
        "weight_decay": trial.suggest_float("weight_decay", 1e-5, 1e-1, log=True),
        "rare_boost_cap": trial.suggest_float("rare_boost_cap", 1.0, 16.0, log=True),
        "focal_gamma": trial.suggest_float("focal_gamma", 0.0, 4.0, step=0.5),
        "label_smoothing": trial.suggest_float("label_smoothing", 0.0, 0.2, step=0.05),
        "dropout": trial.suggest_float("dropout", 0.0, 0.5),
        "patience": trial.suggest_int("patience", 3, 10),
    }
    best = 0.0
    for epoch, score in enumerate(train(config), start=1):
        best = max(best, score) if epoch >= MIN_EPOCHS else best
        trial.report(score, epoch)
        if trial.should_prune():
            raise optuna.TrialPruned
    return best


def work(trials: int, seed: int) -> None:
    study = optuna.load_study(
        study_name=NAME,
        storage=STORAGE,
        sampler=optuna.samplers.TPESampler(seed=seed),
        pruner=optuna.pruners.SuccessiveHalvingPruner(min_resource=MIN_EPOCHS, reduction_factor=REDUCTION),
    )
    study.optimize(objective, callbacks=[MaxTrialsCallback(trials, states=None)])


def main() -> None:
    trials, seed = int(sys.argv[1]), int(sys.argv[2])
    study = optuna.create_study(study_name=NAME, storage=STORAGE, direction="maximize")
    for config in FIRST:
        study.enqueue_trial(config)
    processes = [Process(target=work, args=(trials, 2 * seed + number)) for number in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    found = study.get_trials()
    epochs = sum(len(trial.intermediate_values) for trial in found)
    print(json.dumps({"trials": len(found), "epochs": epochs, "best": study.best_value}))


if __name__ == "__main__":
    main()
