"""What is shipped to run the service elsewhere agrees with the service: compose, image, alerts and dashboard."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import yaml
from prometheus_client.metrics import MetricWrapperBase

from app import observability
from app.settings import Settings

ROOT: Final = Path(__file__).parents[2]
COMPOSE_TEXT: Final = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
DOCKERFILE: Final = (ROOT / "Dockerfile").read_text(encoding="utf-8")
COMPOSE: Final[dict[str, Any]] = yaml.safe_load(COMPOSE_TEXT)
SERVICES: Final[dict[str, dict[str, Any]]] = COMPOSE["services"]
RUNS_ONCE: Final = {"migrate", "ollama-model"}
EXPOSED_SUFFIXES: Final = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_count", "_sum")}
METRICS: Final = tuple(metric for metric in vars(observability).values() if isinstance(metric, MetricWrapperBase))
RULES: Final[list[dict[str, Any]]] = [
    rule
    for group in yaml.safe_load((ROOT / "deploy/prometheus/rules.yml").read_text(encoding="utf-8"))["groups"]
    for rule in group["rules"]
]
PANELS: Final[list[dict[str, Any]]] = json.loads((ROOT / "deploy/grafana/dashboard.json").read_text(encoding="utf-8"))["panels"]
EXPRESSIONS: Final = [rule["expr"] for rule in RULES] + [target["expr"] for panel in PANELS for target in panel["targets"]]


def series_labels() -> dict[str, set[str]]:
    """The labels of every time series that `/metrics` can expose, by the series' name."""
    families = ((metric, family) for metric in METRICS for family in metric.describe())
    return {
        family.name + suffix: {*metric._labelnames, *(["le"] if suffix == "_bucket" else [])}
        for metric, family in families
        for suffix in EXPOSED_SUFFIXES[family.type]
    }


def labels_used(expression: str) -> set[str]:
    grouped = [name for group in re.findall(r"by \(([^)]*)\)", expression) for name in group.split(", ")]
    return {*grouped, *re.findall(r"(\w+)=~?\"", expression)}


def strings(value: Any) -> Iterator[str]:
    match value:
        case dict():
            for key, inner in value.items():
                yield from strings(inner if not isinstance(inner, str) else f"{key}={inner}")
        case list():
            for inner in value:
                yield from strings(inner)
        case _:
            yield str(value)


def test_compose_runs_three_engines_an_api_and_a_worker() -> None:
    """Ollama comes only when asked for."""
    assert {name for name, service in SERVICES.items() if "profiles" not in service} == {
        "redis",
        "postgres",
        "qdrant",
        "migrate",
        "api",
        "worker",
    }
    assert {name for name, service in SERVICES.items() if service.get("profiles") == ["ollama"]} == {"ollama", "ollama-model"}


@pytest.mark.parametrize("name", sorted(set(SERVICES) - RUNS_ONCE))
def test_every_lasting_service_is_watched_and_restarted(name: str) -> None:
    """A health check with a command and a pace, and a restart when it dies."""
    service = SERVICES[name]
    assert {"test", "interval", "timeout", "retries"} <= set(service["healthcheck"])
    assert service["healthcheck"]["test"][0] in {"CMD", "CMD-SHELL"}
    assert service["restart"] == "unless-stopped"


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_every_service_is_limited(name: str) -> None:
    """No service can take the whole machine."""
    assert set(SERVICES[name]["deploy"]["resources"]["limits"]) == {"cpus", "memory"}


@pytest.mark.parametrize("name", ["redis", "postgres", "qdrant", "ollama"])
def test_what_has_to_last_lies_in_a_named_volume(name: str) -> None:
    """An engine's data outlives its container."""
    volumes = {mount.partition(":")[0] for mount in SERVICES[name]["volumes"]}
    assert volumes
    assert volumes <= set(COMPOSE["volumes"])


@pytest.mark.parametrize("name", ["api", "worker"])
def test_the_service_waits_until_its_engines_are_well(name: str) -> None:
    """Started is not enough: each engine has passed its health check, and the schema is up to date."""
    assert {other: wait["condition"] for other, wait in SERVICES[name]["depends_on"].items()} == {
        "redis": "service_healthy",
        "postgres": "service_healthy",
        "qdrant": "service_healthy",
        "migrate": "service_completed_successfully",
    }


