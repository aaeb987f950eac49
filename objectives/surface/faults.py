"""How an error names files that share a mistake: a slip of a whole folder is not said file by file."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from objectives.problems import some


@dataclass(frozen=True)
class Fault:
    """What is wrong with one file."""

    name: str  #: of the file, in its folder
    text: str
    kind: str = ""  #: what makes it equal to others whose text differs; where empty, the text but for its numbers


def alike(where: str, faults: Iterable[Fault]) -> Iterator[str]:
    """A problem per kind of fault, as its first file shows it.

    Args:
        where: the folder of the files, with a slash at its end; may be empty.
        faults: of the files of that folder.
    """
    kinds: dict[str, list[Fault]] = defaultdict(list)
    for fault in faults:
        kinds[fault.kind or re.sub("[0-9]+", "0", fault.text)].append(fault)
    for own in kinds.values():
        text = own[0].text
        if len(own) == 1:
            yield f"{where}{own[0].name}: {text}"
        else:
            files = f"{len(own)} files{f' of {where}' if where else ''} ({some([fault.name for fault in own])})"
            yield f"{files}{'' if {fault.text for fault in own} == {text} else ', as the first shows'}: {text}"
