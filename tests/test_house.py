"""The rules of the house, read off the sources: who imports, prints, starts processes, speaks SQL, loads files."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import click
import pytest
import yaml

from hpo.cli.group import COMMANDS
from hpo.cli.group import hpo as group
from hpo.files import RunFiles
from hpo.store import Store
from tests.store.parts import facts

ROOT = Path(__file__).parents[1]
ROOMS = ("hpo", "models", "objectives")
#: Lines of a file; `strict_yaml` is one subject with many messages.
MOST_LINES, LONGER = 330, {"hpo/strict_yaml.py": 350}
FILES = sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), str(path))


def imports(path: Path, *, everywhere: bool = True) -> Iterator[str]:
    """Modules that a file imports; with `everywhere=False` only those that its own import imports."""
    for node in ast.walk(tree(path)) if everywhere else at_import(tree(path).body):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name_of(path)}: relative import"
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def at_import(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    for node in body:
        if not (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)):
            yield node


def calls(path: Path) -> Iterator[tuple[str, ast.Call]]:
    """Every call in a file with the name of what is called, `torch.load`."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def imported_by(package: str) -> set[str]:
    return {name_of(path) for path in FILES for name in imports(path) if name.split(".")[0] == package}


def outside(names: set[str], *allowed: str) -> set[str]:
    """Those that are in none of the allowed files and folders."""
    return {name for name in names if not any(name == a or name.startswith(f"{a}/") for a in allowed)}


# ---- imports point downwards


def test_models_import_nothing_of_ours() -> None:
    found = {n.split(".")[0] for path in FILES if name_of(path).startswith("models/") for n in imports(path)}
    assert not found & {"hpo", "objectives"}


def test_objectives_import_models_and_the_contract() -> None:
    allowed = re.compile(r"hpo(\.objective(\..*)?|\.arrays(\..*)?)?|(models|objectives)(\..*)?")
    for path in FILES:
        if name_of(path).startswith("objectives/"):
            ours = [name for name in imports(path) if name.split(".")[0] in ROOMS]
            assert [name for name in ours if not allowed.fullmatch(name)] == [], name_of(path)
            at_once = [name for name in imports(path, everywhere=False) if name.startswith("hpo.arrays")]
            assert at_once == [], f"{name_of(path)} needs hpo.arrays for types alone"


def test_the_service_knows_no_objective_and_no_model() -> None:
    assert outside(imported_by("objectives") | imported_by("models"), "objectives", "models") == set()


def test_the_contract_is_six_files_without_torch() -> None:
    parts = ("objective", "split", "params", "epoch", "curriculum", "whole")
    found = {name for part in parts for name in imports(ROOT / f"hpo/{part}.py", everywhere=False)}
    ours = {name for name in found if name.startswith("hpo.")}
    assert {name for name in ours if name.split(".")[1] not in parts} == set()
    assert not {name.split(".")[0] for name in found} & {"torch", "optuna", "sqlalchemy"}


def test_only_the_command_line_imports_the_command_line() -> None:
    found = {name_of(path) for path in FILES for name in imports(path) if name.startswith("hpo.cli")}
    assert outside(found, "hpo/cli") == {"hpo/__main__.py"}


def test_no_two_modules_import_each_other() -> None:
    modules = {name_of(path).removesuffix(".py").removesuffix("/__init__").replace("/", "."): path for path in FILES}
    graph = {
        module: {name for name in imports(path, everywhere=False) if name in modules} - {module}
        for module, path in modules.items()
    }
    reached: dict[str, set[str]] = {}

    def below(module: str, path: tuple[str, ...] = ()) -> set[str]:
        assert module not in path, " -> ".join((*path, module))
        if module not in reached:
            children = graph[module] - {module.rpartition(".")[0]}  # importing a package's part imports the package
            reached[module] = children.union(*(below(child, (*path, module)) for child in sorted(children)))
        return reached[module]

    for module in modules:
        below(module)


# ---- one room per trade


def test_only_the_store_speaks_sql() -> None:
    """The dashboard may ask SQLAlchemy whether a storage has its tables; it makes no statement of its own."""
    assert outside(imported_by("sqlalchemy"), "hpo/store") <= {"hpo/dashboard.py"}
    statement = re.compile(r"\b(SELECT|INSERT|UPDATE|DELETE)\b.*\b(FROM|INTO|SET)\b")
    found = {
        name_of(path)
        for path in FILES
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and statement.search(node.value)
    }
    assert outside(found, "hpo/store") == set()


def test_only_the_command_line_prints() -> None:
    said = {"print", "click.echo", "click.secho", "sys.stdout.write", "sys.stderr.write", "pprint", "Console"}
    assert outside({name_of(path) for path in FILES for name, _ in calls(path) if name in said}, "hpo/cli") == set()


