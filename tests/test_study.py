"""Study files: strict reading, every mistake at once, what a trial gets, what may change afterwards."""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FixedTrial

from hpo.objective import LOOP_DEFAULTS, Epoch, Metric, Vocabulary
from hpo.resolve import resolve as resolve_shipped
from hpo.schedule import Validation
from hpo.strict_yaml import DEPTH_LIMIT, SIZE_LIMIT, parse, resolve_scalar
from hpo.study import NAME, Study, StudyError, Target, differences, read_name
from hpo.study_parameters import near_parameter
from objectives import BUILT_IN


class Fake(Vocabulary):
    """The names of an objective that nobody trains."""

    name = "fake"
    terms: tuple[str, ...] = ("class", "peak")
    scores = MappingProxyType({"macro_f1": "maximize", "mae_ms": "minimize", "f1.*": "maximize"})
    prepare_keys = ("clip",)
    defaults = MappingProxyType(
        {
            "data.clip": 16,
            "model.dropout": 0.1,
            "model.width": 32,
            "model.attention": False,
            "loss.class_weight": 1.0,
            "loss.peak_weight": 1.0,
            "loss.focal_gamma": 0.0,
        }
    )


GOOD = """\
study: fake
objective: fake
metric: macro_f1
budget: {trials: 20, epochs: 30}
space:
  optimizer:
    lr: {float: [1e-4, 1e-2], log: true}
  loss:
    focal_gamma: {float: [0, 4], step: 0.5}
  stopping:
    patience: {int: [2, 10], step: 2}
  model:
    attention: {choice: [false, true]}
configurations:
  before: {optimizer: {lr: 1e-4}}
  recommended: {optimizer: {lr: 5e-3}, loss: {focal_gamma: 2.5, class_weight: 2}, model: {attention: true}}
targets:
  - {score: macro_f1, at_least: 0.3, by_epoch: 5}
"""


def resolve(reference: str) -> Vocabulary:
    if reference != "fake":
        raise LookupError(f"no objective {reference!r}")
    return Fake()


def read(text: str = GOOD, source: str = "/studies/fake.yaml") -> Study:
    return Study.from_text(text, source, resolve)


def mistakes(text: str) -> list[str]:
    with pytest.raises(StudyError) as caught:
        read(text)
    return list(caught.value.mistakes)


def changed(old: str, new: str, text: str = GOOD) -> str:
    assert text.count(old) == 1, old
    return text.replace(old, new)


# -- strictness


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 1e-3),
        ("5E+2", 500.0),
        (".5", 0.5),
        ("5.", 5.0),
        ("-7", -7),
        ("0o17", 15),
        ("0x1F", 31),
        ("0", 0),
        *((word, word) for word in ("yes", "no", "on", "off", "y", "N", "tRue")),
        ("true", True),
        ("False", False),
        *((null, None) for null in ("null", "~", "")),
        *((text, text) for text in ("12:30", "1_000", "2026-01-01", "0b11", "1e", "e5", "<<", "=")),
    ],
)
def test_scalars_have_the_types_of_yaml_1_2(text: str, value: object) -> None:
    assert resolve_scalar(text) == value
    assert type(resolve_scalar(text)) is type(value)


@pytest.mark.parametrize("text", ['"1e-3"', "'true'", '"null"', "|\n  12"])
def test_quoted_scalars_are_text(text: str) -> None:
    assert isinstance(parse(f"a: {text}", "x").value["a"].value, str)


def test_keys_are_always_text() -> None:
    assert list(parse("on: 1\n2: 3\nnull: 4", "x").plain()) == ["on", "2", "null"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\na: 3", "line 3: duplicate key 'a', first on line 1: keep one of them"),
        ("a: {b: 1, b: 2}", "line 1: duplicate key 'b', first on line 1: keep one of them"),
        ("a: &x 1", "line 1: anchor &x: anchors are off; write the value out where it is needed"),
        ("a: 1\nb: *x", "line 2: alias *x: aliases are off; write the value out"),
        (
            "a: !!python/object/apply:os.system [ls]",
            "line 1: tag tag:yaml.org,2002:python/object/apply:os.system: tags",
        ),
        ("a: !!int '3'", "line 1: tag tag:yaml.org,2002:int: tags are off"),
        ("a: 010", "line 1: 010 with a leading zero is octal to some readers: write 10"),
        ("a: .nan", "line 1: .nan is not a finite number"),
        ("a: -.inf", "line 1: -.inf is not a finite number"),
        ("a: 1e999", "line 1: 1e999 is not a finite number"),
        ("a: " + "9" * 5000, "is too large a number"),
        ("a: 1\n---\nb: 2", "line 2: a second document starts here: a file holds one study"),
        ("? [a, b]\n: 1", "line 1: a key must be a plain name"),
        ("a:\n\t- 1", "indent with spaces, not with tabs"),
        ("a: [1, 2\nb: 3", "line 1: not YAML: a bracket that is opened here is not closed"),
        ("a: " + "[" * 60000, f"line 1: nested deeper than {DEPTH_LIMIT} levels"),
        ("a: " + "x" * SIZE_LIMIT, "larger than 64 KiB"),
        ("a: \x07", "special characters are not allowed"),
    ],
)
def test_strictness(text: str, message: str) -> None:
    with pytest.raises(StudyError) as caught:
        parse(text, "x.yaml")
    assert message in str(caught.value)


# -- a good file


