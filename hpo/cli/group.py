"""The group of all commands, what they share, and how users' mistakes become one clear message."""

from __future__ import annotations

import difflib
import errno
import functools
import importlib
import keyword
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from hpo import __version__
from hpo.files import SHIPPED, RunFiles

if TYPE_CHECKING:
    from hpo.objective import Objective
    from hpo.records import StudyRecord
    from hpo.store import Store

Command = TypeVar("Command", bound=Callable[..., Any])

#: Module of each command; imported when it is called or asked for help, so that none pays for another's imports.
COMMANDS = {
    "check": "check",
    "launch": "launch",
    "worker": "worker",
    "prepare": "worker",
    "promote": "launch",
    "status": "look",
    "studies": "look",
    "objectives": "look",
    "logs": "logs",
    "diagnose": "diagnose",
    "export": "look",
    "report": "look",
    "dashboard": "look",
    "stop": "manage",
    "delete": "manage",
    "storage": "storage",
    "evaluate": "models",
    "predict": "models",
    "finetune": "finetune",
    "continue": "continuing",
}


#: Exit code of a command that Ctrl-C has stopped, as shells have it: 128 + SIGINT.
STOPPED = 130


class Commands(click.Group):
    """Loads a command's module on demand, suggests near names, and ends in one way where Ctrl-C is not caught."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:  # click would say "Aborted!" and exit as if the command had failed
            click.echo("\nstopped", err=True)  # the terminal has put ^C on a line of its own
            ctx.exit(STOPPED)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS and (near := difflib.get_close_matches(args[0], COMMANDS, n=1)):
            ctx.fail(f"no command '{args[0]}'; did you mean {near[0]}?")
        return super().resolve_command(ctx, args)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"hpo.cli.{COMMANDS[cmd_name]}")
        # A function cannot have the name of a word of Python.
        command: click.Command = getattr(module, f"{cmd_name}_" if keyword.iskeyword(cmd_name) else cmd_name)
        return command


@dataclass
class Place:
    """Where runs and records are: from --runs, --storage and their environment variables."""

    files: RunFiles
    url: str

    def store(self, *, create: bool = False) -> Store:
        if not create and self.empty:  # said without the half second that importing the store takes
            raise Mistake(
                f"{self.files.root} holds no study yet (hpo.db does not exist): `hpo launch digits` starts one"
            )
        from hpo.store import Store

        return Store(self.url, create=create)

    @property
    def empty(self) -> bool:
        """Whether the runs folder's own database is meant and has not been made yet."""
        return self.url == self.files.database_url and not (self.files.root / "hpo.db").is_file()

    def study(self, name: str) -> StudyRecord | None:
        """The study of that name; None also where there is no database to ask."""
        if self.empty:
            return None
        from hpo.store import StorageError, Unknown

        try:
            return self.store().studies.get(name)
        except (StorageError, Unknown):
            return None


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__)
def hpo() -> None:
    """Search hyperparameters of multi-task nets over cross-validation folds, and prove the best over all of them.

    \b
    hpo launch digits              search, promote and refit; a minute on two cores
    hpo status digits --watch      where it stands
    hpo dashboard                  look at it in a browser
    hpo report digits              what helped, by how much
    """


def placed(function: Command) -> Command:
    """Give a command `place: Place` from --runs and --storage, and turn users' mistakes into exit code 2."""

    @click.option(
        "--runs",
        type=click.Path(file_okay=False, path_type=Path),
        envvar="HPO_RUNS",
        default=Path("runs"),
        show_default=True,
        help="Folder of logs, checkpoints, prepared data, final models and the default database.",
    )
    @click.option(
        "--storage",
        envvar="HPO_STORAGE",
        metavar="URL",
        help="Database, sqlite:///FILE or postgresql://USER:PASSWORD@HOST/NAME; default: hpo.db in the runs folder. "
        "Better in the environment variable HPO_STORAGE.",
    )
    @functools.wraps(function)
    def command(*args: Any, runs: Path, storage: str | None, **kwargs: Any) -> Any:
        files = RunFiles(runs)
        place = Place(files, storage or files.database_url)
        click.get_current_context().obj = place  # for `find_study`
        return mistakes(function)(*args, place=place, **kwargs)

    return command  # type: ignore[return-value]


