"""Which checkpoints stay when a trial or a job is over: those of the best trials, if any."""

from __future__ import annotations

from hpo.files import RunFiles
from hpo.records import StudyRecord
from hpo.store import Store


def retire_checkpoints(store: Store, files: RunFiles, record: StudyRecord, keep: int) -> None:
    """Remove the checkpoints of everything that is done, except those of the `keep` best COMPLETE trials.

    Work that is under way or waits to be taken over keeps its own. Called after every end, by any worker, at any time:
    a trial that is no longer among the best goes with the next call.
    """
    there = files.checkpointed(record.folder)
    for lease_id in store.reading.retired(record.study_id, record.direction, keep, there) if there else ():
        files.remove_checkpoints(record.folder, lease_id)