def test_our_processes_are_one_command_each() -> None:
    """One image, started as the migration, the API and the worker."""
    ours = {name: service["command"] for name, service in SERVICES.items() if "build" in service}
    assert ours == {
        name: ["hybrid-memory", verb] for name, verb in (("migrate", "migrate"), ("api", "serve"), ("worker", "worker"))
    }


def test_engines_are_out_of_reach_from_outside() -> None:
    """Only the API publishes a port, on loopback, and the engines' network leads nowhere."""
    assert {name: service["ports"] for name, service in SERVICES.items() if "ports" in service} == {
        "api": ["${PUBLISH_ON:-127.0.0.1:8000}:8000"]
    }
    assert COMPOSE["networks"]["stores"] == {"internal": True}
    assert [SERVICES[name]["networks"] for name in ("redis", "postgres", "qdrant")] == [["stores"]] * 3


def test_the_buffer_is_durable_and_never_evicts() -> None:
    """Acknowledged messages wait in Redis: it writes them down, and refuses rather than forgets."""
    command = SERVICES["redis"]["command"]
    assert command[command.index("--appendonly") + 1] == "yes"
    assert command[command.index("--maxmemory-policy") + 1] == "noeviction"


def test_compose_holds_no_secret() -> None:
    """Passwords and keys come from the environment, without a default that somebody would leave as it is."""
    secrets = [text for text in strings(SERVICES) if re.search(r"(PASSWORD|SECRET|TOKEN|API_KEY)=|://[^/@\s]*:[^/@]*@", text)]
    assert secrets
    assert [text for text in secrets if not re.search(r"[=:]\$\{\w+:\?[^}]+\}(@|$)", text)] == []


@pytest.mark.parametrize("text", [COMPOSE_TEXT, DOCKERFILE], ids=["compose", "image"])
def test_every_variable_set_is_a_setting(text: str) -> None:
    """A misspelt variable would be ignored in silence."""
    used = set(re.findall(r"\bMEMORY_[A-Z_]+\b", text))
    assert used
    assert used <= {f"MEMORY_{field.upper()}" for field in Settings.model_fields}


def test_the_image_is_small_unprivileged_and_watched() -> None:
    """Two stages on the slim base, pinned dependencies, an ordinary user, readiness as its health."""
    assert re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE) == ["python:3.11-slim", "python:3.11-slim"]
    assert re.findall(r"^USER (\w+)", DOCKERFILE, re.MULTILINE) == ["memory"]
    assert "--constraint constraints.txt" in DOCKERFILE
    assert re.search(r"^HEALTHCHECK [^\n]+\\\n[^\n]+/health/ready", DOCKERFILE, re.MULTILINE)


def test_the_image_gets_what_it_copies_and_nothing_else() -> None:
    """`.dockerignore` shuts everything out, lets in what a COPY names, and keeps `.env` out at any depth."""
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    copies = re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE)
    assert {line[1:] for line in ignored if line.startswith("!")} == {name for line in copies for name in line.split()}
    assert "*" in ignored
    assert "**/.env" in ignored


def test_every_alert_says_what_happened_and_what_to_do() -> None:
    """Whoever is woken finds a summary, an action and how urgent it is; no alert exists twice."""
    assert [set(rule["annotations"]) for rule in RULES] == [{"summary", "action"}] * len(RULES)
    assert {rule["labels"]["severity"] for rule in RULES} == {"page", "warn"}
    assert len({rule["alert"] for rule in RULES}) == len(RULES) > 0


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_expressions_name_series_and_labels_that_exist(expression: str) -> None:
    """An alert over a metric that is not exposed would never fire."""
    exposed = series_labels()
    named = set(re.findall(r"\bmemory_\w+", expression))
    assert named
    assert named <= set(exposed)
    assert labels_used(expression) <= set().union(*(exposed[name] for name in named))


def test_the_dashboard_shows_every_metric() -> None:
    """What is measured can be seen."""
    shown = {name for panel in PANELS for target in panel["targets"] for name in re.findall(r"\bmemory_\w+", target["expr"])}
    families = {family.name: EXPOSED_SUFFIXES[family.type] for metric in METRICS for family in metric.describe()}
    assert [name for name, suffixes in families.items() if shown.isdisjoint(name + suffix for suffix in suffixes)] == []