def test_a_good_file() -> None:
    study = read()
    assert (study.name, study.objective, study.data, study.seed) == ("fake", "fake", None, 0)
    assert study.metric == Metric("macro_f1", "maximize")
    assert dict(study.space) == {
        "optimizer.lr": FloatDistribution(1e-4, 1e-2, log=True),
        "loss.focal_gamma": FloatDistribution(0.0, 4.0, step=0.5),
        "stopping.patience": IntDistribution(2, 10, step=2),
        "model.attention": CategoricalDistribution((False, True)),
    }
    assert list(study.space) == ["optimizer.lr", "loss.focal_gamma", "stopping.patience", "model.attention"]
    assert study.budget.hours is None and (study.folds.count, study.folds.search) == (5, 0)
    assert study.promotion.refit and study.promotion.baseline
    assert study.fixed["model.width"] == 32 and study.fixed["optimizer.weight_decay"] == 1e-2
    assert not set(study.fixed) & set(study.space)
    assert study.fixed["data.batch_size"] == 64 and study.fixed["data.clip"] == 16
    assert study.baseline == "before" and len(study.text_hash) == 64


def test_every_default_of_sampler_and_pruner_is_on_record() -> None:
    study = read()
    assert study.sampler_spec.name == "tpe" and study.sampler_spec.options["startup_trials"] == 10
    assert study.pruner_spec.name == "asha" and study.pruner_spec.options["min_resource"] == 5


def test_paths_are_relative_to_the_file() -> None:
    seen = []

    def remember(reference: str) -> Vocabulary:
        seen.append(reference)
        return Fake()

    text = changed("objective: fake", "objective: ../mine/ears.py:Ears\ndata: raw")
    study = Study.from_text(text, "/home/me/studies/fake.yaml", remember)
    assert study.objective == "/home/me/mine/ears.py:Ears" and seen == [study.objective]
    assert study.data == "/home/me/studies/raw"
    assert Study.from_text(changed("objective: fake", "objective: a.b:C"), "/x", remember).objective == "a.b:C"


