"""docker-compose.yml: what it promises, and its commands as processes against a real PostgreSQL with a password."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import signal
import socket
import stat
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import sqlalchemy as sa
import yaml

REPOSITORY = Path(__file__).parents[1]
TEXT = (REPOSITORY / "docker-compose.yml").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = sorted(set(SERVICES) - {"postgres"})
SECRET = "/run/secrets/postgres_password"
#: A password with everything that a URL, a pgpass file or a format string could trip over.
PASSWORD = r"p:a\ss@{wo}rd/%20 '\:"


def filled(text: str, **given: str) -> str:
    """Compose's interpolation, of which the file uses one form: ${NAME:-default}."""
    text = re.sub(r"\$\{(\w+):-([^}]*)\}", lambda match: given.get(match[1]) or match[2], text)
    assert "$" not in text, f"a form that this test does not know: {text}"
    return text


# What the file promises


def test_the_database_is_not_published_and_the_dashboard_on_loopback_only() -> None:
    published = {name: filled(port) for name, service in SERVICES.items() for port in service.get("ports", [])}
    assert published == {"dashboard": "127.0.0.1:8080:8080"}
    assert all("network_mode" not in service for service in SERVICES.values())


def test_the_password_comes_from_a_file_that_git_and_the_image_ignore() -> None:
    file = COMPOSE["secrets"]["postgres_password"]["file"]
    assert SERVICES["postgres"]["environment"]["POSTGRES_PASSWORD_FILE"] == SECRET
    assert "POSTGRES_PASSWORD:" not in TEXT
    for service in SERVICES.values():
        assert service["secrets"] == ["postgres_password"]
    for name in OURS:
        url = sa.make_url(SERVICES[name]["environment"]["HPO_STORAGE"])
        assert (url.password, url.host, url.username) == (None, "postgres", "hpo")
        assert SERVICES[name]["environment"]["HPO_PASSWORD_FILE"] == SECRET
    folder = (REPOSITORY / file).parent
    assert (folder / ".gitignore").read_text().splitlines()[1:] == ["*", "!.gitignore"]
    kept = (REPOSITORY / ".dockerignore").read_text().splitlines()
    assert "*" in kept and not any(line.startswith("!") and "secret" in line for line in kept)


@pytest.mark.parametrize("name", OURS)
def test_our_containers_have_few_rights(name: str) -> None:
    service = SERVICES[name]
    assert filled(service["user"]) == "1000:1000"
    assert service["read_only"] and service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert service["pull_policy"] == "build", "an image named hpo must never come from a registry"


def test_each_step_waits_for_the_one_before() -> None:
    assert SERVICES["postgres"]["healthcheck"]["test"][:2] == ["CMD", "pg_isready"]
    assert SERVICES["init"]["depends_on"] == {"postgres": {"condition": "service_healthy"}}
    for name in set(OURS) - {"init"}:
        assert SERVICES[name]["depends_on"] == {"init": {"condition": "service_completed_successfully"}}


def test_a_plain_up_starts_no_worker_and_profiles_choose_the_device() -> None:
    profiles = {name: service["profiles"] for name, service in SERVICES.items() if "profiles" in service}
    assert profiles == {"worker": ["gpu"], "worker-cpu": ["cpu"], "hpo": ["cli"]}
    (gpu,) = SERVICES["worker"]["deploy"]["resources"]["reservations"]["devices"]
    assert (gpu["driver"], gpu["capabilities"]) == ("nvidia", ["gpu"])
    assert all("deploy" not in SERVICES[name] for name in set(SERVICES) - {"worker"})
    assert all("container_name" not in service for service in SERVICES.values()), "a name forbids --scale"


def test_a_worker_has_time_to_give_its_trial_back() -> None:
    from hpo.engines.local import PATIENCE

    for name in ("worker", "worker-cpu"):
        assert float(SERVICES[name]["stop_grace_period"].removesuffix("s")) > PATIENCE
        assert SERVICES[name]["restart"] == "on-failure"


