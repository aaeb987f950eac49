"""One trial of `with_syne_tune`, in a process of its own: hyperparameters come as arguments, results are printed."""

from __future__ import annotations

from argparse import ArgumentParser

from syne_tune import Reporter

from bench.peer.training import FIRST, train

if __name__ == "__main__":
    parser = ArgumentParser()
    for name, value in FIRST[0].items():
        parser.add_argument(f"--{name}", type=type(value))
    options, _ = parser.parse_known_args()
    report = Reporter()
    for epoch, score in enumerate(train(vars(options)), start=1):
        report(epoch=epoch, macro_f1=score)
