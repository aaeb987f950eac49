"""From the name of an objective to the class: built-in, `module:Class`, or a file of the user's own.

A user's file is code and runs with the user's rights. It is read once: what is hashed and named is what runs, and no
byte code that somebody may have put beside it.
"""

from __future__ import annotations

import difflib
import hashlib
import importlib
import importlib.abc
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path

from hpo.objective import Objective


def built_in() -> dict[str, str]:
    """Name -> one line on what it asks; imports no torch."""
    return {name: about for name, (_, about) in importlib.import_module("objectives").BUILT_IN.items()}


def _unsaid(_text: str) -> None:
    pass


def resolve(objective: str, expected_hash: str | None = None, say: Callable[[str], object] = _unsaid) -> Objective:
    """The objective of that name.

    Args:
        objective: `digits`, `package.module:Class` or `/path/to/file.py:Class`.
        expected_hash: of the user's own file when the study was launched; another one is refused.
        say: hears of the user's own code, once, before it runs.

    Raises:
        LookupError: unknown name, file, module or class, or a changed file; the message says the way out.
    """
    place, _, class_name = objective.rpartition(":")
    if not place:
        names = importlib.import_module("objectives").BUILT_IN
        if objective not in names:
            near = difflib.get_close_matches(objective, names, n=1)
            hint = f"did you mean {near[0]}?" if near else f"built in are {', '.join(names)}"
            raise LookupError(f"no objective '{objective}' ({hint}); your own is module:Class or path/to/file.py:Class")
        place, _, class_name = names[objective][0].rpartition(":")
        say = _unsaid
    if place.endswith(".py"):
        module = _load_file(Path(place), expected_hash, lambda digest: say(named(objective, digest)))
    else:
        if place not in sys.modules:
            say(f"runs installed code: {objective}")
        module = _load_module(place)
    found = getattr(module, class_name, None)
    if not (isinstance(found, type) and issubclass(found, Objective)):
        raise LookupError(f"{place} has no class {class_name} derived from hpo.objective.Objective")
    missing = sorted(found.__abstractmethods__)
    if missing:
        raise LookupError(f"{place}:{class_name} does not define {', '.join(missing)}")
    return found()


def file_hash(objective: str) -> str | None:
    """SHA-256 of the user's own file; None for built-in and installed objectives."""
    place = objective.rpartition(":")[0]
    return hashlib.sha256(Path(place).read_bytes()).hexdigest() if place.endswith(".py") else None


def named(objective: str, digest: str) -> str:
    """What users read about code of their own."""
    return f"runs your code: {objective} (sha256 {digest[:16]})"


def _load_module(name: str) -> object:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise LookupError(f"cannot import {name}: {error}") from None


class _Loader(importlib.abc.ExecutionLoader):
    """Runs a file of which the content is at hand."""

    def __init__(self, path: Path, content: bytes) -> None:
        self._path, self._content = path, content

    def get_filename(self, fullname: str) -> str:
        return str(self._path)

    def get_source(self, fullname: str) -> str:
        return importlib.util.decode_source(self._content)


def _load_file(path: Path, expected_hash: str | None, say: Callable[[str], object]) -> object:
    if not path.is_file():
        raise LookupError(f"{path}: no such file")
    content = path.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    if expected_hash is not None and digest != expected_hash:
        raise LookupError(f"{path} has changed since the study was launched: restore it, or launch with --new-name")
    # A name of its own: the user's file shadows nothing, and nothing shadows it.
    name = f"hpo_user_{digest[:16]}"
    if name in sys.modules:
        return sys.modules[name]
    loader = _Loader(path, content)
    spec = importlib.util.spec_from_file_location(name, path, loader=loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    say(digest)
    try:
        loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise LookupError(f"{path} cannot be loaded: {type(error).__name__}: {error}") from error
    return module