def test_the_image_copies_what_exists_ends_as_a_user_and_installs_tested_versions() -> None:
    lines = (REPOSITORY / "Dockerfile").read_text().replace("\\\n", " ").splitlines()
    copied = [
        word for line in lines if line.startswith("COPY") for word in line.split()[1:-1] if not word.startswith("--")
    ]
    kept = [line[1:] for line in (REPOSITORY / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    assert sorted(copied) == sorted(kept)
    assert all((REPOSITORY / path).exists() for path in copied)
    assert [line for line in lines if line.startswith("USER")] == ["USER 1000:1000"]
    assert any("pip install --constraint constraints.txt" in line for line in lines)
    (entrypoint,) = [line for line in lines if line.startswith("ENTRYPOINT")]
    copy = next(line for line in lines if "deploy/entrypoint" in line)
    assert copy.split()[-1] in entrypoint and "--chmod=755" in copy


@pytest.mark.parametrize("image", ["worker", "dashboard"])
def test_every_option_of_a_command_exists(image: str, hpo: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    command, *options = [word for word in SERVICES[image]["command"] if not word.startswith("$")]
    help_text = hpo(command, "--help").stdout
    assert all(option in help_text for option in options if option.startswith("--"))


def test_the_page_names_only_services_profiles_and_variables_that_exist() -> None:
    page = (REPOSITORY / "docs" / "docker.md").read_text()
    variables = set(re.findall(r"\$\{(\w+)", TEXT))
    assert set(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)) == variables
    commands = re.findall(r"^ {4}docker compose (.+)", page, re.MULTILINE)
    assert commands
    for line in commands:
        words = shlex.split(line, comments=True)
        assert all(words[at + 1] in ("gpu", "cpu") for at, word in enumerate(words) if word == "--profile"), line
        assert all(word.partition("=")[0] in SERVICES for word in words if re.fullmatch(r"[\w-]+=\d+", word)), line
        if words[0] in ("run", "exec", "logs"):
            assert any(word in SERVICES for word in words), line


# Its commands


class Machine:
    """The containers as processes: the image's entrypoint with a root file system of its own, no Docker.

    Args:
        root: stands for `/` of the containers.
        storage: host and database in place of the service `postgres`.
    """

    def __init__(self, root: Path, storage: Callable[[sa.URL], sa.URL]) -> None:
        self._root, self._storage = root, storage
        for folder in ("runs", "tmp", "run/secrets"):
            (root / folder).mkdir(parents=True)
        self.secret = root / SECRET[1:]
        self.secret.write_text(PASSWORD + "\n")
        self.secret.chmod(0o600)

    def environment(self, service: str) -> dict[str, str]:
        own = {name: filled(value) for name, value in SERVICES[service]["environment"].items()}
        own = {name: f"{self._root}{value}" if value.startswith("/") else value for name, value in own.items()}
        own["HPO_STORAGE"] = self._storage(sa.make_url(own["HPO_STORAGE"])).render_as_string(hide_password=False)
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        return {"PATH": path, "HOME": str(self._root / "tmp"), "PYTHONUNBUFFERED": "1", **own}

    def start(self, service: str, *words: str, **variables: str) -> subprocess.Popen[str]:
        """`docker compose up` of one service, or `docker compose run SERVICE WORDS`."""
        command = words or [filled(word, **variables) for word in SERVICES[service]["command"]]
        return subprocess.Popen(
            ["sh", str(REPOSITORY / "deploy" / "entrypoint"), *command],
            cwd=self._root,
            env=self.environment(service),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, service: str, *words: str, **variables: str) -> tuple[int, str]:
        process = self.start(service, *words, **variables)
        output, _ = process.communicate(timeout=500)
        assert PASSWORD not in output
        return process.returncode, output


@contextlib.contextmanager
def password_required(engine: sa.Engine, database: str) -> Iterator[None]:
    """The tests' server trusts everybody; one database of it asks for a password."""
    with engine.connect() as connection:
        rules = Path(connection.execute(sa.text("SHOW hba_file")).scalar_one())
        before = rules.read_text()
        rules.write_text(f"local {database} all scram-sha-256\n{before}")
        connection.execute(sa.text("SELECT pg_reload_conf()"))
        try:
            yield
        finally:
            rules.write_text(before)
            connection.execute(sa.text("SELECT pg_reload_conf()"))


@pytest.fixture
def machine(postgres_server: str, tmp_path: Path) -> Iterator[Machine]:
    """A database that belongs to the compose file's user and asks for its password."""
    name, role = f"t{uuid4().hex[:12]}", SERVICES["postgres"]["environment"]["POSTGRES_USER"]
    server = sa.make_url(postgres_server)
    engine = sa.create_engine(server, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        quoted = PASSWORD.replace("'", "''").replace(":", r"\:")
        connection.execute(sa.text(f"CREATE ROLE {role} LOGIN PASSWORD '{quoted}'"))
        connection.execute(sa.text(f"CREATE DATABASE {name} OWNER {role}"))
    try:
        with password_required(engine, name):
            yield Machine(tmp_path / "root", lambda url: url.set(host=None, database=name, query=server.query))
    finally:
        with engine.connect() as connection:
            connection.execute(sa.text(f"DROP DATABASE {name} WITH (FORCE)"))
            connection.execute(sa.text(f"DROP ROLE {role}"))
        engine.dispose()


def tiny_study(folder: Path) -> Path:
    """The shipped study, of two trials and three epochs, proven over two folds."""
    text = (REPOSITORY / "studies" / "digits.yaml").read_text()
    for old, new in {
        "count: 5": "count: 2",
        "trials: 30": "trials: 2",
        "epochs: 12": "epochs: 3",
        "by_epoch: 5": "by_epoch: 2",
        "over_epochs: 10": "over_epochs: 2",
        "refit: true": "refit: false",
    }.items():
        assert old in text
        text = text.replace(old, new)
    (folder / "digits.yaml").write_text(text)
    return folder / "digits.yaml"


@pytest.mark.postgres
@pytest.mark.slow
def test_from_an_empty_database_to_a_proven_trial(machine: Machine, tmp_path: Path) -> None:
    assert machine.run("init")[0] == 0
    assert machine.run("init")[0] == 0, "every `up` runs it again"
    code, output = machine.run("worker-cpu", STUDY="digits")
    assert code == 2 and "digits" in output, "fails, and is restarted, until there is a study"

    study = tiny_study(tmp_path)
    code, output = machine.run("hpo", "launch", str(study), "--workers", "1", "--no-promote")
    assert code == 0, output
    pair = [machine.start("worker-cpu", STUDY="digits"), machine.start("worker-cpu", STUDY="digits")]
    printed = [process.communicate(timeout=500)[0] for process in pair]
    assert [process.returncode for process in pair] == [0, 0], printed
    code, output = machine.run("hpo", "status", "digits", "--json")
    assert code == 0 and '"COMPLETE": 2' in output, output
    assert '"status": "done"' in output, output
    assert list((tmp_path / "root" / "runs").glob("studies/*/report.html"))


@pytest.mark.postgres
def test_the_dashboard_of_the_file_logs_in_and_shows_no_password(machine: Machine) -> None:
    assert machine.run("init")[0] == 0
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    process = machine.start("dashboard", DASHBOARD_PORT=port)
    assert process.stdout is not None
    try:
        printed = []
        for line in process.stdout:
            printed.append(line)
            if line.startswith("dashboard"):
                break
        address = printed[-1].split()[-1]
        assert address.startswith(f"http://127.0.0.1:{port}/?token="), printed
        assert subprocess.run(healthcheck(port), check=False).returncode == 0
        with pytest.raises(urllib.error.HTTPError, match="401") as refused:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/api/studies", timeout=240)
        refused.value.close()
        bearer = {"Authorization": f"Bearer {address.partition('=')[2]}"}
        request = urllib.request.Request(f"http://127.0.0.1:{port}/api/studies", headers=bearer)
        with urllib.request.urlopen(request, timeout=240) as reply:
            assert reply.status == 200
        if Path("/proc/self/environ").exists():
            seen = [Path(f"/proc/{process.pid}/{name}").read_text() for name in ("cmdline", "environ")]
            assert not any(PASSWORD in text for text in [*seen, *printed])
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=240)
    assert subprocess.run(healthcheck(port), check=False, stderr=subprocess.DEVNULL).returncode != 0


def healthcheck(port: str) -> list[str]:
    kind, program, *words = [filled(word, DASHBOARD_PORT=port) for word in SERVICES["dashboard"]["healthcheck"]["test"]]
    assert (kind, program) == ("CMD", "python")
    return [sys.executable, *words]


@pytest.mark.postgres
def test_a_wrong_password_is_refused_and_not_repeated(machine: Machine) -> None:
    machine.secret.write_text("Tr0ub4dor\n")
    code, output = machine.run("init")
    assert code == 2 and "password authentication failed" in output
    assert "Tr0ub4dor" not in output


def test_the_entrypoint_writes_the_password_for_its_own_user_only(tmp_path: Path) -> None:
    machine = Machine(tmp_path / "root", lambda _url: sa.make_url("sqlite:///none.db"))
    assert machine.run("hpo", "--version")[0] == 0
    file = tmp_path / "root" / "tmp" / "pgpass"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert file.read_text() == r"*:*:*:*:p\:a\\ss@{wo}rd/%20 '\\\:" + "\n"


def test_the_entrypoint_says_who_cannot_read_the_secret(tmp_path: Path) -> None:
    machine = Machine(tmp_path / "root", lambda _url: sa.make_url("sqlite:///none.db"))
    machine.secret.unlink()
    code, output = machine.run("hpo", "--version")
    assert code == 2
    assert f"user {os.getuid()} cannot read" in output and "HPO_UID" in output
