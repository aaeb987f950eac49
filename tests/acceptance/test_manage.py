"""stop, delete, dashboard: the real commands on a study that runs."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import urllib.request
from pathlib import Path

import sqlalchemy as sa

from hpo.cli.launch import STOPPED
from tests.acceptance.test_launch import SMALL, Run
from tests.faults.parts import Field, finished


def test_stop_reaches_every_worker_and_delete_leaves_nothing(hpo: Run, field: Field, url: str) -> None:
    field.hold(trials=2, epochs=40)
    launched = field.launch("--workers", "1")
    field.wait(lambda: field.epochs() >= 2, "epochs")

    refused = hpo("delete", "faults", "--yes", storage=url)
    assert refused.returncode == 2 and "hpo stop faults" in refused.stderr
    stopped = hpo("stop", "faults", "--timeout", "240", storage=url)
    assert stopped.returncode == 0 and "asked 1 worker of faults" in stopped.stdout
    assert "stopped by `hpo stop`" in finished(launched, code=STOPPED)
    states = json.loads(hpo("status", "faults", "--json", storage=url).stdout)["states"]
    assert states["RUNNING"] == 1 and states["FAIL"] == 0

    assert hpo("delete", "faults", "--yes", storage=url).returncode == 0
    engine = sa.create_engine(url)
    with engine.connect() as connection:
        for name in sa.inspect(engine).get_table_names():
            if name.startswith("hpo_") and name != "hpo_schema":
                assert connection.execute(sa.text(f"SELECT count(*) FROM {name}")).scalar_one() == 0, name
    engine.dispose()
    assert not list(field.folder.glob("runs/studies/*"))


def test_the_dashboard_shows_the_study_to_who_has_the_token(hpo: Run, tmp_path: Path) -> None:
    (tmp_path / "small.yaml").write_text(SMALL)
    assert hpo("launch", "small.yaml", "--trials", "1", "--no-promote", "--no-report").returncode == 0
    command = [sys.executable, "-P", "-m", "hpo", "dashboard", "--port", "0"]
    served = subprocess.Popen(command, cwd=tmp_path, env=os.environ, stdout=subprocess.PIPE, text=True)
    try:
        assert served.stdout is not None
        match = re.search(r"(http://\S+)/\?token=(\S+)", served.stdout.readline())
        assert match is not None
        request = urllib.request.Request(f"{match[1]}/api/studies", headers={"Authorization": f"Bearer {match[2]}"})
        with urllib.request.urlopen(request) as answer:
            assert [study["study_name"] for study in json.load(answer)["study_summaries"]] == ["small"]
    finally:
        served.terminate()
        served.communicate()
