"""What an objective adds to the reading of its studies: words, ranges, `augment: off`."""

from __future__ import annotations

import json
import re
from types import MappingProxyType

import pytest

from hpo.objective import Vocabulary
from hpo.study import Study, StudyError


class Pictures(Vocabulary):
    """Names of an objective with everything of this page."""

    name = "pictures"
    terms = ("class",)
    scores = MappingProxyType({"accuracy": "maximize"})
    words = MappingProxyType({"loss.null": ("mask", "drop")})
    ranges = MappingProxyType({"augment.shift": (0, 4.5), "model.width": (1, None)})
    defaults = MappingProxyType(
        {
            "loss.class_weight": 1.0,
            "loss.null": "mask",
            "model.weights": "",
            "model.width": 8,
            "augment.shift": 0.5,
            "augment.flips": True,
            "augment.copies": 2,
            "augment.shift_db": 0.0,
        }
    )


class Policies(Pictures):
    """And one whose augmentation has a name."""

    defaults = MappingProxyType({**Pictures.defaults, "augment.policy": "strong"})


TEXT = """\
study: pictures
objective: pictures
metric: accuracy
budget: {trials: 2, epochs: 3}
space:
  optimizer: {lr: {float: [1e-4, 1e-2]}}
"""


def read(more: str, vocabulary: Vocabulary | None = None, source: str = "/studies/pictures.yaml") -> Study:
    return Study.from_text(TEXT + more, source, lambda _: vocabulary or Pictures())


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("fixed: {loss: {'null': drpo}}\n", "line 7: fixed.loss.null is 'drpo': did you mean 'drop'?"),
        (
            "configurations: {a: {loss: {'null': zero}}}\n",
            "line 7: configurations.a.loss.null is 'zero': known are mask, drop",
        ),
        ("fixed: {augment: false}\n", "line 7: fixed.augment is false"),
        ("fixed: {augment: none}\n", "line 7: fixed.augment is 'none': off is needed, or its parameters"),
    ],
)
def test_words_that_are_not_known(more: str, message: str) -> None:
    with pytest.raises(StudyError, match=re.escape(message)):
        read(more)


def test_a_space_of_words_names_those_there_are() -> None:
    with pytest.raises(StudyError, match=re.escape("{choice: [a, b]} of mask, drop is needed")):
        read("  loss: {'null': mask}\n")


def test_words_are_stored_with_a_study_and_older_ones_have_none() -> None:
    record = Pictures().vocabulary()
    assert Vocabulary.from_json(record).words == {"loss.null": ("mask", "drop")}
    del record["words"]
    assert Vocabulary.from_json(record).words == {}


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("fixed: {augment: {shift: -1}}\n", "line 7: fixed.augment.shift is -1: from 0 to 4.5 is needed"),
        ("  augment: {shift: {float: [0, 5]}}\n", "line 7: space.augment.shift end is 5: from 0 to 4.5 is needed"),
        ("  model: {width: {choice: [0, 8]}}\n", "line 7: space.model.width choice is 0: at least 1 is needed"),
        ("configurations: {a: {model: {width: 0}}}\n", "configurations.a.model.width is 0: at least 1 is needed"),
    ],
)
def test_numbers_outside_the_range_of_an_objective(more: str, message: str) -> None:
    with pytest.raises(StudyError, match=re.escape(message)):
        read(more)


def test_what_an_objective_gives_no_range_is_its_own_affair() -> None:
    more = "  augment: {shift_db: {float: [-6, 6]}}\nfixed: {augment: {copies: -3, shift: 4.5}}\n"
    study = read(more)
    assert (study.fixed["augment.copies"], study.fixed["augment.shift"]) == (-3, 4.5)


def test_ranges_are_stored_with_a_study_and_older_ones_have_none() -> None:
    record = json.loads(json.dumps(Pictures().vocabulary()))
    assert Vocabulary.from_json(record).ranges == Pictures.ranges
    del record["ranges"]
    assert Vocabulary.from_json(record).ranges == {}
    stored = read("fixed: {augment: {shift: -3}}\n", Vocabulary.from_json(record))
    assert stored.fixed["augment.shift"] == -3, "an older study is read as it was launched"


@pytest.mark.parametrize("place", ["fixed: {augment: off}\n", "configurations: {a: {augment: off}}\n"])
def test_augment_off_is_strength_zero_throughout(place: str) -> None:
    study = read(place)
    values = {**study.fixed, **next(iter(study.configurations.values()))}
    assert {k: v for k, v in values.items() if k.startswith("augment.")} == {
        "augment.shift": 0.0,
        "augment.flips": False,
        "augment.copies": 0,
        "augment.shift_db": 0.0,
    }


@pytest.mark.parametrize(
    ("more", "vocabulary", "message"),
    [
        ("  augment: off\n", Pictures(), "space.augment is off: write augment: off under fixed or in a configuration"),
        (
            "  augment: {shift: {float: [0.1, 1]}}\nconfigurations: {a: {augment: off}}\n",
            Pictures(),
            "configurations.a.augment.shift is 0, outside the searched float [0.1, 1] on line 7",
        ),
        ("fixed: {augment: off}\n", Policies(), "cannot tell what turns augment.policy off: write its value instead"),
    ],
)
def test_augment_off_where_it_cannot_be(more: str, vocabulary: Vocabulary, message: str) -> None:
    with pytest.raises(StudyError, match=re.escape(message)):
        read(more, vocabulary)