def test_read_takes_a_path(tmp_path: Path) -> None:
    path = tmp_path / "fake.yaml"
    path.write_text(GOOD, encoding="utf-8-sig")
    study = Study.read(path, resolve)
    assert study.source == str(path) and study.text == GOOD
    assert differences(study, Study.from_text(study.text, study.source, resolve)) == ([], [])


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"study: \xff", "byte 7 is not UTF-8"), (b"", "the file is null: a mapping"), (None, "cannot be read: No such")],
)
def test_unreadable_files(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "fake.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(StudyError, match=message):
        Study.read(path, resolve)


def test_no_epoch_is_required_beyond_the_budget() -> None:
    study = read(changed("epochs: 30", "epochs: 3").replace("by_epoch: 5", "by_epoch: 3"))
    assert study.fixed["stopping.min_epochs"] == 3 and study.pruner_spec.options["min_resource"] == 3


# -- mistakes

FIVE = """\
study: .hidden
objective: fake
metric: {name: macro_f2, direction: maximize}
budget: {trials: 0, epochs: 10}
space:
  optimizer:
    learning_rate: {float: [1e-4, 1e-2], log: true}
    lr: {float: [1e-2, 1e-4], log: true}
fixed:
  data:
    batch_size: 64
    batch_size: 32
"""


def test_all_mistakes_at_once_with_their_lines() -> None:
    with pytest.raises(StudyError) as caught:
        Study.from_text(FIVE, "studies/x.yaml", resolve)
    assert str(caught.value).splitlines() == [
        "studies/x.yaml: 6 mistakes",
        "  line 1: study is '.hidden': 1 to 64 letters, digits, '.', '_' or '-', "
        "not starting with '.' or '-', are needed",
        "  line 3: metric.name is 'macro_f2', neither a loss nor a score of the objective; did you mean 'macro_f1'?",
        "  line 4: budget.trials is 0: a whole number of at least 1 is needed",
        "  line 7: unknown key 'space.optimizer.learning_rate'; did you mean 'optimizer.lr'?",
        "  line 8: space.optimizer.lr float is [0.01, 0.0001]: low must be below high",
        "  line 12: duplicate key 'batch_size', first on line 11: keep one of them",
    ]


def _known() -> list[str]:
    return list(Fake().parameters())


LR = "lr: {float: [1e-4, 1e-2], log: true}"
GAMMA = "focal_gamma: {float: [0, 4], step: 0.5}"
PATIENCE = "patience: {int: [2, 10], step: 2}"
ATTENTION = "attention: {choice: [false, true]}"
TARGET = "{score: macro_f1, at_least: 0.3, by_epoch: 5}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a:\n  b: 1\n\tc: 2", "line 3: not YAML: a tab: indent with spaces, not with tabs"),
        ("a:\n  x: 0\n  b:1\nc: 2", "line 3: not YAML: a line without 'key: value': write a space after the colon"),
        ("a: b: c", "line 1: not YAML: a colon too many: quote a value that"),
        ("a:\n  b: 1\n   c: 2", "line 3: not YAML: a colon too many: quote a value that holds one, write 'key: value'"),
        (
            "a:\n  - b\n  c: 2",
            "line 3: not YAML: the indentation differs from the lines above, or a list (- a) is mixed",
        ),
        ("a: {b: 1\nc: 2\n", "line 1: not YAML: a bracket that is opened here is not closed"),
        ("a: 'b\nc: 2\n", "line 1: not YAML: a quote that is opened here is not closed"),
        ("a: @b", "line 1: not YAML: a value that starts with a special character: put it in quotes"),
    ],
)
def test_mistakes_of_grammar_say_what_to_mend(text: str, message: str) -> None:
    with pytest.raises(StudyError) as caught:
        parse(text, "x.yaml")
    assert caught.value.mistakes[0].startswith(message)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        # the frame
        (
            "study: fake",
            "study: fake\nfolds: 5",
            "folds is 5: a mapping of keys to values is needed, {count: ..., sear",
        ),
        ("metric: macro_f1", "metric: [macro_f1]", "line 3: metric is ['macro_f1']: a mapping"),
        ("study: fake", "study: fake\nsampler: TPE", "line 2: sampler is 'TPE': did you mean 'tpe'?"),
        ("study: fake", "study: fake\nfolds: {count:5}", "did you mean 'count'? (write a space after the colon)"),
        ("trials: 20", "trials: '20'", "budget.trials is '20': a whole number of at least 1 is needed, without quotes"),
        ("trials: 20", "trials: 20.0", "is 20: a whole number of at least 1 is needed, without a decimal point"),
        (LR, "lr: [1e-4, 1e-2]", "lr is [0.0001, 0.01]: {float: [low, high]}, {int: [low, high]} or {choice: [a, b]}"),
        (LR, "lr: {float: [1e-4, 01]}", "line 7: 01 with a leading zero is octal to some readers: write 1"),
        (GAMMA, "focal_gamma: {float: [0, 4], step: 0}", "space.loss.focal_gamma.step is 0: a number above 0"),
        ("study: fake\n", "", "line 1: study is missing"),
        ("study: fake", "study: a/b", "line 1: study is 'a/b': 1 to 64 letters"),
        ("budget:", "budgte:", "line 4: unknown key 'budgte'; did you mean 'budget'?"),
        ("targets:", "target:", "line 17: unknown key 'target'; did you mean 'targets'?"),
        ("objective: fake", "objective: fak", "line 2: objective 'fak' cannot be loaded (no objective 'fak')"),
        ("objective: fake", "objective: a/b.py", "line 2: objective is 'a/b.py': name the class after a colon"),
        ("metric: macro_f1", "metric: {name: macro_f1, direction: minimize}", "but the objective says maximize"),
        ("metric: macro_f1", "metric: {name: mae_ms, direction: up}", "metric.direction is 'up': known are"),
        ("metric: macro_f1", "metric: f1.*", "line 3: metric is 'f1.*', neither a loss nor a score"),
        ("metric: macro_f1", "metric: train.loss", "trials are judged on validation rows"),
        ("trials: 20", "trials: 1e2", "line 4: budget.trials is 100: a whole number of at least 1"),
        ("trials: 20, ", "", "line 4: budget.trials is missing"),
        ("epochs: 30}", "epochs: 30, hours: 0}", "line 4: budget.hours is 0: a number above 0 is needed"),
        ("study: fake", "study: fake\nseed: yes", "line 2: seed is 'yes': a whole number of at least 0"),
        (
            "study: fake",
            "study: fake\nfolds: {count: 3, search: 3}",
            "folds.search is 3: folds are numbered from 0 to 2",
        ),
        ("study: fake", "study: fake\nsampler: cmaes", "line 2: sampler is 'cmaes': known are tpe, random, gp"),
        ("study: fake", "study: fake\nsampler: {name: tpe, startup: 3}", "did you mean 'startup_trials'?"),
        ("study: fake", "study: fake\npruner: {name: asha, min_resource: 31}", "more than budget.epochs 30"),
        ("study: fake", "study: fake\npruner: {name: asha, reduction_factor: 1}", "a whole number of at least 2"),
        (
            "study: fake",
            "study: fake\npruner: {name: median, n_warmup_steps: 1}",
            "unknown key 'pruner.n_warmup_steps'",
        ),
        (
            "study: fake",
            "study: fake\nvalidation: {full_validation_every: 31}",
            "full_validation_every is 31, more than budget.epochs 30: only the last epoch would be comparable",
        ),
        (
            "study: fake",
            "study: fake\nvalidation: {fast_share: 1.5}",
            "validation.fast_share is 1.5: a number above 0 and below 1 is needed",
        ),
        ("study: fake", "study: fake\nfixed: {loss: {peek_start: 3}}", "did you mean 'loss.peak_start'?"),
        ("study: fake", "study: fake\nfixed: {loss: {peak_start: -1}}", "fixed.loss.peak_start is -1: at least 0"),
        ("study: fake", "study: fake\npromotion: {refit: no}", "promotion.refit is 'no': true or false is needed"),
        # the space
        (LR, "lr: {float: [0, 1], log: true}", "line 7: space.optimizer.lr end is 0: above 0 is needed"),
        (GAMMA, "focal_gamma: {float: [0, 4], log: true}", "with log, low must be above 0"),
        (GAMMA, "focal_gamma: {float: [0, 4], step: 0.3}", "step 0.3 does not divide 0 to 4"),
        (GAMMA, "focal_gamma: {float: [1, 4], step: 0.5, log: true}", "has both log and step: keep one"),
        (GAMMA, "focal_gama: {float: [1, 4]}", "did you mean 'loss.focal_gamma'?"),
        (GAMMA, "lr: {float: [1, 4]}", "unknown key 'space.loss.lr'; did you mean 'optimizer.lr'?"),
        (GAMMA, "zzz: {float: [1, 4]}", "unknown key 'space.loss.zzz'; known are loss."),
        ("space:", "space:\n  schedule: {name: cosin}", "{choice: [a, b]} of cosine, plateau, constant is needed"),
        (
            "study: fake",
            "study: fake\nfixed: {augment: {mixup: 0.2}}",
            "this objective offers no mixup",
        ),
        (GAMMA, "focal_gamma: 2", "space.loss.focal_gamma is 2: {float: [low, high]}, {int:"),
        (GAMMA, "focal_gamma: {float: [0]}", "float is [0]: [low, high] is needed"),
        (GAMMA, "focal_gamma: {}", "needs exactly one of float: [low, high]"),
        (GAMMA, "focal_gamma: {float: [-1, 4]}", "space.loss.focal_gamma end is -1: at least 0 is needed"),
        (GAMMA, "focal_gamma: {int: [0, 4]}", "use float: [low, high], with step: 1 for whole numbers"),
        (PATIENCE, "patience: {float: [2, 10]}", "its default is 10: use int: [low, high]"),
        (PATIENCE, "patience: {int: [2, 9.5]}", "space.stopping.patience end is 9.5: a whole number is needed"),
        (PATIENCE, "patience: {int: [2, 9], step: 2}", "step 2 does not divide 2 to 9"),
        (PATIENCE, "patience: {choice: [10, 10]}", "choice is [10, 10]: each value once"),
        (PATIENCE, "min_epochs: {int: [1, 40]}", "space.stopping.min_epochs up to 40 is more than budget.epochs 30"),
        (ATTENTION, "attention: {choice: [false, yes]}", "choice is 'yes': true or false is needed"),
        (ATTENTION, "attention: {choice: [false]}", "a list of at least two values is needed"),
        (ATTENTION, "attention: {choice: [false, [true]]}", "choice is [true]: one value is needed"),
        (ATTENTION, "attention: {int: [0, 1]}", "its default is false: use choice: [a, b]"),
        ("  model:\n    " + ATTENTION, "  data: {clip: {int: [8, 32]}}", "move it to fixed.data.clip"),
        ("  model:\n    " + ATTENTION, "  modell: {width: 3}", "unknown group 'space.modell'; did you mean 'model'?"),
        ("  model:\n    " + ATTENTION, "  optimizer.lr: 3", "(write optimizer: {lr: ...})"),
        ("  model:\n    " + ATTENTION, "  schedule: {name: {choice: [cosine, cosinus]}}", "did you mean 'cosine'?"),
        ("  model:\n    " + ATTENTION, "  stopping: 3", "line 12: duplicate key 'stopping', first on line 10"),
        # fixed values
        ("study: fake", "study: fake\nfixed: {optimizer: {lr: 1e-3}}", "fixed.optimizer.lr is searched too (line 8)"),
        ("study: fake", "study: fake\nfixed: {data: {batch_size: 0}}", "batch_size is 0: at least 1 is needed"),
        ("study: fake", "study: fake\nfixed: {data: {batch_size: 64.0}}", "is 64: a whole number is needed"),
        (
            "study: fake",
            "study: fake\nfixed: {model: {dropout: '0.1'}}",
            "is '0.1': a number is needed, as its default",
        ),
        ("study: fake", "study: fake\nfixed: {model: {dropout: 1}}", "is 1: at least 0 and below 1 is needed"),
        ("study: fake", "study: fake\nfixed: {model: {dropout: null}}", "is null: one value is needed"),
        ("study: fake", "study: fake\nfixed: {stopping: {monitor: f1}}", "'metric' stands for the study's metric"),
        ("study: fake", "study: fake\nfixed: {stopping: {min_epochs: 31}}", "min_epochs 31 is more than budget.epochs"),
        # configurations
        ("{lr: 1e-4}", "{lr: 1e-1}", "lr is 0.1, outside the searched float [0.0001, 0.01] log on line 7: change one"),
        ("focal_gamma: 2.5", "focal_gamma: 2.4", "is 2.4, outside the searched float [0, 4] step 0.5 on line 9"),
        ("before: {optimizer: {lr: 1e-4}}", "before: {}\n  b: {optimizer: {lr: 0.001}}", "same values as 'before'"),
        ("before: {optimizer", "before: {data: {clip: 8}, optimizer", "set it in fixed.data.clip"),
        ("before: {", "be fore: {", "line 15: configuration 'be fore': 1 to 64 letters"),
        ("targets:", "  again: {optimizer: {lr: 1e-4}}\ntargets:", "has the same values as 'before': drop one"),
        # targets
        (TARGET, "{score: macro_f1, at_most: 0.3}", "does not fit macro_f1: larger is better; use at_least"),
        (TARGET, "{score: mae_ms, at_least: 3}", "does not fit mae_ms: smaller is better; use at_most"),
        (TARGET, "{score: loss.claas, at_most: 3}", "did you mean 'loss.class'?"),
        (TARGET, "{score: macro_f1}", "line 18: targets[0] needs at_least: the number to reach"),
        (TARGET, "{score: macro_f1, at_least: high}", "at_least is 'high': a number is needed"),
        (TARGET, "{score: macro_f1, at_least: 0.3, by_epoch: 31}", "is 31, but budget.epochs is 30"),
        (TARGET, "{gap: loss, at_most: 0.5, by_epoch: 3}", "belongs to a target of the kind score"),
        (TARGET, "{improvement: loss, at_least: 0.1}", "line 18: targets[0].over_epochs is missing"),
        (TARGET, "{score: loss, gap: loss, at_most: 0.1}", "needs exactly one of score, gap and improvement"),
        (TARGET, "{score: loss, balance: [class, peak], at_most: 9}", "balance, with two terms, or epochs: kept"),
        (TARGET, "{balance: [clas, peak], at_most: 9}", "'clas', which is no loss term of the objective; did you mean"),
        (TARGET, "{balance: [class, loss.peak], at_most: 9}", "targets[0].balance names 'loss.peak', which is no loss"),
        (
            TARGET,
            "{balance: [class, 3], at_most: 9}",
            "names 3, which is no loss term of the objective; known are class,",
        ),
        (TARGET, "{balance: [class, class], at_most: 9}", "is ['class', 'class']: two different loss terms are needed"),
        (
            TARGET,
            "{balance: [class], at_most: 9}",
            "is ['class']: two different loss terms are needed, [FIRST, SECOND]",
        ),
        (TARGET, "{balance: class, at_most: 9}", "balance is 'class': two different loss terms are needed"),
        (TARGET, "{balance: [class, .nan], at_most: 9}", "line 18: .nan is not a finite number"),
        (TARGET, "{balance: [class, peak], at_least: 9}", "does not fit a balance: smaller is better; use at_most"),
        (TARGET, "{balance: [class, peak]}", "line 18: targets[0] needs at_most: the number to reach"),
        (TARGET, "{balance: [class, peak], at_most: 1}", "at_most is 1: a number above 1 is needed"),
        (TARGET, "{balance: [class, peak], at_most: 9, by_epoch: 3}", "belongs to a target of the kind score"),
        (TARGET, "{balance: [class, peak], at_most: 9, over_epochs: 3}", "belongs to a target of the kind improvement"),
        (TARGET, "{epochs: best, at_least: 5}", "line 18: targets[0].epochs is 'best': write {epochs: kept,"),
        (TARGET, "{epochs: 5}", "targets[0].epochs is 5: write {epochs: kept, at_least: NUMBER}"),
        (TARGET, "{epochs: kept}", "line 18: targets[0] needs at_least: the number to reach"),
        (TARGET, "{epochs: kept, at_most: 5}", "does not fit epochs: larger is better; use at_least"),
        (TARGET, "{epochs: kept, at_least: 2.5}", "at_least is 2.5: a whole number of at least 1 is needed"),
        (TARGET, "{epochs: kept, at_least: 31}", "is 31, but budget.epochs is 30: it could never be reached"),
        (TARGET, "{epochs: kept, at_least: 5, by_epoch: 9}", "belongs to a target of the kind score"),
        (TARGET, "{epochs: kept, score: loss, at_least: 5}", "or epochs: kept"),
        (TARGET, "3", "targets[0] is 3: a mapping of keys to values is needed"),
    ],
)
def test_one_mistake_is_one_line(old: str, new: str, message: str) -> None:
    found = mistakes(changed(old, new))
    assert len(found) == 1, found
    assert message in found[0]


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("{score: macro_f1, at_least: 0.3, by_epoch: 4}", r"by_epoch is 4: .* measured from epoch 5 on"),
        ("{improvement: loss, at_least: 0.1, over_epochs: 9}", r"over_epochs is 9: .* measured from epoch 10 on"),
        ("{score: macro_f1, at_least: 0.3, by_epoch: 5}", None),
        ("{improvement: loss, at_least: 0.1, over_epochs: 10}", None),
        ("{score: train.macro_f1, at_least: 0.3, by_epoch: 1}", None),
    ],
)
def test_a_target_before_the_first_full_validation_is_refused(target: str, message: str | None) -> None:
    """It would be "not measurable" for ever."""
    text = changed(TARGET, target) + "validation: {full_validation_every: 5}\n"
    if message is None:
        assert len(read(text).targets) == 1
        return
    (found,) = mistakes(text)
    assert re.search(message, found), found


