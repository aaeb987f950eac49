"""From a name to an objective: built in, in a module, in a file of the user's own; each mistake with its way out."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

from hpo.resolve import built_in, file_hash, resolve
from objectives import BUILT_IN
from tests.toy import Toy

#: A user's objective: shares a folder with a `models.py` of the user's, and uses a data class, which needs its module.
OWN = """\
from dataclasses import dataclass
from hpo.objective import Objective
from tests.toy import Toy

@dataclass
class Options:
    width: int = 3

class Mine(Toy):
    name = "mine"
    options = Options()

class Half(Objective):
    name = "half"
    def labels(self, arrays): return arrays["target"]

not_a_class = 3
"""


@pytest.fixture
def own(tmp_path: Path) -> Path:
    path = tmp_path / "own.py"
    path.write_text(OWN)
    (tmp_path / "models.py").write_text("raise RuntimeError('the wrong models')")
    return path


@pytest.mark.parametrize("name", BUILT_IN)
def test_built_in_objectives_are_found_by_name(name: str) -> None:
    assert resolve(name).name == name
    assert built_in()[name] == BUILT_IN[name][1]


def test_a_class_in_a_module_is_found() -> None:
    assert isinstance(resolve("tests.toy:Toy"), Toy)
    assert file_hash("tests.toy:Toy") is None
    assert file_hash("digits") is None


def test_a_class_in_a_file_is_found_and_shadows_nothing(own: Path) -> None:
    before = set(sys.modules)
    objective = resolve(f"{own}:Mine")
    assert objective.name == "mine"
    added = set(sys.modules) - before
    assert {name for name in added if "own" in name or name.startswith("hpo_user_")} == {type(objective).__module__}
    assert type(resolve(f"{own}:Mine")) is type(objective)  # loaded once
    assert importlib.import_module("models.digits").DigitNet


def test_two_files_of_one_name_are_two_modules(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "own.py").write_text(OWN.replace('"mine"', f'"{folder}"'))
    assert [resolve(f"{tmp_path / folder / 'own.py'}:Mine").name for folder in ("a", "b")] == ["a", "b"]


def test_the_file_of_the_launch_is_accepted_and_a_changed_one_refused(own: Path) -> None:
    reference = f"{own}:Mine"
    digest = file_hash(reference)
    assert resolve(reference, digest).name == "mine"
    own.write_text(OWN + "\n# a comment\n")
    assert file_hash(reference) != digest
    message = f"{own} has changed since the study was launched: restore it, or launch with --new-name"
    with pytest.raises(LookupError, match=re.escape(message)):
        resolve(reference, digest)


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("digit", r"no objective 'digit' \(did you mean digits\?\); your own is module:Class or .*/file\.py:Class"),
        ("xyz", r"no objective 'xyz' \(built in are digits"),
        ("no.such.module:Class", r"cannot import no\.such\.module: No module named 'no'"),
        ("tests.toy:Nothing", r"tests\.toy has no class Nothing derived from hpo\.objective\.Objective"),
        ("tests.toy:ToyNet", r"tests\.toy has no class ToyNet derived from"),
        ("tests.toy:STUDY", r"tests\.toy has no class STUDY derived from"),
        ("hpo.objective:Objective", r"hpo\.objective:Objective does not define labels, losses"),
        ("/no/such/file.py:Class", r"/no/such/file\.py: no such file"),
        ("{own}:Nothing", r"own\.py has no class Nothing derived from"),
        ("{own}:not_a_class", r"own\.py has no class not_a_class derived from"),
        ("{own}:Half", r"own\.py:Half does not define losses, model, predict, prepare, score, split, statistics, sums"),
    ],
)
def test_mistakes_name_the_way_out(own: Path, reference: str, message: str) -> None:
    with pytest.raises(LookupError, match=message):
        resolve(reference.format(own=own))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("import no_such_package", "cannot be loaded: ModuleNotFoundError: No module named 'no_such_package'"),
        ("class Mine(", "cannot be loaded: SyntaxError"),
        ("1 / 0", "cannot be loaded: ZeroDivisionError: division by zero"),
    ],
)
def test_a_file_that_fails_says_why_and_can_be_mended(own: Path, content: str, message: str) -> None:
    own.write_text(content)
    for _ in range(2):
        with pytest.raises(LookupError, match=re.escape(f"{own} {message}")):
            resolve(f"{own}:Mine")
    own.write_text(OWN)
    assert resolve(f"{own}:Mine").name == "mine"


def test_listing_the_objectives_imports_no_torch() -> None:
    code = (
        "import sys; from hpo.resolve import built_in; assert 'digits' in built_in(); sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[1])
