"""The digits study with Ray Tune: OptunaSearch (TPE), ASHA, two trials at a time with one core each.

Usage: `python -m bench.peer.with_ray TRIALS SEED [--reuse-actors]`, in an empty folder.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.tune.schedulers import ASHAScheduler
from ray.tune.search.optuna import OptunaSearch

from bench.peer.training import EPOCHS, FIRST, MIN_EPOCHS, REDUCTION, train


def trainable(config: dict[str, Any]) -> None:
    for score in train(config):
        tune.report({"macro_f1": score})


def main() -> None:
    trials, seed = int(sys.argv[1]), int(sys.argv[2])
    space = {
        "lr": tune.loguniform(1e-4, 3e-2),
        "weight_decay": tune.loguniform(1e-5, 1e-1),
        "rare_boost_cap": tune.loguniform(1.0, 16.0),
        "focal_gamma": tune.quniform(0.0, 4.0, 0.5),
        "label_smoothing": tune.quniform(0.0, 0.2, 0.05),
        "dropout": tune.uniform(0.0, 0.5),
        "patience": tune.randint(3, 11),
    }
    ray.init(num_cpus=2)
    tuner = tune.Tuner(
        tune.with_resources(trainable, {"cpu": 1}),
        param_space=space,
        tune_config=tune.TuneConfig(
            metric="macro_f1",
            mode="max",
            num_samples=trials,
            max_concurrent_trials=2,
            search_alg=OptunaSearch(points_to_evaluate=FIRST, seed=seed),
            scheduler=ASHAScheduler(max_t=EPOCHS, grace_period=MIN_EPOCHS, reduction_factor=REDUCTION),
            reuse_actors="--reuse-actors" in sys.argv,
        ),
        run_config=tune.RunConfig(storage_path=str(Path.cwd() / "ray"), verbose=0),
    )
    results = tuner.fit()
    frames = [result.metrics_dataframe for result in results if result.metrics_dataframe is not None]
    epochs = sum(len(frame) for frame in frames)
    best = max(frame["macro_f1"].iloc[MIN_EPOCHS - 1 :].max() for frame in frames)
    print(json.dumps({"trials": len(results), "epochs": epochs, "best": best}))


if __name__ == "__main__":
    main()
