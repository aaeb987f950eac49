"""The part of a report on rows that no model was trained on: their table, and the objective's own figures of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hpo.figure_style import TERMS, styled
from hpo.files import RunFiles
from hpo.objective import Objective
from hpo.page import Plot
from hpo.predictions import Predictions, Unreadable, extent, of_candidate
from hpo.records import JobRecord, StudyRecord
from hpo.wording import last_line

#: Of a figure whose objective names none.
HEIGHT = 430


@dataclass(kw_only=True)
class Unseen:
    """Sentences, warnings and figures; nothing at all before a promotion."""

    sentences: list[str] = field(default_factory=list)
    cautions: list[str] = field(default_factory=list)
    plots: list[Plot] = field(default_factory=list)

    @property
    def keys(self) -> set[str]:
        return {plot.key for plot in self.plots}


def unseen(
    files: RunFiles,
    study: StudyRecord,
    jobs: Sequence[JobRecord],
    candidate: int | None,
    objective: Callable[[], Objective],
) -> Unseen:
    """What the promoted trial's models say of rows that they have not seen.

    Args:
        files: of the runs folder, which may not be the one that the workers had.
        study: whose promotion it is.
        jobs: of the promotion.
        candidate: the promoted trial; None before a promotion.
        objective: gives the code of the study's objective, or raises LookupError. It is called only where there are
            predictions, which a worker of this runs folder has written after it had run that very code.
    """
    if not any(job.fold >= 0 and job.state == "done" and job.candidate == candidate for job in jobs):
        return Unseen()
    place = files.predictions(study.folder) / f"trial-{candidate:04d}"
    try:
        found = of_candidate(files, study.folder, jobs, candidate)
    except Unreadable as error:
        return Unseen(cautions=[f"The predictions cannot be read: {error}."])
    if found is None:
        return Unseen(sentences=[f"There are no predictions in {place}: another machine's runs folder may hold them."])
    part = Unseen(sentences=[_table(study, found, candidate, str(place))])
    try:
        code = objective()
    except LookupError as error:
        part.cautions.append(f"The objective's own figures are missing, since its code is not at hand: {error}.")
        return part
    try:
        part.plots = own_plots(code, found, study.info)
    except (Exception, SystemExit) as error:  # of the objective's own code, which must not cost the report
        why = last_line(str(error)) or "no reason given"
        part.cautions.append(
            f"The objective's own figures are missing: figures() raised {type(error).__name__}: {why}."
        )
    return part


def _table(study: StudyRecord, found: Predictions, candidate: int | None, place: str) -> str:
    return (
        f"Trial {candidate}, retrained on each of {len(found.folds)} folds, has predicted the {extent(found.table)} in "
        "their validation parts, each row by the model that was not trained on it. All of them as a table: "
        f"hpo export {study.name} --predictions -o predicted.csv (from {place})."
    )


def own_plots(objective: Objective, found: Predictions, info: Mapping[str, Any]) -> list[Plot]:
    """The objective's figures in the look of all others; what a figure sets itself, its margins say, stays."""
    plots = []
    for number, (title, caption, figure) in enumerate(objective.figures(found.table, found.examples, info)):
        own = {name: value for name, value in figure.layout.to_plotly_json().items() if name != "template"}
        figure = styled(figure, int(figure.layout.height or HEIGHT)).update_layout(colorway=TERMS).update_layout(own)
        plots.append(Plot(key=f"own-{number}", title=str(title), caption=str(caption), figure=figure))
        plots[-1].json()  # what the page cannot hold fails here, and costs these figures alone
    return plots