SHAPED = "changes what metric 'loss' measures, so its trials could not be compared: choose another metric, such as"


@pytest.mark.parametrize(
    ("metric", "searched", "lines"),
    [
        ("loss", GAMMA, [f"line 9: space.loss.focal_gamma {SHAPED} macro_f1, or give it one value under fixed"]),
        ("loss", "class_weight: {float: [0.1, 2]}", [f"line 9: space.loss.class_weight {SHAPED} macro_f1, or give"]),
        ("{name: loss, direction: minimize}", "peak_weight: {float: [1, 2]}", ["line 9: space.loss.peak_weight"]),
        # A term is recorded before weighting, and another term may be the one that the exponent shapes.
        ("loss.class", "class_weight: {float: [0.1, 2]}", []),
        ("loss.peak", GAMMA, []),
        ("macro_f1", "class_weight: {float: [0.1, 2]}", []),
    ],
)
def test_a_loss_that_every_trial_defines_for_itself_is_no_metric(metric: str, searched: str, lines: list[str]) -> None:
    text = changed("metric: macro_f1", f"metric: {metric}", GOOD.split("configurations:")[0]).replace(GAMMA, searched)
    if not lines:
        read(text)
        return
    for found, line in zip(mistakes(text), lines, strict=True):
        assert found.startswith(line)


