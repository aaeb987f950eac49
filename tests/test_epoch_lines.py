"""What the log says about an epoch."""

from __future__ import annotations

from dataclasses import replace

from sklearn.metrics import classification_report

from hpo.epoch import Epoch
from hpo.epoch_lines import epoch_lines, epoch_values, parameter_lines, reference_lines
from hpo.objective import LOOP_DEFAULTS, Params

EPOCH = Epoch(
    number=1,
    train={"loss": 3.0, "loss.signal": 2.0, "loss.class": 0.5, "f1": 0.25},
    validation={"loss": 4.0, "f1": 0.125},
    lr=1e-3,
    gradient_norm=0.7,
    seconds=2.0,
    samples=64,
    peak_memory_mb=100.0,
    weights={"signal": 1.0, "class": 2.0},
    spread={"signal": {"sd": 0.1, "min": 1.8, "max": 2.2}, "class": {"sd": 0.01, "min": 0.49, "max": 0.51}},
)
MAIN = (
    "epoch 1/30 | train loss 3 loss.signal 2 loss.class 0.5 f1 0.25 | validation loss 4 f1 0.125 "
    "| lr 0.001 gradient 0.7 2.00 s"
)


def lines(epoch: Epoch) -> list[str]:
    """With the weights of the epoch before."""
    return list(epoch_lines(epoch, 30, EPOCH.weights))


def test_the_spread_of_batches_and_the_ratios_come_with_the_first_and_every_tenth_epoch() -> None:
    details = [
        "  batches loss.signal 2 (sd 0.1, 1.8 to 2.2)",
        "  batches loss.class 0.5 (sd 0.01, 0.49 to 0.51)",
        "  ratios signal/class 2",
    ]
    assert lines(EPOCH) == [MAIN, *details]
    for number in (10, 30):
        assert lines(replace(EPOCH, number=number))[1:] == details
    for number in (2, 9, 11):
        assert lines(replace(EPOCH, number=number)) == [MAIN.replace("1/30", f"{number}/30")]


def test_weights_are_said_when_they_have_changed() -> None:
    epoch = replace(EPOCH, number=2, weights={"signal": 1.0, "class": 0.25})
    assert lines(epoch)[1] == "  weights signal 1 class 0.25"


def test_what_has_learned_nothing_is_said_once() -> None:
    given = {"majority": {"loss": 4.25, "f1": 0.5}, "constant": {"loss": 4.125}}
    assert lines(replace(EPOCH, references=given))[-1] == (
        "  nothing learned | majority loss 4.25 f1 0.5 | constant loss 4.125"
    )
    assert list(reference_lines(EPOCH)) == []


def test_a_fast_validation_is_called_one() -> None:
    assert lines(replace(EPOCH, full=False))[0] == MAIN.replace("validation", "fast")
    assert lines(replace(EPOCH, number=2, full=False, report={"a": {"recall": 1.0}}))[1:] == [
        "  (fast)  precision     recall   f1-score    support",
        "  a                      1.000",
    ]


def test_a_report_stands_as_scikit_learn_prints_it() -> None:
    truth, found = [0, 0, 0, 1, 1, 2, 2, 2, 2, 1], [0, 0, 1, 1, 0, 2, 2, 2, 0, 1]
    names = ["normal", "low", "synaptopathy"]
    report = classification_report(truth, found, target_names=names, output_dict=True)
    report["accuracy"] = {"recall": report["accuracy"], "support": 10.0}
    printed = classification_report(truth, found, target_names=names, digits=3)
    told = lines(replace(EPOCH, number=5, report=report))[1:]
    wanted = [line.split() for line in printed.splitlines() if line.strip()]
    assert [line.split() for line in told] == wanted
    assert len({len(line) for line in told}) == 1, "columns are aligned"


def test_the_values_are_those_of_the_line() -> None:
    values = epoch_values(replace(EPOCH, gradient_norms={"signal": 0.25}))
    line = next(iter(epoch_lines(replace(EPOCH, gradient_norms={"signal": 0.25}), 30, EPOCH.weights)))
    assert values.pop("seconds") == "2.00"
    for name, value in values.items():
        assert f" {name.removeprefix('train.')} {value}" in line
    assert epoch_values(replace(EPOCH, full=False))["f1"] == "~0.125"


def test_parameters_are_short_lines_by_group() -> None:
    lines = list(parameter_lines(Params.from_flat({**LOOP_DEFAULTS, "optimizer.lr": 0.01})))
    rest = "optimizer.momentum=0.9 optimizer.name=adamw optimizer.weight_decay=0.01"
    assert f"  optimizer.gradient_clip=1.0 optimizer.lr=0.01 {rest}" in lines
    assert all(line.startswith("  ") and len(line) < 200 for line in lines)
    assert sum(line.count("=") for line in lines) == len(LOOP_DEFAULTS)
