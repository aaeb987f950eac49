"""Names, errors and notes of others do nothing in a report or in the dashboard, seen in a real browser."""

from __future__ import annotations

import re
import urllib.parse
from pathlib import Path
from typing import Any

import optuna
import optuna_dashboard
import pytest

from tests.made_up import HOSTILE
from tests.security.parts import CONTROLS, OBEYED, SEEN
from tests.test_dashboard_browser import Server, chromium, context, server
from tests.test_report import hostile_case, page

__all__ = ["chromium", "context", "server"]

NOTE = """# hello
<script>document.title = 'owned'</script> <img src="https://evil.example/html.png" onerror="document.title = 'owned'">
<iframe srcdoc="<script>parent.document.title = 'owned'</script>"></iframe>
![pixel](https://evil.example/pixel.png) [click](javascript:document.title='owned')
""" + "\n".join([*HOSTILE, OBEYED])


def test_a_report_spells_out_what_turns_the_reading_direction(tmp_path: Path) -> None:
    study, trials = hostile_case(OBEYED)
    text = page(tmp_path, study, trials)
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert not CONTROLS.findall(re.sub(r"<script nonce=.*?</script>", "", html, flags=re.DOTALL))
    assert text.count(SEEN) > 5


def hostile_study(file: Path) -> int:
    """A study of another tool, or of another user, every text of which would act if anything forgot to escape."""
    study = optuna.create_study(storage=f"sqlite:///{file}", study_name=HOSTILE[0] + OBEYED)
    study._storage.set_study_system_attr(study._study_id, "study:metric_names", [HOSTILE[1]])
    for number, text in enumerate(HOSTILE):
        study.set_user_attr(text, text)
        trial = study.ask()
        trial.suggest_categorical(HOSTILE[3], [*HOSTILE])
        for name in HOSTILE[:3]:
            trial.suggest_float(name, 0, 1)
        trial.set_user_attr(text, text + OBEYED)
        trial.report(number, 1)
        optuna_dashboard.save_note(trial, NOTE)
        study.tell(trial, number)
    optuna_dashboard.save_note(study, NOTE)
    study_id = study._study_id
    study._storage.remove_session()
    return study_id


@pytest.mark.browser
def test_names_and_notes_do_nothing_in_the_dashboard(server: Server, context: Any) -> None:
    number, tab = hostile_study(server.file), context.new_page()
    asked: list[str] = []
    said: list[str] = []
    tab.on("request", lambda request: asked.append(urllib.parse.urlsplit(request.url).netloc))
    tab.on("console", lambda message: said.append(message.text))
    tab.on("pageerror", lambda error: said.append(str(error)))
    tab.on("dialog", lambda dialog: said.append(dialog.message))
    tab.goto(server.url)
    tab.get_by_text("<script>document").first.wait_for()
    for view, ready in {"/analytics": ".js-plotly-plot", "": ".js-plotly-plot", "/trials": "h1", "/note": "h1"}.items():
        tab.goto(f"http://{server.netloc}/dashboard/studies/{number}{view}")
        tab.locator(ready).filter(visible=True).first.wait_for()
        if view == "/analytics":  # names are texts of plotly, which knows bold, italics and links to the web
            tab.locator(".js-plotly-plot").filter(has_text="<script>document").first.wait_for()
        planted = "script:not([src]), iframe, img[src*=evil], a[href^='javascript:'], [onerror]"
        assert tab.locator(planted).count() == 0 and tab.title() != "owned", view
    tab.get_by_role("heading", name="hello").first.wait_for()
    assert said == []
    assert set(asked) <= {server.netloc, ""}