def test_a_configuration_must_not_reshape_the_metric_either() -> None:
    text = changed("metric: macro_f1", "metric: loss").replace(f"  loss:\n    {GAMMA}\n", "")
    text = text.replace("focal_gamma: 2.5, class_weight: 2", "focal_gamma: 0, class_weight: 2")
    (found,) = mistakes(text)
    assert found.startswith(f"line 14: configurations.recommended.loss.class_weight {SHAPED}")


def test_the_only_term_is_no_metric_for_what_shapes_it() -> None:
    class Single(Fake):
        terms: tuple[str, ...] = ("class",)

    text = GOOD.split("configurations:")[0].replace("macro_f1", "loss.class")
    with pytest.raises(StudyError, match=r"focal_gamma changes what metric 'loss\.class' measures"):
        Study.from_text(text, "/x", lambda _: Single())
    Study.from_text(text.replace(GAMMA, "class_weight: {float: [0.1, 2]}"), "/x", lambda _: Single())


def test_what_can_be_checked_is_checked_without_the_objective() -> None:
    text = changed("objective: fake", "objective: missing").replace("trials: 20", "trials: 0")
    text = text.replace("[1e-4, 1e-2]", "[1e-2, 1e-4]").replace("focal_gamma", "unknowable")
    assert [line.split(":")[0] for line in mistakes(text)] == ["line 2", "line 4", "line 7"]


def test_an_objective_that_fails_to_import_is_a_mistake() -> None:
    def broken(reference: str) -> Vocabulary:
        raise SyntaxError("invalid syntax\nin line 3")

    with pytest.raises(StudyError, match=r"line 2: objective 'fake' cannot be loaded \(SyntaxError: invalid syntax in"):
        Study.from_text(GOOD, "/x.yaml", broken)