def test_only_workers_engines_and_commands_have_processes_and_signals() -> None:
    found = imported_by("subprocess") | imported_by("signal") | imported_by("multiprocessing")
    started = re.compile(r"os\.(fork|kill|exec|spawn|system|popen)")
    found |= {name_of(path) for path in FILES for name, _ in calls(path) if started.match(name)}
    assert outside(found, "hpo/leaving.py", "hpo/engines", "hpo/cli") == set()


#: Modules whose files are code.
CODE = {"pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal", "torch.package", "torch.jit", "torch.hub"}
#: Functions that read files or texts as code, by any name that they are called by.
READS_CODE = re.compile(
    r"(\w+\.)*((unsafe_|full_)load(_all)?|read_pickle|exec_module|__import__|runpy\.\w+)"
    r"|yaml\.(load|compose)(_all)?|eval|exec|compile"
)


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_no_file_that_is_read_can_bring_code_along(path: Path) -> None:
    """One function loads the user's own file, which is code and was hashed and named before."""
    imported = set(imports(path))
    assert not {name for name in imported if name in CODE or name.split(".")[0] in CODE}
    loads = {name for name in imported if re.fullmatch(r"(torch|yaml|numpy)\.\w*(load|save)\w*", name)}
    assert not loads, "called by its module's name, so that this test sees it"
    called = list(calls(path))
    passed_on = [n for n in ast.walk(tree(path)) if isinstance(n, ast.Attribute) and ast.unparse(n) == "torch.load"]
    assert len(passed_on) == sum(name == "torch.load" for name, _ in called), "torch.load is called, not handed on"
    for name, call in called:
        keywords = {k.arg: ast.unparse(k.value) for k in call.keywords}
        where = f"line {call.lineno}: {name}"
        assert keywords.get("allow_pickle", "False") == "False", where
        assert keywords.get("weights_only", "True") == "True", where
        assert name != "torch.load" or "weights_only" in keywords, where
        assert name != "yaml.parse" or keywords.get("Loader") == "yaml.SafeLoader", where
        assert name != "np.save" or "allow_pickle" in keywords, where
        own = (name_of(path), name) == ("hpo/resolve.py", "loader.exec_module")
        assert own or not READS_CODE.fullmatch(name), where


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_no_text_becomes_a_shell_command(path: Path) -> None:
    for name, call in calls(path):
        where = f"line {call.lineno}: {name}"
        assert not re.fullmatch(r"os\.(system|popen)|subprocess\.get(status)?output", name), where
        assert not [k for k in call.keywords if k.arg == "shell"], where


def test_only_what_a_name_stands_for_is_imported_by_name() -> None:
    """A module named by data is code named by data; commands are a table of ours."""
    found = {
        name_of(path)
        for path in FILES
        for name, call in calls(path)
        if name == "importlib.import_module" and not isinstance(call.args[0], ast.Constant)
    }
    assert found == {"hpo/resolve.py", "hpo/cli/group.py"}


def test_commands_run_the_users_code_through_the_function_that_names_it() -> None:
    users = {name_of(path) for path in FILES for name in imports(path) if name == "hpo.resolve.resolve"}
    assert users == {"hpo/cli/group.py", "hpo/final_model.py"}


def test_only_the_terminal_draws() -> None:
    """Other consoles, and colours put into a text, would pass by what makes texts harmless."""
    consoles = {name_of(path) for path in FILES for name in imports(path) if name == "rich.console.Console"}
    assert consoles == {"hpo/cli/terminal.py"}
    colours = {name_of(path) for path in FILES for name, _ in calls(path) if name in ("click.style", "click.secho")}
    assert colours == set()
    escapes = {name_of(path) for path in FILES if re.search(r"\\x1b\[|\\033\[", path.read_text())}
    assert escapes == set()


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_a_file_holds_one_subject(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= LONGER.get(name_of(path), MOST_LINES)


# ---- commands


def commands() -> list[tuple[str, click.Command]]:
    """Every command that users see, with its words: `storage init`."""
    context, found = click.Context(group), []
    for name in COMMANDS:
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            found += [(f"{name} {word}", inner) for word, inner in command.commands.items()]
        elif not command.hidden:
            found.append((name, command))
    return found


@pytest.mark.parametrize(("name", "command"), commands(), ids=[name for name, _ in commands()])
def test_every_command_has_help_with_an_example(name: str, command: click.Command) -> None:
    text = inspect.cleandoc(command.help or "")
    assert len(text.splitlines()[0]) > 20
    assert re.search(rf"^hpo {name}\b", text, re.M), f"no example: {text}"
    options = [option for option in command.params if isinstance(option, click.Option) and not option.hidden]
    obvious = {"workers", "devices"}
    assert {option.name for option in options if not option.help} <= obvious


@pytest.mark.parametrize(("name", "command"), commands(), ids=[name for name, _ in commands()])
def test_help_has_one_word_for_each_thing(name: str, command: click.Command) -> None:
    """Trials begun and training hours are what users read; the table behind them counts tickets."""
    text = command.get_help(click.Context(command))
    assert not re.search(r"\b(tickets?|compute|experiments?|runs? of the search|configs?)\b", text, re.I)


def test_the_group_shows_its_commands() -> None:
    text = group.get_help(click.Context(group))
    assert [name for name, _ in commands() if name.split()[0] not in text] == []


def test_every_command_is_in_the_readme() -> None:
    text = (ROOT / "README.md").read_text()
    assert [name for name, _ in commands() if not re.search(rf"hpo {name}\b", text)] == []


def documents() -> list[Path]:
    return sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("**/*.md"), *(ROOT / "bench").glob("*.md")])


