"""Ensembles and evaluations against numbers worked out by hand: means of outputs, rows, classes, targets."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from click.testing import CliRunner, Result
from optuna.trial import TrialState

from hpo.arrays import Arrays, Feed
from hpo.cli.group import hpo as group
from hpo.ensemble import Ensemble
from hpo.evaluation import Evaluation, evaluate
from hpo.final_model import FinalModel, ModelError, load_model
from hpo.model_card import SYNTHETIC
from hpo.objective import DataError
from hpo.promotion import plan, run_job
from hpo.quick import WARNING
from tests.toy import CLASSES, CPU, STUDY, Launched, Toy, launch

TARGETS = """\
targets:
  - {score: accuracy, at_least: 0.9999}
  - {score: mae, at_most: 100}
  - {score: mae, at_most: 0.1, by_epoch: 2}
  - {score: train.mae, at_most: 0.1}
  - {gap: accuracy, at_most: 0.1}
"""


@pytest.fixture(scope="module")
def promoted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Launched, Path]]:
    """A study after its promotion, and the folder of its models: of three folds, and the final one."""
    root, threads = tmp_path_factory.mktemp("promoted"), torch.get_num_threads()
    torch.set_num_threads(1)
    found = launch(f"sqlite:///{root / 'hpo.db'}", root, STUDY + TARGETS)
    lease, search = found.trial(), found.search
    search.choose(lease)
    told = partial(search.tell, lease, TrialState.COMPLETE, 0.6)
    found.store.results.finish_trial(lease, told, value=0.6)
    plan(found.store, found.record, found.spec)
    while (job := found.job()) is not None:
        run_job(job, found.around)
        plan(found.store, found.record, found.spec)
    yield found, found.files.model(found.record.folder, 0).parent
    found.store.close()
    torch.set_num_threads(threads)


@pytest.fixture
def folder(promoted: tuple[Launched, Path], tmp_path: Path) -> Path:
    """A copy of the models that may be changed."""
    return Path(shutil.copytree(promoted[1], tmp_path / "models"))


def of_folds(folder: Path, *folds: int) -> dict[str, FinalModel]:
    paths = [folder / f"fold-{fold}-of-trial-0000" for fold in folds]
    return {path.name: load_model(path, objective="tests.toy:Toy") for path in paths}


def changed(folder: Path, **changes: Any) -> None:
    config = yaml.safe_load((folder / "config.yaml").read_text()) | changes
    (folder / "config.yaml").write_text(yaml.safe_dump(config))


def by_hand(models: Mapping[str, FinalModel], arrays: Arrays) -> tuple[np.ndarray, np.ndarray]:
    """Logits `[row, class]` and numbers `[row]`, the means over the networks, worked out in numpy."""
    with torch.inference_mode():
        batch = Feed(arrays, CPU).take(torch.arange(len(arrays)))
        said = [model.network(batch) for model in models.values()]
    logits, number = (np.mean([one[name].double().numpy() for one in said], axis=0) for name in ("logits", "number"))
    return logits, number


def scores_of(logits: np.ndarray, number: np.ndarray, arrays: Arrays, rows: np.ndarray) -> dict[str, float]:
    target, wanted = arrays["target"][rows], arrays["number"][rows]
    right = (logits[rows].argmax(1) == target)[target >= 0]
    error = np.abs(number[rows] - wanted)[np.isfinite(wanted)]
    return {name: float(value.mean()) for name, value in {"accuracy": right, "mae": error}.items() if len(value)}


# ---- what an ensemble says


def test_an_ensemble_says_the_mean_of_what_its_members_say(promoted: tuple[Launched, Path]) -> None:
    """Of logits that is the geometric mean of the probabilities."""
    launched, path = promoted
    models, arrays = of_folds(path, 0, 1, 2), launched.around.arrays
    ensemble = Ensemble(models)
    assert not ensemble.training
    logits, number = by_hand(models, arrays)
    batch = Feed(arrays, CPU).take(torch.arange(len(arrays)))
    with torch.inference_mode():
        found = ensemble(batch)
        each = [torch.softmax(model(batch)["logits"].double(), 1) for model in models.values()]
    # float32 has 24 bits; a mean of three adds their rounding.
    np.testing.assert_allclose(found["logits"], logits, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found["number"], number, rtol=1e-5, atol=1e-6)
    geometric = torch.stack(each).log().mean(0).exp()
    expected = geometric / geometric.sum(1, keepdim=True)
    torch.testing.assert_close(torch.softmax(found["logits"].double(), 1), expected, rtol=1e-5, atol=1e-6)


def test_its_scores_and_predictions_are_those_of_the_mean(promoted: tuple[Launched, Path]) -> None:
    launched, path = promoted
    models, arrays = of_folds(path, 0, 2), launched.around.arrays
    logits, number = by_hand(models, arrays)
    ensemble, some = Ensemble(models), np.arange(3, 90, 4)
    for rows in (np.arange(len(arrays)), some):
        assert ensemble.evaluate(arrays, rows) == pytest.approx(scores_of(logits, number, arrays, rows), rel=1e-5)
    alone = [model.evaluate(arrays)["mae"] for model in models.values()]
    assert ensemble.evaluate(arrays)["mae"] <= np.mean(alone), "Jensen's inequality"
    table = ensemble.predict(arrays)
    np.testing.assert_allclose(table["number"], number, rtol=1e-5, atol=1e-6)
    assert table["prediction"].tolist() == [CLASSES[k] for k in logits.argmax(1)]
    assert table["row"].tolist() == list(range(120))


def test_an_ensemble_of_one_is_the_model(promoted: tuple[Launched, Path]) -> None:
    launched, path = promoted
    models, arrays = of_folds(path, 1), launched.around.arrays
    (alone,) = models.values()
    without_losses = {name: value for name, value in alone.evaluate(arrays).items() if not name.startswith("loss")}
    assert Ensemble(models).evaluate(arrays) == without_losses


def test_outputs_that_not_all_give_are_left_out_and_whole_numbers_are_the_first_ones() -> None:
    one = {"a": torch.tensor([1.0, 2.0]), "frames": torch.tensor([3, 4]), "more": torch.zeros(2)}
    other = {"a": torch.tensor([3.0, -4.0]), "frames": torch.tensor([5, 4])}
    found = Toy().combined([one, other])
    assert {name: value.tolist() for name, value in found.items()} == {"a": [2.0, -1.0], "frames": [3, 4]}


# ---- models that do not go together


class Grown(Toy):
    """Its classes must be the same, and who has learnt to look has to see."""

    def misfit(self, info: Mapping[str, Any], trained: Mapping[str, Any]) -> str:
        if list(info["classes"]) != list(trained["classes"]):
            return f"the classes are {', '.join(info['classes'])}"
        return "there are no videos" if trained.get("video") and not info.get("video") else ""


def test_models_that_differ_are_named_with_what_differs(folder: Path) -> None:
    models = of_folds(folder, 0, 1, 2)
    first, second, third = models
    models[second].config = {**models[second].config, "objective": "abr"}
    changed(folder / third, params={**models[third].params.flat(), "data.rows": 60})
    models[third] = of_folds(folder, 2)[third]
    models[third].info = {**models[third].info, "classes": ["rare", "often"]}
    with pytest.raises(ModelError) as refused:
        Ensemble(models)
    assert str(refused.value).splitlines() == [
        f"{second} and {first} cannot be combined: it is a model of abr, the first one of tests.toy:Toy",
        f"{third} and {first} cannot be combined: its data are prepared with data.rows: 60, those of the first one "
        "with 120; its classes are rare, often, those of the first one often, seldom, rare",
    ]


def test_what_one_model_needs_the_data_must_have_and_not_the_other_model(folder: Path, tmp_path: Path) -> None:
    paths = [folder / f"fold-{fold}-of-trial-0000" for fold in range(2)]
    for path, more in zip(paths, ({"video": True}, {}), strict=True):
        info = yaml.safe_load((path / "config.yaml").read_text())["info"]
        changed(path, objective="tests.test_ensemble:Grown", info=info | more)
    models = {path.name: load_model(path, objective="tests.test_ensemble:Grown") for path in paths}
    for order in (list(models), list(models)[::-1]):
        ensemble = Ensemble({name: models[name] for name in order})
        with pytest.raises(DataError, match="there are no videos"):
            ensemble.arrays(None, tmp_path / "cache")
    models[paths[1].name].info["classes"] = ["rare"]
    with pytest.raises(ModelError, match="cannot be combined: the classes are rare"):
        Ensemble(models)


# ---- evaluations: rows


def scored(models: dict[str, FinalModel], arrays: Arrays, **options: Any) -> Evaluation:
    return evaluate(models, arrays, **{"rows": "unseen", "by_class": False, **options})


def test_only_rows_that_no_model_was_trained_on_are_scored(promoted: tuple[Launched, Path]) -> None:
    launched, path = promoted
    arrays, split = launched.around.arrays, launched.around.split
    alone, pair = of_folds(path, 0), of_folds(path, 0, 1)
    own = np.union1d(split.folds[0].validation, split.test)
    found = scored(alone, arrays)
    assert (found.scored, found.of, found.ensemble) == (len(own), 120, None)
    assert found.note == f"scored on {len(own)} rows that the model was not trained on"
    logits, number = by_hand(alone, arrays)
    expected = scores_of(logits, number, arrays, own)
    assert {name: found.models[0].scores[name] for name in expected} == pytest.approx(expected, rel=1e-5)
    together = scored(pair, arrays)
    assert (together.scored, together.note) == (20, "scored on 20 rows that none of the models was trained on")
    assert together.ensemble is not None
    assert together.ensemble.scores == pytest.approx(scores_of(*by_hand(pair, arrays), arrays, split.test), rel=1e-5)
    every = scored(pair, arrays, rows="all")
    assert (every.scored, every.note) == (120, "scored on all 120 rows; none of the models was trained on 20 of them")


def test_where_all_rows_were_trained_on_all_are_scored_and_it_is_said(folder: Path, promoted: Any) -> None:
    arrays = promoted[0].around.arrays
    without_test_rows(folder)
    final = {"final": load_model(folder / "trial-0000", objective="tests.toy:Toy")}
    assert (scored(final, arrays).scored, scored(final, arrays).note) == (
        120,
        "the model was trained on these rows; its scores on rows it has not seen are in metrics.json",
    )
    found = scored(of_folds(folder, 0, 1), arrays)
    said = "at least one of the models was trained on each of these rows: --data names others"
    assert (found.scored, found.note) == (120, said)


def without_test_rows(folder: Path) -> None:
    for path in folder.iterdir():
        rows = json.loads((path / "rows.json").read_text())
        (path / "rows.json").write_text(json.dumps({key: {**parts, "test": []} for key, parts in rows.items()}))


def test_rows_that_were_trained_on_reach_and_miss_no_target(folder: Path, promoted: Any, tmp_path: Path) -> None:
    """Each model by itself: one that has never seen the data is judged on them beside one that has."""
    launched = promoted[0]
    arrays, split = launched.around.arrays, launched.around.split
    every = scored(of_folds(folder, 0), arrays, rows="all").models[0]
    assert every.trained_on == len(split.folds[0].train)
    without_test_rows(folder)
    (folder / "fold-2-of-trial-0000" / "rows.json").write_text("{}")
    changed(folder / "fold-2-of-trial-0000", fingerprint="of other data")
    found = scored(of_folds(folder, 0, 1, 2), arrays)
    assert found.ensemble is not None
    one, two, other = found.models
    own = [len(fold.validation) for fold in split.folds]
    assert [c.trained_on for c in (one, two, other, found.ensemble)] == [120 - own[0], 120 - own[1], 0, 120]
    for column in (every, one, two, found.ensemble):
        assert [judged.reached for judged in column.targets] == [None, None]
        assert [judged.value for judged in column.targets] == [column.scores["accuracy"], column.scores["mae"]]
    assert [judged.reached for judged in other.targets] == [False, True]
    paths = [folder / f"fold-{fold}-of-trial-0000" for fold in range(3)]
    table = command(tmp_path, "evaluate", paths[0], "--with", paths[1], "--with", paths[2]).stdout.splitlines()
    cells = [re.split("  +", line) for line in table if line.startswith("mae at most")]
    assert [re.sub(r"^\S+ ", "", cell) for cell in cells[0][1:]] == [
        "trained on these rows",
        "trained on these rows",
        "reached",
        "trained on these rows",
    ]
    plain = json.loads(command(tmp_path, "evaluate", paths[0], "--rows", "all", "--json").stdout)["models"][
        str(paths[0])
    ]
    assert plain["targets"][1]["reached"] is None and plain["trained_on"] == 120 - own[0]


UNKNOWN = "which of these rows were trained on is not known, so that each of them counts as trained on"


def test_a_folder_of_an_older_version_knows_no_rows_and_counts_as_trained_on_all(folder: Path, promoted: Any) -> None:
    (folder / "fold-0-of-trial-0000" / "rows.json").unlink()
    found = scored(of_folds(folder, 0), promoted[0].around.arrays)
    assert (found.scored, found.note) == (120, UNKNOWN)
    assert scored(of_folds(folder, 0, 1), promoted[0].around.arrays).note == UNKNOWN


def test_what_other_weights_have_seen_is_not_known(folder: Path, tmp_path: Path) -> None:
    one, two = (folder / f"fold-{fold}-of-trial-0000" for fold in range(2))
    done = command(tmp_path, "evaluate", one, "--weights", two / "weights.safetensors", "--json")
    assert done.exit_code == 0, done.output
    assert f"note: {UNKNOWN}\n" in done.stderr
    found = json.loads(done.stdout)
    own = found["models"][str(one)]
    assert (found["rows"]["scored"], own["trained_on"], own["targets"][1]["reached"]) == (120, 120, None)


def test_of_new_data_every_row_is_scored_and_an_overlap_may_be(folder: Path, promoted: Any, tmp_path: Path) -> None:
    (tmp_path / "rows.txt").write_text("37")
    models = of_folds(folder, 0, 1)
    arrays = Ensemble(models).arrays(tmp_path / "rows.txt", tmp_path / "cache")
    found = scored(models, arrays)
    rest = "trained on, by their fingerprint; rows that are in both cannot be told apart"
    assert (found.scored, found.of, found.note) == (37, 37, f"other data than the models were {rest}")
    assert scored(of_folds(folder, 0), arrays).note == f"other data than the model was {rest}"
    stranger = folder / "fold-1-of-trial-0000"
    (stranger / "rows.json").unlink()
    changed(stranger, fingerprint="0" * 64)
    mixed = of_folds(folder, 0, 1)
    said = scored(mixed, promoted[0].around.arrays).note
    assert (
        said == f"scored on 54 rows that none of the models was trained on; other data than {list(mixed)[1]} was {rest}"
    )


def test_rows_that_the_data_do_not_have_are_named(folder: Path, promoted: Any) -> None:
    file = folder / "fold-0-of-trial-0000" / "rows.json"
    rows = json.loads(file.read_text())
    file.write_text(json.dumps({key: {**parts, "test": [120]} for key, parts in rows.items()}))
    with pytest.raises(ModelError, match=r"fold-0-of-trial-0000/rows\.json names row 120 of data that have 120 rows"):
        scored(of_folds(folder, 0), promoted[0].around.arrays)


# ---- evaluations: classes and targets


def test_rows_of_each_class_are_scored_by_themselves(promoted: tuple[Launched, Path]) -> None:
    launched, path = promoted
    arrays, models = launched.around.arrays, of_folds(path, 0, 1)
    found = scored(models, arrays, rows="all", by_class=True)
    numbers = {**{name: k for k, name in enumerate(CLASSES)}, "no class": -1}
    rows = {name: np.flatnonzero(arrays["target"] == number) for name, number in numbers.items()}
    assert dict(found.classes) == {name: len(members) for name, members in rows.items()}
    assert found.ensemble is not None
    logits, number = by_hand(models, arrays)
    for name, members in rows.items():
        expected = scores_of(logits, number, arrays, members)
        assert dict(found.ensemble.by_class[name]) == pytest.approx(expected, rel=1e-5), name
    assert list(found.models[0].by_class) == [*CLASSES, "no class"]


def test_targets_of_a_trained_models_scores_are_judged(promoted: tuple[Launched, Path]) -> None:
    launched, path = promoted
    found = scored(of_folds(path, 0, 1), launched.around.arrays)
    assert found.ensemble is not None
    for column in (*found.models, found.ensemble):
        judged = [(str(one.target), one.value, one.reached) for one in column.targets]
        assert judged == [
            ("accuracy at least 0.9999", column.scores["accuracy"], False),
            ("mae at most 100", column.scores["mae"], True),
        ]


@pytest.mark.parametrize(
    "target",
    [{}, "mae", {"score": "mae"}, {"score": "nosuch", "at_most": 1}, {"score": "mae", "at_most": "low"}],
)
def test_a_target_that_is_none_is_named(folder: Path, promoted: Any, target: Any) -> None:
    changed(folder / "fold-0-of-trial-0000", targets=[target])
    with pytest.raises(ModelError, match=r"fold-0-of-trial-0000: config\.yaml names a target that is none"):
        scored(of_folds(folder, 0), promoted[0].around.arrays)


# ---- what the command writes


def command(tmp_path: Path, *words: object) -> Result:
    own = ["--objective", "tests.toy:Toy", "--runs", str(tmp_path / "runs")]
    return CliRunner().invoke(group, [*map(str, words), *own], prog_name="hpo")


def test_one_model_is_a_list_and_several_are_a_table(folder: Path, tmp_path: Path) -> None:
    one, two = (folder / f"fold-{fold}-of-trial-0000" for fold in range(2))
    done = command(tmp_path, "evaluate", one)
    assert done.exit_code == 0, done.output
    assert "note: scored on 54 rows that the model was not trained on\n" in done.stderr
    alone = [line.split() for line in done.stdout.splitlines()]
    assert [line[0] for line in alone if line] == [
        *"loss loss.class loss.number accuracy mae target accuracy mae".split()
    ]
    assert alone[-2][-1] == "missed" and alone[-1][-1] == "reached"
    done = command(tmp_path, "evaluate", one, "--with", two, "--by-class")
    lines = [line.split() for line in done.stdout.splitlines()]
    assert lines[0] == ["measure", one.name, two.name, "ensemble"]
    assert [line[-1] for line in lines[1:4]] == ["—"] * 3, "an ensemble has no losses"
    assert lines[6:8] == [[], ["target", one.name, two.name, "ensemble"]]
    heads = [line for line in done.stdout.splitlines() if "(" in line]
    assert [head.split("  ")[0] for head in heads] == [f"measure, {name}" for name in (one.name, two.name, "ensemble")]
    assert "often (10 rows)  seldom (3 rows)  rare (2 rows)  no class (5 rows)" in heads[0]


def test_without_data_those_that_the_model_was_trained_on_are_taken(folder: Path, tmp_path: Path) -> None:
    one, two = (folder / f"fold-{fold}-of-trial-0000" for fold in range(2))
    source = tmp_path / "rows.txt"
    source.write_text("37")
    changed(one, data=str(source))
    done = command(tmp_path, "evaluate", one)
    assert done.exit_code == 0, done.output
    assert f"data: {source}, as recorded in the model\n" in done.stderr
    assert done.stdout == command(tmp_path, "evaluate", one, "--data", source).stdout
    refused = command(tmp_path, "predict", one, "-o", tmp_path / "o.csv")
    assert refused.exit_code == 2
    assert f"trained on {source}: name the data to use it on, as in hpo predict MODEL DATA" in refused.stderr
    both = command(tmp_path, "evaluate", one, "--with", two)
    assert both.exit_code == 2 and "trained on different data: name those to score them on with --data" in both.stderr
    assert f"{one}: {source}\n" in both.stderr and f"{two}: data of the objective itself\n" in both.stderr
    source.unlink()
    gone = command(tmp_path, "evaluate", one)
    assert gone.exit_code == 2
    assert f"{source}, on which the model was trained, is not there: name the data with --data\n" in gone.stderr


def test_models_that_are_not_to_be_believed_are_warned_of(folder: Path, tmp_path: Path) -> None:
    """Whatever the data are that they are used on; the toy's own are made up."""
    one, two = (folder / f"fold-{fold}-of-trial-0000" for fold in range(2))
    source, out = tmp_path / "rows.txt", tmp_path / "o.csv"
    source.write_text("37")
    changed(one, info=load_model(one, objective="tests.toy:Toy").config["info"] | {"quick": True})
    changed(two, info=load_model(two, objective="tests.toy:Toy").config["info"] | {"synthetic": False})
    said = [f"{one}: {text}" for text in (WARNING, SYNTHETIC)]

    def warned(*words: object) -> list[str]:
        done = command(tmp_path, *words)
        assert done.exit_code == 0, done.output
        if "--json" in words:
            told = [f"WARNING    {text}" for text in json.loads(done.stdout)["warnings"]]
            assert told == [line for line in done.stderr.splitlines() if line.startswith("WARNING")]
        assert "WARNING" not in done.stdout
        return [line.removeprefix("WARNING    ") for line in done.stderr.splitlines() if line.startswith("WARNING")]

    assert warned("evaluate", one, "--data", source, "--json") == said
    assert warned("predict", one, source, "-o", out) == said
    assert warned("evaluate", two, "--with", one, "--data", source, "--json") == said
    assert warned("predict", two, source, "--with", one, "-o", out) == said
    assert warned("evaluate", two, "--data", source, "--json") == []
    other = ("--weights", two / "weights.safetensors")
    assert warned("evaluate", one, "--data", source, *other, "--json") == [], "nothing is known of such weights"