ODD = ("", "null", "3", "-1", "x", "[]", "[1]", "[[1, 2]]", "{}", "{a: 1}", "{a: {b: 1}}", "'*'", ".nan", "*a", "!t 1")


@pytest.mark.parametrize("odd", ODD)
def test_whatever_stands_in_a_file_the_answer_is_a_study_error(odd: str) -> None:
    """Put an odd value in the place of every value of the file in turn, the deep ones included."""
    full = (
        f"{GOOD}sampler: {{name: tpe, candidates: 9}}\npruner: {{name: asha, min_resource: 2}}\nfolds: {{count: 4}}\n"
    )
    full += "seed: 3\ndata: raw\npromotion: {refit: true}\nfixed: {stopping: {min_epochs: 2}}\n"
    starts = [(m.end(), m.start()) for m in re.finditer(r"(?<=[:,\[]) (?=\S)|: (?=\S)|\[(?=\S)", full)]
    for start, _ in starts:
        value = re.match(r"\{.*\}|\[.*?\]|[^,\]}\n]+", full[start:])
        assert value is not None
        with contextlib.suppress(StudyError):
            read(full[:start] + odd + full[start + value.end() :])


# -- what a trial gets


def test_suggest_takes_searched_values_and_completes_them() -> None:
    point = {"optimizer.lr": 1e-3, "loss.focal_gamma": 1.5, "stopping.patience": 4, "model.attention": True}
    params = read().suggest(FixedTrial(point))
    assert params.optimizer["lr"] == 1e-3 and params.model["attention"] is True and params.loss["class_weight"] == 1.0
    assert set(params.flat()) == set(_known())


def test_suggest_on_a_real_study_uses_the_queue_and_its_configuration() -> None:
    study = read()
    search = optuna.create_study(sampler=study.sampler(3), pruner=study.pruner(), direction=study.metric.direction)
    for name, values in study.configurations.items():
        search.enqueue_trial({k: values[k] for k in study.space}, user_attrs={"configuration": name})
    asked = [(trial := search.ask(), study.suggest(trial)) for _ in range(4)]
    for (trial, params), name in zip(asked, study.configurations, strict=False):
        assert params == study.params(trial.params, name)
        assert params.flat().items() >= study.configurations[name].items()
    assert asked[1][1].loss["class_weight"] == 2.0 and asked[2][1].loss["class_weight"] == 1.0
    for trial, _ in asked:
        assert trial.distributions == dict(study.space) and list(trial.params) == list(study.space)
    assert len({params.key() for _, params in asked}) == 4


def test_configurations_are_complete() -> None:
    before, recommended = read().configurations.values()
    defaults = {"loss.focal_gamma": 0.0, "stopping.patience": 10, "model.attention": False}
    assert dict(before) == {"optimizer.lr": 1e-4, **defaults}
    assert recommended["loss.class_weight"] == 2.0 and isinstance(recommended["loss.class_weight"], float)


def test_without_configurations_the_defaults_are_the_baseline() -> None:
    text = GOOD[: GOOD.index("configurations:")]
    assert read(text).configurations["default"]["optimizer.lr"] == 1e-3
    found = mistakes(changed("[1e-4, 1e-2]", "[1e-5, 1e-4]", text))
    assert len(found) == 1 and "configurations.default has no optimizer.lr" in found[0] and "name a value" in found[0]


def test_params_refuses_an_incomplete_point() -> None:
    with pytest.raises(ValueError, match=r"missing or extra: loss\.focal_gamma, model\.attention"):
        read().params({"optimizer.lr": 1e-3, "stopping.patience": 2})
    with pytest.raises(KeyError, match="no configuration 'x'; known are before, recommended"):
        read().params(dict.fromkeys(read().space, 1), "x")


def test_points_of_the_space() -> None:
    assert read().points() is None
    finite = changed(LR, "lr: {choice: [1e-4, 1e-3, 5e-3]}")
    assert read(finite).points() == 3 * 9 * 5 * 2


def _pruned_at(pruner: str, epochs: int = 30) -> list[int]:
    """The epochs at which a hopeless trial is pruned, after ten good ones."""
    study = read(f"{GOOD}pruner: {pruner}\n")
    search = optuna.create_study(sampler=study.sampler(0), pruner=study.pruner(), direction="maximize")
    for level in [1.0] * 10:
        trial = search.ask()
        for epoch in range(1, epochs + 1):
            trial.report(level, epoch)
            trial.should_prune()  # ASHA records its rungs here
        search.tell(trial, level)
    trial, pruned = search.ask(), []
    for epoch in range(1, epochs + 1):
        trial.report(0.0, epoch)
        pruned += [epoch] if trial.should_prune() else []
    return pruned


@pytest.mark.parametrize(
    ("pruner", "first"),
    [
        ("none", None),
        ("median", 5),
        ("{name: median, min_resource: 3}", 3),
        ("{name: percentile, percentile: 25, min_resource: 7}", 7),
        ("asha", 5),
        ("{name: asha, min_resource: 2, reduction_factor: 2}", 2),
    ],
)
def test_pruners_first_act_at_min_resource(pruner: str, first: int | None) -> None:
    assert next(iter(_pruned_at(pruner)), None) == first


@pytest.mark.parametrize("sampler", ["tpe", "random", "gp", "{name: tpe, startup_trials: 0, multivariate: false}"])
def test_samplers_are_repeatable(sampler: str) -> None:
    study = read(f"{GOOD}sampler: {sampler}\n")
    first, second, other = (
        study.suggest(optuna.create_study(sampler=study.sampler(seed)).ask()).key() for seed in (5, 5, 6)
    )
    assert first == second != other