@pytest.mark.parametrize("document", documents(), ids=name_of)
def test_links_lead_to_files_that_exist(document: Path) -> None:
    text = re.sub(r"```.*?```", "", document.read_text(), flags=re.S)
    targets = [target.split("#")[0] for target in re.findall(r"\]\(([^)\s]+)\)", text)]
    local = [target for target in targets if target and not re.match(r"[a-z]+:", target)]
    assert [target for target in local if not (document.parent / target).exists()] == []


@pytest.mark.parametrize("document", documents(), ids=name_of)
def test_documents_name_commands_and_files_that_exist(document: Path) -> None:
    text = document.read_text()
    assert set(re.findall(r"^(?:\$ )?hpo ([a-z]+)\b", text, re.M)) | set(re.findall(r"`hpo ([a-z]+)\b", text)) <= set(
        COMMANDS
    )
    files = re.findall(r"`((?:hpo|models|objectives|tests|bench|docs|deploy|studies)/[\w./-]+\.\w+)`", text)
    assert [file for file in files if not (ROOT / file).exists()] == []


# ---- torch is paid for by those who train: 2.4 s and 0.8 GB

#: Every command that only looks, one after the other; after each, whether torch is there now.
LOOKING = """
import sys
from hpo.cli.group import hpo

for words in (["--help"], ["status"], ["studies"], ["objectives"], ["logs", "made-up", "0"], ["report"],
              ["export", "made-up", "-o", "trials.csv"], ["stop", "made-up"],
              *([command, "--help"] for command in sys.argv[1:])):
    try:
        hpo(words, prog_name="hpo")
    except SystemExit as end:
        code = end.code
    print("::", "_".join(words), code, "torch" in sys.modules, flush=True)
import hpo.dashboard, hpo.engines.local, hpo.study_file, hpo.cli.view
print("::", "dashboard", 0, "torch" in sys.modules)
"""


@pytest.mark.parametrize("words", [("--help",), ("launch", "--help"), ("status",), ("studies",), ("check", "nosuch")])
def test_help_and_refusals_import_nothing_heavy(tmp_path: Path, words: tuple[str, ...]) -> None:
    command = [sys.executable, "-X", "importtime", "-P", "-m", "hpo", *words]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == (0 if "--help" in words else 2)
    imported = set(re.findall(r"^import time:.*\| +(\w+)$", done.stderr, re.M))
    assert "click" in imported and not imported & {"numpy", "optuna", "pandas", "rich", "sqlalchemy", "torch"}


def test_looking_imports_no_torch(tmp_path: Path) -> None:
    files = RunFiles(tmp_path / "runs")
    store, source = Store(files.database_url, create=True), ROOT / "studies/digits.yaml"
    vocabulary = importlib.import_module("objectives.digits").Digits().vocabulary()
    own = {"text": source.read_text(), "source": str(source), "objective": "digits", "vocabulary": vocabulary}
    record = store.studies.create("made-up", {}, **facts(**own, metric="macro_f1"))
    store.leases.new_trial(record.study_id, "w", 0, 9)
    store.close()
    files.trial_log(record.folder, 0).write_text("a line\n")
    command = [sys.executable, "-c", LOOKING, *COMMANDS]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    ends = re.findall(r"^:: (\S+) (\S+) (\S+)$", done.stdout, re.M)
    assert len(ends) == 9 + len(COMMANDS), done.stderr
    assert [f"{words} ended with {code}" for words, code, _ in ends if code != "0"] == [], done.stderr
    assert next((f"{words} imports torch" for words, _, torch in ends if torch == "True"), None) is None


@pytest.mark.parametrize("path", sorted((ROOT / "studies").glob("*.yaml")), ids=name_of)
def test_a_study_searches_what_every_study_does_or_a_comment_says_why_not(path: Path) -> None:
    text = path.read_text()
    searched = {f"{group}.{key}" for group, keys in yaml.safe_load(text)["space"].items() for key in keys}
    comments = " ".join(line.partition("#")[2] for line in text.splitlines())
    usual = (r"optimizer\.lr", r"optimizer\.weight_decay", r"loss\.focal_gamma", r"sampling\.rare_boost_cap")
    for pattern in (*usual, r"loss\.\w+_weight", r"stopping\.patience"):
        found = any(re.fullmatch(pattern, key) for key in searched)
        assert found or pattern.rpartition("_")[2] in comments, pattern