def test_json_has_everything(folder: Path, tmp_path: Path) -> None:
    one, two = (folder / f"fold-{fold}-of-trial-0000" for fold in range(2))
    done = command(tmp_path, "evaluate", one, "--with", two, "--by-class", "--json")
    found = json.loads(done.stdout)
    assert found["rows"] == {
        "scored": 20,
        "of": 120,
        "classes": {"often": 10, "seldom": 3, "rare": 2, "no class": 5},
    }
    assert found["note"] == "scored on 20 rows that none of the models was trained on"
    assert list(found["models"]) == [str(one), str(two)]
    for column in (*found["models"].values(), found["ensemble"]):
        assert list(column["by_class"]) == [*CLASSES, "no class"]
        assert column["targets"][1] == {
            "target": "mae at most 100",
            "score": "mae",
            "at_most": 100.0,
            "value": column["scores"]["mae"],
            "reached": True,
        }


def test_models_of_one_name_are_told_apart_by_their_folders(folder: Path, tmp_path: Path) -> None:
    other = shutil.copytree(folder / "trial-0000", tmp_path / "others" / "trial-0000")
    done = command(tmp_path, "evaluate", folder / "trial-0000", "--with", other)
    assert done.stdout.split()[:4] == ["measure", "models/trial-0000", "others/trial-0000", "ensemble"]


def test_a_model_that_is_named_twice_is_refused(folder: Path, tmp_path: Path) -> None:
    for words in (("evaluate",), ("predict", "-o", tmp_path / "o.csv")):
        refused = command(tmp_path, *words, folder / "trial-0000", "--with", folder / "." / "trial-0000")
        assert refused.exit_code == 2
        assert "is named twice: name each model of an ensemble once" in refused.output


def test_models_of_other_objectives_end_the_command_with_what_differs(folder: Path, tmp_path: Path) -> None:
    changed(folder / "fold-1-of-trial-0000", objective="tests.test_ensemble:Grown")
    words = [folder / "fold-0-of-trial-0000", "--with", folder / "fold-1-of-trial-0000"]
    for command_words in (("evaluate", *words), ("predict", *words, "-o", tmp_path / "o.csv")):
        refused = command(tmp_path, *command_words)
        assert refused.exit_code == 2 and "Traceback" not in refused.output
        assert "it is a model of tests.test_ensemble:Grown, the first one of tests.toy:Toy" in refused.output