def test_hyperband_knows_the_longest_training() -> None:
    pruner = read(f"{GOOD}pruner: {{name: hyperband, min_resource: 2}}\n").pruner()
    assert isinstance(pruner, optuna.pruners.HyperbandPruner)
    assert (pruner._min_resource, pruner._max_resource) == (2, 30)


# -- targets


def epochs(*rows: tuple[float, float, float | None]) -> list[Epoch]:
    """Epochs from (training loss, validation loss, macro F1)."""
    return [
        Epoch(
            number=number,
            train={"loss": train, "macro_f1": 0.9},
            validation={"loss": loss} | ({} if f1 is None else {"macro_f1": f1}),
            lr=1e-3,
            gradient_norm=1.0,
            seconds=1.0,
            samples=1,
            peak_memory_mb=1.0,
        )
        for number, (train, loss, f1) in enumerate(rows, start=1)
    ]


CURVE = epochs((1.0, 1.1, 0.1), (0.8, 0.9, 0.4), (0.5, 1.0, 0.6), (0.2, 1.4, 0.5))


@pytest.mark.parametrize(
    ("target", "curve", "expected"),
    [
        ("{score: macro_f1, at_least: 0.5}", CURVE, (0.6, True)),
        ("{score: macro_f1, at_least: 0.7}", CURVE, (0.6, False)),
        ("{score: macro_f1, at_least: 0.5, by_epoch: 2}", CURVE, (0.4, False)),
        ("{score: loss, at_most: 0.95}", CURVE, (1.0, False)),  # of the model that is kept, not the best loss
        ("{score: loss, at_most: 0.95, by_epoch: 4}", CURVE, (0.9, True)),
        ("{score: train.loss, at_most: 0.3, by_epoch: 10}", CURVE, (0.2, True)),
        ("{gap: loss, at_most: 0.5}", CURVE, (0.5, True)),
        ("{gap: macro_f1, at_most: 0.25}", CURVE, (pytest.approx(0.3), False)),
        ("{improvement: loss, at_least: 0.1, over_epochs: 3}", CURVE, (pytest.approx(0.2), True)),
        ("{improvement: macro_f1, at_least: 0.5, over_epochs: 2}", CURVE, (pytest.approx(0.3), False)),
        ("{improvement: loss, at_least: 0.1, over_epochs: 3}", CURVE[:1], (None, None)),
        ("{epochs: kept, at_least: 3}", CURVE, (3.0, True)),  # not the four that it trained
        ("{epochs: kept, at_least: 4}", CURVE, (3.0, False)),
        ("{epochs: kept, at_least: 1}", epochs((1.0, 1.0, None)), (None, None)),
        ("{score: macro_f1, at_least: 0.5}", epochs((1.0, 1.0, None)), (None, None)),
        ("{score: mae_ms, at_most: 0.5}", CURVE, (None, None)),
        ("{score: macro_f1, at_least: 0.5, by_epoch: 2}", [], (None, None)),
    ],
)
def test_targets(target: str, curve: list[Epoch], expected: tuple[float | None, bool | None]) -> None:
    (found,) = read(changed(TARGET, target)).targets
    assert found.reached(curve, Metric("macro_f1", "maximize")) == expected


def test_no_model_is_kept_before_min_epochs() -> None:
    (found,) = read(changed(TARGET, "{score: macro_f1, at_least: 0.55}")).targets
    assert found.reached(CURVE, Metric("macro_f1", "maximize"), min_epochs=4) == (0.5, False)
    (length,) = read(changed(TARGET, "{epochs: kept, at_least: 4}")).targets
    assert length.reached(CURVE, Metric("macro_f1", "maximize"), min_epochs=4) == (4.0, True)


def weighted(peak: float, peak_weight: float) -> Epoch:
    """The kept epoch of a training whose term `class` is 2.0 at weight 0.5."""
    (epoch,) = epochs((3.0, 3.0, 0.5))
    terms = {"loss.class": 2.0, "loss.peak": peak}
    return replace(epoch, train=terms, weights={"class": 0.5, "peak": peak_weight})


@pytest.mark.parametrize("pair", ["[class, peak]", "[peak, class]"])
@pytest.mark.parametrize(
    ("peak", "weight", "expected"),
    [
        (4.0, 1.0, (4.0, True)),
        (0.5, 0.25, (8.0, True)),  # the other one is the larger
        (1.0, 1.0, (1.0, True)),
        (20.0, 0.5, (10.0, True)),
        (0.0005, 1.0, (2000.0, False)),
        (0.0, 1.0, (None, None)),  # nothing to compare with
        (4.0, 0.0, (None, None)),  # still off in the curriculum
    ],
)
def test_a_balance_compares_the_weighted_terms_of_the_kept_epoch(
    pair: str, peak: float, weight: float, expected: tuple[float | None, bool | None]
) -> None:
    (found,) = read(changed(TARGET, f"{{balance: {pair}, at_most: 10}}")).targets
    better = replace(weighted(peak, weight), number=2, validation={"loss": 3.0, "macro_f1": 0.6})
    value, reached = found.reached([weighted(7.0, 7.0), better, weighted(0.1, 9.0)], Metric("macro_f1", "maximize"))
    assert (value, reached) == (expected[0] if expected[0] is None else pytest.approx(expected[0]), expected[1])
    assert found.reached([], Metric("macro_f1", "maximize")) == (None, None)


def test_terms_that_change_places_are_the_same_target() -> None:
    first, second = (
        read(changed(TARGET, f"{{balance: {p}, at_most: 10}}")) for p in ("[class, peak]", "[peak, class]")
    )
    assert first.targets == second.targets and differences(first, second) == ([], [])


