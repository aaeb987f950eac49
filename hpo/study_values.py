"""Values that a study names and that cannot go together: said by its objective, before data are prepared."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from hpo.check_study import first_params
from hpo.objective import Objective
from hpo.strict_yaml import StudyError
from hpo.study import Study


def require_together(spec: Study, objective: Objective, names: Iterable[str]) -> None:
    """The values of each of these configurations can go together.

    What the search draws beside them is left to the trials.

    Raises:
        StudyError: with everything that contradicts itself, and the configurations that it is in.
    """
    wrong: dict[str, list[str]] = defaultdict(list)
    for name in names:
        if why := objective.contradiction(first_params(spec, name)):
            wrong[why].append(f"'{name}'")
    if wrong:
        places = {why: f"configuration{'s' * (len(of) > 1)} {', '.join(of)}" for why, of in wrong.items()}
        raise StudyError(spec.source, [f"{where}: {why}" for why, where in places.items()])
