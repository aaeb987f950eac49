"""Looks up what the list at the end of `hpo check` is about: model folders, the device's memory, the current best."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from hpo import check_list, host_memory
from hpo.check import Training
from hpo.check_list import Device, Item, Standing
from hpo.check_subject import Subject
from hpo.cli.group import Place

if TYPE_CHECKING:
    from hpo.study import Study


def before_retraining(
    subject: Subject, name: str, training: Training, fold: int | None, sharing: int, again: str, place: Place
) -> tuple[Item, ...]:
    """The list.

    Args:
        subject: what was tried.
        name: of its configuration.
        training: what that came to.
        fold: that was trained; None after two batches.
        sharing: workers on the device.
        again: the command of this check, without --fold and --epochs.
        place: of the study, which may have neither runs folder nor database yet.
    """
    spec, params = subject.spec, subject.params
    standing, trouble = _standing(spec, place)
    return (
        check_list.models(spec.name, place.files.models(spec.name), place.files.root),
        check_list.one_fold(spec, training, fold, again),
        check_list.first_loss(training, fold, again),
        check_list.early_stopping(spec, params, name),
        check_list.memory(training, params, _device(subject.feed.device, sharing), again),
        check_list.current_best(spec, standing, trouble),
    )


def _device(device: torch.device, sharing: int) -> Device:
    if device.type == "cuda":
        total = torch.cuda.get_device_properties(device).total_memory
    else:  # of the host what this process may have, which others leave over
        total = host_memory.available() + host_memory.in_use()
    return Device(name=str(device), memory_mb=total / 2**20, workers=sharing)


def _standing(spec: Study, place: Place) -> tuple[Standing | None, str]:
    """What the database holds, or why it cannot be read: a check needs none."""
    if place.empty:
        return None, ""
    from hpo.store import DATABASE_ERRORS, StorageError, Unknown, cause

    try:
        store = place.store()
        record = store.studies.get(spec.name)
        best = store.reading.best_trial(record.study_id, record.direction)
        return Standing(best=best, final=store.reading.final(record.study_id), data=record.data), ""
    except Unknown:
        return None, ""
    except StorageError as error:
        return None, str(error)
    except DATABASE_ERRORS as error:
        return None, cause(error)