def mistakes(function: Command) -> Command:
    """Users' mistakes end in one message and exit code 2, never in a traceback."""

    @functools.wraps(function)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except OSError as error:
            if error.filename is None or error.errno not in _OF_PATHS:
                raise
            raise Mistake(f"{error.filename}: {error.strerror}") from error
        except Exception as error:
            if type(error).__name__ in _MISTAKES:
                raise Mistake(str(error)) from error
            if type(error).__name__ in _OF_DATABASES or type(error.__cause__).__name__ == "InsufficientPrivilege":
                from hpo.store import cause

                raise Mistake(f"the database refused: {cause(error)}") from error
            raise

    return guarded  # type: ignore[return-value]


#: By name: importing their modules would import torch. LookupErrors come with a sentence of ours only as `Unknown`.
_MISTAKES = {
    "StudyError",
    "DataError",
    "StorageError",
    "Unreachable",
    "ModelError",
    "Refused",
    "Unknown",
    "DashboardError",
    "FolderError",
}


#: SQLAlchemy's names for a database that has gone, is locked, full or read-only in the middle of a command.
_OF_DATABASES = {"OperationalError", "InternalError"}
#: What a path that the user named can be: not writable, not there, not a folder, on a full or read-only disk, too long.
_OF_PATHS = {errno.EACCES, errno.EPERM, errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EROFS, errno.ENOSPC}
_OF_PATHS |= {errno.ENAMETOOLONG}


class Mistake(click.ClickException):
    """The user's mistake."""

    exit_code = 2


def resolve_aloud(objective: str, expected_hash: str | None = None) -> Objective:
    """The objective of that name; code of the user's own is named, with its hash, before it runs."""
    from hpo.resolve import resolve

    return resolve(objective, expected_hash, lambda text: click.echo(text, err=True))


def find_study(name: str) -> Path:
    """The file `name`, or the study of that name that ships with hpo.

    A study that exists is launched by its file, too, since its file may have changed: the message names it.
    """
    path = Path(name)
    if path.is_file():
        return path
    if path.suffix in (".yaml", ".yml"):
        raise Mistake(f"{path}: no such file")
    found = SHIPPED / f"{name}.yaml"
    if found.is_file():
        return found
    place = click.get_current_context().find_object(Place)
    record = place.study(name) if place else None
    if record is not None:
        gone = "" if Path(record.source).is_file() else ", which is no longer there"
        way = f"name the file, as in\n  hpo launch {typed(record)}"
        raise Mistake(f"study '{name}' exists and was launched from {record.source}{gone}: {way}")
    names = ", ".join(sorted(file.stem for file in SHIPPED.glob("*.yaml")))
    raise Mistake(f"no study '{name}': give a YAML file, or one of those that ship with hpo: {names}")


def typed(record: StudyRecord) -> str:
    """What to type after `hpo launch` to go on with a study."""
    from hpo.quick import LINE, quick_name
    from hpo.stored import as_written

    written, source = as_written(record), Path(record.source)
    shown = source.relative_to(Path.cwd()) if source.is_relative_to(Path.cwd()) else source
    words = [source.stem if source.parent == SHIPPED else str(shown)]
    made_quick = record.text.endswith(LINE)
    name = quick_name(written.name) if made_quick else written.name
    words += ["--data", record.data] if record.data and record.data != written.data else []
    words += ["--quick"] if made_quick else []
    words += ["--new-name", record.name] if record.name != name else []
    return shlex.join(words)


def existing(store: Store, name: str | None) -> StudyRecord:
    """The study of that name, or the only one there is."""
    if name is not None:
        from hpo.study import read_name

        return store.studies.get(read_name(Path(name)) if name.endswith((".yaml", ".yml")) else name)
    studies = store.studies.all()
    if len(studies) == 1:
        return studies[0]
    if not studies:
        raise Mistake("no study yet: start one with `hpo launch digits`")
    raise Mistake("which study? " + ", ".join(study.name for study in studies))
