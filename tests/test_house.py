"""The house rules that a reader relies on, held by reading the source."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hpo.cli.group import COMMANDS, hpo
from tests.conftest import REPOSITORY

ROOMS = ("hpo", "models", "objectives")
SOURCES = [path for room in ROOMS for path in sorted((REPOSITORY / room).rglob("*.py"))]
#: Lines of a file; strict_yaml is one subject with many messages.
LONGEST = 360

#: Prefix of a file -> what it may import of ours. Imports point downwards.
MAY_IMPORT = {
    "models/": ("models",),
    "objectives/": ("models", "objectives", "hpo.objective", "hpo.arrays"),
    "hpo/": ("hpo",),
}
#: Only these speak SQL, print, and start or signal processes.
SQL = ("hpo/store/",)
PRINTERS = ("hpo/cli/", "hpo/worker.py")
PROCESSES = ("hpo/engines/", "hpo/worker.py", "hpo/cli/launch.py")

LOOKING = ("status", "studies", "objectives", "logs", "export", "report", "stop", "delete", "dashboard")


def name(path: Path) -> str:
    return path.relative_to(REPOSITORY).as_posix()


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module or ""


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_imports_point_downwards(path: Path) -> None:
    allowed = next(rooms for prefix, rooms in MAY_IMPORT.items() if name(path).startswith(prefix))
    for module in imported(path):
        if module.split(".")[0] in ROOMS:
            assert any(module == room or module.startswith(room + ".") for room in allowed), f"imports {module}"
        if module.split(".")[0] == "sqlalchemy":
            assert name(path).startswith(SQL), "SQL belongs into hpo/store"
        if module in ("subprocess", "signal", "multiprocessing"):
            assert name(path).startswith(PROCESSES), f"{module} belongs to the engines, the worker and the command line"


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_nothing_loads_code_from_data(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] + [getattr(node, "module", None) or ""]
            assert not {"pickle", "dill", "cloudpickle", "joblib"} & set(names)
        if not isinstance(node, ast.Call):
            continue
        call = ast.unparse(node.func)
        assert call not in ("yaml.load", "yaml.unsafe_load", "yaml.full_load", "eval", "exec")
        if call == "torch.load":
            assert "weights_only=True" in ast.unparse(node)
        if call in ("print", "click.echo"):
            assert name(path).startswith(PRINTERS), "only the command line prints"


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_a_file_holds_one_subject(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= LONGEST


def test_every_command_teaches_and_is_in_the_readme() -> None:
    readme = (REPOSITORY / "README.md").read_text()
    context = hpo.make_context("hpo", ["status"], resilient_parsing=True)
    for command in COMMANDS:
        found = hpo.get_command(context, command)
        assert found is not None and found.help, command
        if found.hidden:
            continue
        assert f"hpo {command}" in readme, f"README.md does not name hpo {command}"
        subcommands = getattr(found, "commands", {}).values() or [found]
        assert all(f"hpo {command}" in (sub.help or "") for sub in subcommands), f"hpo {command} --help has no example"


def test_links_lead_somewhere() -> None:
    for document in [*REPOSITORY.glob("*.md"), *REPOSITORY.glob("docs/*.md")]:
        for target in re.findall(r"\]\((?!https?://|#)([^)#]+)", document.read_text()):
            assert (document.parent / target).exists(), f"{document.name} links to {target}"


def test_commands_that_look_do_not_import_torch(tmp_path: Path) -> None:
    # Each command's module is imported when its help is shown; what it calls is imported by the second loop.
    code = (
        "import sys\nfrom click.testing import CliRunner\nfrom hpo.cli.group import hpo\n"
        f"for words in {[[c, '--help'] for c in COMMANDS]!r}:\n"
        "    assert CliRunner().invoke(hpo, words).exit_code == 0, words\n"
        "import hpo.report, hpo.dashboard, hpo.status, hpo.stored, hpo.store, hpo.engines.local, hpo.cli.view, hpo.study\n"
        "import hpo.study_file\n"
        "assert 'torch' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