def test_a_target_reads_like_a_sentence() -> None:
    both: dict[str, Any] = {"measure": "loss", "direction": "minimize"}
    assert str(read().targets[0]) == "macro_f1 at least 0.3 by epoch 5"
    assert str(Target(kind="gap", at_most=0.5, **both)) == "train-validation gap of loss at most 0.5"
    over = Target(kind="improvement", at_least=0.1, over_epochs=50, **both)
    assert str(over) == "improvement of loss at least 0.1 over 50 epochs"
    balance = Target(kind="balance", measure="class/peak", direction="minimize", at_most=10)
    assert str(balance) == "weighted loss terms class and peak within a factor of 10"
    (length,) = read(changed(TARGET, "{epochs: kept, at_least: 5}")).targets
    assert str(length) == "epochs of the kept model at least 5 on every fold"


# -- launching a changed file


@pytest.mark.parametrize(
    ("old", "new", "line", "allowed"),
    [
        ("trials: 20", "trials: 40", "budget.trials: 20 -> 40", True),
        ("trials: 20", "trials: 10", "budget.trials: 20 -> 10", False),
        ("epochs: 30}", "epochs: 30, hours: 2}", "budget.hours: null -> 2", False),
        ("epochs: 30", "epochs: 60", "budget.epochs: 30 -> 60", False),
        ("at_least: 0.3", "at_least: 0.4", "targets: ['macro_f1 at least 0.3 by epoch 5'] -> ['macro_f1 at", True),
        ("targets:", "  more: {}\ntargets:", "configurations.more: (none) -> {loss.focal_gamma: 0,", True),
        ("  before: {", "  first: {}\n  before: {", "baseline: before -> first", False),
        (
            "focal_gamma: 2.5",
            "focal_gamma: 3",
            "configurations.recommended: {loss.focal_gamma: 2.5} -> {loss.focal_gamma: 3",
            False,
        ),
        (
            "[1e-4, 1e-2], log",
            "[1e-5, 1e-2], log",
            "space.optimizer.lr: float [0.0001, 0.01] log -> float [1e-05,",
            False,
        ),
        ("study: fake", "study: fake\nseed: 1", "seed: 0 -> 1", False),
        ("study: fake", "study: fake\nfixed: {model: {width: 8}}", "fixed.model.width: 32 -> 8", False),
        ("study: fake", "study: fake\npruner: none", "pruner.name: asha -> none", False),
        ("metric: macro_f1", "metric: mae_ms", "metric.name: macro_f1 -> mae_ms", False),
    ],
)
def test_differences(old: str, new: str, line: str, allowed: bool) -> None:
    lines = differences(read(), read(changed(old, new)))[0 if allowed else 1]
    assert any(found.startswith(line) for found in lines), lines
    if allowed:
        assert not differences(read(), read(changed(old, new)))[1]


def test_more_hours_are_allowed_and_layout_does_not_matter() -> None:
    two, four = (read(changed("epochs: 30}", f"epochs: 30, hours: {hours}}}")) for hours in (2, 4))
    assert differences(two, four) == (["budget.hours: 2 -> 4"], [])
    assert differences(two, read()) == (["budget.hours: 2 -> null"], [])
    assert differences(read(), read("# a comment\n" + GOOD.replace("20, ", "20,   "))) == ([], [])


# -- the name alone


def test_read_name_needs_nothing_but_the_name(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text("study: mine.v2\nobjective: nowhere:None\nbudget: 3\n")
    assert read_name(path) == "mine.v2"
    path.write_text("study: a b\n")
    with pytest.raises(StudyError, match="line 1: study is 'a b'"):
        read_name(path)
    path.write_text("objective: x\n")
    with pytest.raises(StudyError, match="study is missing"):
        read_name(path)


@pytest.mark.parametrize("name", [".", "..", "", "a/b", "a b", "ä", "x" * 65, "a\n"])
def test_names_that_are_no_folder(name: str) -> None:
    assert not NAME.fullmatch(name)


def test_reading_does_not_import_torch() -> None:
    code = "import sys, hpo.study, hpo.strict_yaml; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# -- the studies we ship


@pytest.mark.parametrize("name", BUILT_IN)
def test_shipped_studies_are_read(name: str) -> None:
    study = Study.read(Path(__file__).parents[1] / "studies" / f"{name}.yaml", resolve_shipped)
    assert (study.name, study.baseline) == (name, "before") and "recommended" in study.configurations


# ---- validation and curriculum


def test_how_epochs_are_validated_belongs_to_the_study() -> None:
    text = GOOD + "validation: {full_validation_every: 5, fast_share: 0.1, report_every: 2}\n"
    study = Study.from_text(text, "studies/x.yaml", resolve)
    assert study.validation == Validation(full_validation_every=5, fast_share=0.1, report_every=2)
    assert read().validation == Validation()
    allowed, refused = differences(read(), study)
    assert allowed == ["validation.report_every: 5 -> 2"]
    assert refused == ["validation.full_validation_every: 1 -> 5", "validation.fast_share: 0.25 -> 0.1"]


def test_a_curriculum_may_be_searched_when_the_metric_is_the_loss() -> None:
    """Losses are recorded at their full weights, so that they can be compared."""
    text = (
        GOOD[: GOOD.index("configurations")]
        .replace("metric: macro_f1", "metric: loss")
        .replace("    focal_gamma: {float: [0, 4], step: 0.5}", "    peak_start: {int: [0, 5]}")
    )
    assert "loss.peak_start" in Study.from_text(text, "studies/x.yaml", resolve).space


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("optimizer.learning_rate", "optimizer.lr"),
        ("optimizer.wd", "optimizer.weight_decay"),
        ("data.bs", "data.batch_size"),
    ],
)
def test_abbreviations_are_understood(written: str, meant: str) -> None:
    assert near_parameter(written, LOOP_DEFAULTS) == f"did you mean {meant!r}?"
