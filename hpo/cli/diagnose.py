"""diagnose: what is wrong with a training, by its curves. Imports no torch."""

from __future__ import annotations

import json
from dataclasses import asdict
from functools import partial
from typing import Any

import click

from hpo.cli.group import Mistake, Place, existing, placed


@click.command()
@click.argument("study", required=False)
@click.argument("trial", type=int, required=False)
@click.option("--json", "as_json", is_flag=True, help="One JSON object for scripts.")
@placed
def diagnose(study: str | None, trial: int | None, as_json: bool, place: Place) -> None:
    """Say what is wrong with a trial by its curves: each symptom with its numbers and what to try.

    Without TRIAL, the baseline and the best trial, and what all trials together show. A symptom is no verdict: the
    next trials are.

    \b
    hpo diagnose abr
    hpo diagnose abr 7
    hpo diagnose abr --json | jq '.trials[0].symptoms[].name'

    \b
    --json prints one object:
      study, metric
      quick      true: of `hpo launch --quick`, the numbers mean nothing
      trials     trial, configuration, role (baseline, best or null), epochs, references: what has
                 learned nothing -> its validation losses and scores, and symptoms: name, evidence,
                 remedy
      symptoms   of the whole study, alike
    """
    from hpo.diagnosis import of_trial
    from hpo.evidence import baseline_trial, best_trial
    from hpo.learned_nothing import references
    from hpo.objective import Metric
    from hpo.range_edge import of_study, ranges
    from hpo.stored import as_launched, direction_of

    store = place.store()
    record = existing(store, study)
    spec, metric = as_launched(record), Metric(record.metric, record.direction)
    trials = store.reading.trials(record.study_id)
    roles = {"baseline": baseline_trial(trials), "best": best_trial(trials, metric)}
    if trial is not None:
        chosen = [t for t in trials if t.number == trial]
        if not chosen:
            raise Mistake(f"study {record.name} has no trial {trial}; it has {len(trials)}, counted from 0")
    else:
        chosen = list({t.number: t for t in roles.values() if t is not None}.values())
    found: dict[str, Any] = {"study": record.name, "metric": record.metric, "quick": record.quick, "trials": []}
    for t in chosen:
        role = [name for name, one in roles.items() if one is not None and one.number == t.number]
        seen = [asdict(symptom) for symptom in of_trial(t, metric, partial(direction_of, record), spec.budget.epochs)]
        names = {"trial": t.number, "configuration": t.configuration, "role": " and ".join(role) or None}
        given = {"epochs": len(t.epochs), "references": references(t.epochs)}
        found["trials"].append({**names, **given, "symptoms": seen})
    study_wide = of_study(trials, metric, ranges(spec.space)) if trial is None else []
    found["symptoms"] = [asdict(symptom) for symptom in study_wide]
    if as_json:
        click.echo(json.dumps(found))
    else:
        _print(found)


def _print(found: dict[str, Any]) -> None:
    from hpo.quick import WARNING
    from hpo.symptom import LEARNED_BY, TOO_SHORT
    from hpo.wording import counted

    if found["quick"]:
        click.echo(WARNING)
    if not found["trials"]:
        click.echo(f"study {found['study']} has no trial to look at yet")
    for trial in found["trials"]:
        names = [trial["configuration"] and f"configuration {trial['configuration']}", trial["role"]]
        said = ", ".join(name for name in names if name)
        click.echo(
            f"trial {trial['trial']}" + (f" ({said})" if said else "") + f", {counted(trial['epochs'], 'epoch')}"
        )
        _print_symptoms(trial["symptoms"], "no symptom" if trial["epochs"] else "no epoch yet")
        if 0 < trial["epochs"] <= LEARNED_BY:
            click.echo(f"  {TOO_SHORT}")
    if found["symptoms"]:
        click.echo("all trials together")
        _print_symptoms(found["symptoms"], "")


def _print_symptoms(symptoms: list[dict[str, str]], otherwise: str) -> None:
    for symptom in symptoms:
        click.echo(f"  {symptom['name']}")
        click.echo(f"    seen  {symptom['evidence']}")
        click.echo(f"    try   {symptom['remedy']}")
    if not symptoms:
        click.echo(f"  {otherwise}")
