"""The digits study with Syne Tune: BOHB (its ASHA with a TPE-like model), the local backend, two workers.

Usage: `python -m bench.peer.with_syne_tune TRIALS SEED`, in an empty folder.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from syne_tune import StoppingCriterion, Tuner
from syne_tune.backend import LocalBackend
from syne_tune.config_space import finrange, loguniform, randint, uniform
from syne_tune.optimizer.baselines import BOHB

from bench.peer.training import EPOCHS, FIRST, MIN_EPOCHS, REDUCTION

#: Its default of 5 s between two looks at the workers would be most of the time here.
SLEEP_SECONDS = 0.1


def main() -> None:
    trials, seed = int(sys.argv[1]), int(sys.argv[2])
    space = {
        "lr": loguniform(1e-4, 3e-2),
        "weight_decay": loguniform(1e-5, 1e-1),
        "rare_boost_cap": loguniform(1.0, 16.0),
        "focal_gamma": finrange(0.0, 4.0, 9),
        "label_smoothing": finrange(0.0, 0.2, 5),
        "dropout": uniform(0.0, 0.5),
        "patience": randint(3, 10),
    }
    scheduler = BOHB(
        space,
        metric="macro_f1",
        time_attr="epoch",
        max_t=EPOCHS,
        grace_period=MIN_EPOCHS,
        reduction_factor=REDUCTION,
        do_minimize=False,
        random_seed=seed,
        points_to_evaluate=FIRST,
    )
    tuner = Tuner(
        trial_backend=LocalBackend(entry_point=str(Path(__file__).with_name("syne_tune_trial.py"))),
        scheduler=scheduler,
        # "Stop once more than this number of trials have been started", and let those run to their end.
        stop_criterion=StoppingCriterion(max_num_trials_started=trials - 1),
        wait_trial_completion_when_stopping=True,
        n_workers=2,
        sleep_time=SLEEP_SECONDS,
    )
    tuner.run()
    status = tuner.tuning_status
    best = status.overall_metric_statistics.max_metrics["macro_f1"]
    finished = status.num_trials_finished
    print(json.dumps({"trials": finished, "epochs": status.overall_metric_statistics.count, "best": best}))


if __name__ == "__main__":
    main()
