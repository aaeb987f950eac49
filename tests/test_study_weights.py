"""Files of weights that trials start from: there, unchanged, and fitting, or said once before any trial."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
import yaml
from optuna.trial import TrialState

from hpo.launching import Refused, create_or_resume
from hpo.objective import DataError
from hpo.options import Options
from hpo.promoted_model import save_model
from hpo.records import StudyRecord
from hpo.store import Store
from hpo.study import Study
from hpo.study_weights import require_weights
from hpo.worker import Worker
from tests.test_final_model import REFIT, final_record
from tests.test_training_start import Started
from tests.toy import STUDY, Launched, launch, toy_arrays, toy_run

#: Widths of the toy's network and of the files.
WIDTH, OTHER = 8, 5
FIXED = STUDY.replace("fixed:\n", "fixed:\n  model: {weights: start.pt}\n")
SEARCHED = STUDY.replace("fixed:\n", "  model: {weights: {choice: ['', start.pt, wide.pt]}}\nfixed:\n")


@pytest.fixture(scope="module")
def states(tmp_path_factory: pytest.TempPathFactory) -> dict[int, dict[str, torch.Tensor]]:
    """Weights of toys by their width."""
    arrays = toy_arrays(tmp_path_factory.mktemp("cache"))
    return {width: toy_run(arrays, model__width=width).model.state_dict() for width in (WIDTH, OTHER)}


@pytest.fixture
def write(states: dict[int, dict[str, torch.Tensor]], tmp_path: Path) -> Callable[..., str]:
    """Write weights of that width beside the study file; their SHA-256."""

    def to_file(name: str = "start.pt", width: int = WIDTH, scale: float = 1.0) -> str:
        torch.save({key: value * scale for key, value in states[width].items()}, tmp_path / name)
        return hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()

    return to_file


@pytest.fixture
def launched(tmp_path: Path) -> Iterator[Callable[..., Launched]]:
    made: list[Launched] = []

    def make(text: str = FIXED) -> Launched:
        made.append(launch(f"sqlite:///{tmp_path / 'hpo.db'}", tmp_path, text, Started()))
        return made[-1]

    yield make
    for one in made:
        one.store.close()


def again(launched: Launched, text: str = FIXED) -> list[str]:
    """Launch the file once more; what is said."""
    spec, said = Study.from_text(text, launched.spec.source, lambda _: Started()), list[str]()
    create_or_resume(spec, None, launched.store, launched.files, Started(), None, said.append)
    return [line for line in said if line.startswith("changed")]


def worker(launched: Launched, record: StudyRecord | None = None) -> Worker:
    record = record or launched.record
    return Worker(launched.store, launched.files, record, lambda *_: Started(), Options(threads=1))


def told(launched: Launched) -> None:
    lease, search = launched.trial(), launched.search
    search.choose(lease)
    launched.store.results.finish_trial(lease, lambda: search.tell(lease, TrialState.COMPLETE, 0.5), value=0.5)


# ---- there


def test_they_are_found_relative_to_the_file(tmp_path: Path, write: Callable[..., str]) -> None:
    study = Study.from_text(SEARCHED, str(tmp_path / "toy.yaml"), lambda _: Started())
    with pytest.raises(
        DataError, match=rf"model.weights: no such file: {tmp_path}/start\.pt, {tmp_path}/wide\.pt; paths"
    ):
        require_weights(study)
    expected = {str(tmp_path / name): write(name) for name in ("start.pt", "wide.pt")}
    assert require_weights(study) == expected


def test_every_missing_one_is_named() -> None:
    text = FIXED + "  after: {optimizer: {lr: 2e-2}, model: {weights: /w/c.pt}}\n"
    with pytest.raises(DataError, match=r"no such file: /studies/start\.pt, /w/c\.pt; paths are relative"):
        require_weights(Study.from_text(text, "/studies/toy.yaml", lambda _: Started()))


def test_a_worker_refuses_to_begin_without_them(
    launched: Callable[..., Launched], write: Callable[..., str], tmp_path: Path
) -> None:
    """Instead of ending trial after trial with it; nobody waits for such a worker."""
    write()
    made = launched()
    (tmp_path / "start.pt").unlink()
    with pytest.raises(DataError, match=r"model\.weights: no such file: .*start\.pt; paths are relative"):
        worker(made)
    assert made.store.reading.workers(made.record.study_id) == []


# ---- fitting


def test_a_launch_names_every_start_that_cannot_be_made(
    launched: Callable[..., Launched], write: Callable[..., str], tmp_path: Path
) -> None:
    write(width=OTHER)
    (tmp_path / "text.pt").write_text("weights")
    text = FIXED + "  after: {optimizer: {lr: 2e-2}, model: {weights: text.pt}}\n"
    text += f"  fits: {{optimizer: {{lr: 1e-2}}, model: {{width: {OTHER}}}}}\n"
    with pytest.raises(DataError) as refused:
        launched(text)
    first, before, after = str(refused.value).splitlines()
    assert first == "model.weights: trainings cannot start from these files:"
    assert re.fullmatch(
        rf"  configuration before, {tmp_path}/start\.pt: model\.weights does not fit: .*mismatch.*", before
    )
    assert re.fullmatch(rf"  configuration after, {tmp_path}/text\.pt cannot be read as weights: .*", after)
    store = Store(f"sqlite:///{tmp_path / 'hpo.db'}")
    assert not store.studies.exists("toy")
    store.close()


def test_what_the_search_alone_names_is_tried_too(launched: Callable[..., Launched], write: Callable[..., str]) -> None:
    write()
    write("wide.pt", OTHER)
    with pytest.raises(DataError, match=r"(?s)files:\n  space\.model\.weights, \S+/wide\.pt: .* does not fit: [^\n]*$"):
        launched(SEARCHED)
    both = SEARCHED.replace("wide.pt]}", f"wide.pt]}}, width: {{choice: [{OTHER}, {WIDTH}]}}")
    assert len(launched(both).record.weights) == 2, "which of them fits depends on what is drawn"


# ---- unchanged


def test_their_content_belongs_to_the_study(
    launched: Callable[..., Launched], write: Callable[..., str], tmp_path: Path
) -> None:
    first, path = write(), str(tmp_path / "start.pt")
    made = launched()
    assert made.record.weights == {path: first} and again(made) == []
    second = write(scale=2.0)
    with pytest.raises(DataError) as refused:
        worker(made)
    changed = f"model.weights: the content of {path} has changed since the study was launched"
    assert str(refused.value) == f"{changed}: restore it, or launch the study with --new-name NAME"
    assert again(made) == [f"changed: {changed}"], "no trial has a value yet"
    record = made.store.studies.get("toy")
    assert record.weights == {path: second} and record.info["classes"] == made.record.info["classes"]
    worker(made, record)
    told(made)
    write(scale=3.0)
    with pytest.raises(Refused, match=rf"(?s)launched with something else:\n  {re.escape(changed)}\n.*--new-name"):
        again(made)


def test_those_of_a_further_configuration_come_with_it(
    launched: Callable[..., Launched], write: Callable[..., str], tmp_path: Path
) -> None:
    first = write()
    made = launched()
    text = FIXED + "  after: {optimizer: {lr: 2e-2}, model: {weights: new.pt}}\n"
    write("new.pt", OTHER)
    with pytest.raises(DataError, match=r"configuration after, .*new\.pt: model\.weights does not fit"):
        again(made, text)
    assert made.store.studies.get("toy") == made.record
    second = write("new.pt", scale=2.0)
    again(made, text)
    expected = {str(tmp_path / "start.pt"): first, str(tmp_path / "new.pt"): second}
    assert made.store.studies.get("toy").weights == expected


def test_a_study_without_their_digests_goes_on_with_what_is_there(
    launched: Callable[..., Launched], write: Callable[..., str], tmp_path: Path
) -> None:
    """One that an earlier version has launched."""
    write()
    made = launched()
    info = {key: value for key, value in made.record.info.items() if key != "model.weights"}
    made.store.studies.change(made.record.study_id, {}, info=info)
    older = made.store.studies.get("toy")
    assert older.weights == {}
    told(made)
    second = write(scale=2.0)
    worker(made, older)
    again(made)
    assert made.store.studies.get("toy").weights == {str(tmp_path / "start.pt"): second}


@pytest.mark.parametrize("text", [FIXED, STUDY])
def test_a_model_says_what_it_started_from(
    launched: Callable[..., Launched], write: Callable[..., str], text: str
) -> None:
    digest = write() if text == FIXED else None
    made = launched(text)
    run = made.around.run(REFIT, made.spec.params({"optimizer.lr": 0.02}), epochs=1)
    run.epoch()
    path = save_model(run, made.around, REFIT, final_record(), {})
    assert yaml.safe_load((path / "config.yaml").read_text())["weights_sha256"] == digest
    card = (path / "README.md").read_text()
    assert (f"Started from weights with SHA-256 `{digest}`." in card) == (digest is not None)
    assert ("Started from" in card) == (digest is not None)
