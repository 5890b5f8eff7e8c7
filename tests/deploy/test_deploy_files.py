"""What deploy/ holds agrees with the code and with itself; no process is started but checkers.

Each test that needs a command (promtool, amtool, helm) is skipped where it is missing, unless CI is set.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]
import promql_parser
import pytest
import yaml

from connectors.kafka.admin import COMPACTED, TopicPlan, plans
from craft_stream.observe.crawl import CrawlRecorder
from craft_stream.observe.families import UNITS
from craft_stream.observe.metrics import CRAWL, WORKER
from craft_stream.observe.recorder import Recorder
from craft_stream.settings import Settings, known_names

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
RULES = DEPLOY / "prometheus" / "craft.rules.yml"
DASHBOARD = DEPLOY / "grafana" / "dashboards" / "craft-stream.json"
OPERATIONS = ROOT / "docs" / "how-to" / "operations.md"
CHART = DEPLOY / "helm" / "craft-stream"
KUBERNETES = "1.34"
# Import names that documents write as metrics are written.
PACKAGES = {"craft_stream", "craft_use_encoder"}


def need(command: str) -> str:
    """A command's path; in CI its absence is a failure."""
    found = shutil.which(command) or shutil.which(command, path=str(Path.home() / "go" / "bin"))
    if found is None and os.environ.get("CI"):
        pytest.fail(f"{command} is missing")
    if found is None:
        pytest.skip(f"{command} is missing")
    return found


def run(*command: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, **options)


def families() -> Iterator[Any]:
    """Of a worker and of a crawl, as a scrape brings them."""
    worker = Recorder()
    worker.started("group", "topic", "digest", 0.1)
    for watched in (worker, CrawlRecorder({})):
        yield from watched.registry.collect()


def metric_names() -> set[str]:
    """Every name that a scrape can bring, without what Prometheus adds."""
    return {
        f"{family.name}{suffix}"
        for family in families()
        for suffix in {
            "counter": ("_total",),
            "histogram": ("_bucket", "_sum", "_count"),
            "info": ("_info",),
        }.get(family.type, ("",))
    }


def rules() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def alerts() -> list[dict[str, Any]]:
    return [rule for rule in rules() if "alert" in rule]


def panels() -> list[dict[str, Any]]:
    """Rows as well, and what is folded up in them."""
    top = json.loads(DASHBOARD.read_text("utf-8"))["panels"]
    return [panel for outer in top for panel in (outer, *(outer.get("panels") or []))]


def expressions() -> Iterator[tuple[str, str]]:
    """Where, and the expression."""
    for rule in rules():
        yield rule.get("alert") or rule["record"], rule["expr"]
    for panel in panels():
        for target in panel.get("targets", []):
            yield (
                panel["title"],
                re.sub(r"\$\{?\w+\}?", ".*", target["expr"].replace("$__rate_interval", "1m")),
            )


def selected(node: Any) -> Iterator[str]:
    """Names of the series that an expression reads."""
    if isinstance(node, promql_parser.VectorSelector):
        yield str(node.name)
    elif isinstance(node, promql_parser.MatrixSelector):
        yield from selected(node.vector_selector)
    for part in ("expr", "lhs", "rhs"):
        if (inner := getattr(node, part, None)) is not None:
            yield from selected(inner)
    for argument in getattr(node, "args", None) or []:
        yield from selected(argument)


@pytest.mark.parametrize(("where", "expression"), list(expressions()))
def test_expressions_read_metrics_that_exist(where: str, expression: str) -> None:
    """A dashboard or alert on a metric that was renamed would show nothing, or never fire."""
    known = metric_names() | {"up"} | {rule["record"] for rule in rules() if "record" in rule}
    names = set(selected(promql_parser.parse(expression)))
    assert names, f"{where} reads nothing"
    assert names <= known


def test_metrics_are_shown_watched_or_explained() -> None:
    """What nobody looks at is not worth its series: the few that no panel and no alert reads are named in the runbook."""
    used = {name for _, expression in expressions() for name in selected(promql_parser.parse(expression))}
    ours = {name for name in metric_names() if name.startswith("craft_")}
    unused = {re.sub(r"_(bucket|sum|count)$", "", name) for name in ours} - {
        re.sub(r"_(bucket|sum|count)$", "", name) for name in used
    }
    section = OPERATIONS.read_text("utf-8").split("**Without a panel.**")[1].split("\n\n")[0]
    assert (
        unused
        == set(re.findall(r"`(craft_\w+)`", section))
        == {"craft_breaker_open", "craft_divergence_nats", "craft_signal_unknown_pairs_total"}
    )


def test_documents_name_metrics_that_exist() -> None:
    """A metric in the documentation is one that a scrape brings."""
    known = {re.sub(r"_bucket$", "", name) for name in metric_names()} | metric_names()
    for document in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]:
        text = document.read_text("utf-8")
        named = set(re.findall(r"`(craft_[a-z_]+?)(?:\{[^`]*\})?`", text)) - PACKAGES
        assert named <= known, f"{document.name}: {sorted(named - known)}"


def test_every_metric_has_help_and_unit() -> None:
    """Help is a sentence; the unit is the name's last word, or the name counts what its last word says."""
    counted = {
        "decisions", "detections", "rejected_kept", "letters", "embedded", "errors", "judged", "damaged", "deltas", "active",
        "open", "models", "pairs", "pages", "partitions", "published", "pruned", "records", "records_consumed", "rebalances",
        "recoveries", "rereads", "responses", "restore_retries", "score", "failures", "snapshots", "stopped", "transactions",
        "version",
    }  # fmt: skip
    for family in families():
        if not family.name.startswith("craft_"):
            continue
        assert re.fullmatch(r"[A-Z0-9].{10,120}\.", family.documentation), family.name
        if family.unit:
            assert family.unit in UNITS
            assert family.name.endswith(f"_{family.unit}")
        elif family.type != "info":
            assert any(family.name.endswith(f"_{word}") for word in counted), family.name


def test_names_follow_the_conventions() -> None:
    """Prefix, and only the labels that are bounded; partitions and clusters on a few families only."""
    allowed = {
        "outcome", "reason", "stage", "kind", "state", "result", "signal", "partition", "cluster",
    }  # fmt: skip
    for row in (*WORKER, *CRAWL):
        assert row.name.startswith("craft_")
        assert set(row.labels) <= allowed
        assert not row.buckets or row.buckets == tuple(sorted(row.buckets))
    assert sum("cluster" in row.labels for row in WORKER) <= 3
    assert [row.name for row in WORKER if "partition" in row.labels] == [
        row.name for row in WORKER if row.labels == ("partition",)
    ]


def test_each_alert_has_a_test_that_fires() -> None:
    """Every alert is driven to fire in the rules' unit tests, and is shown silent there, too."""
    cases = [
        case
        for test in yaml.safe_load((DEPLOY / "prometheus" / "craft.rules.test.yml").read_text())["tests"]
        for case in test.get("alert_rule_test", [])
    ]
    names = {alert["alert"] for alert in alerts()}
    assert {case["alertname"] for case in cases if case.get("exp_alerts")} == names
    assert {case["alertname"] for case in cases if not case.get("exp_alerts")} == names


def test_each_alert_has_its_paragraph() -> None:
    """The link of an alert leads to a heading in the runbook with text under it, and no heading is left over."""
    text = OPERATIONS.read_text("utf-8")
    headings = re.findall(r"^### (Craft\w+)\n+(.+)", text, re.MULTILINE)
    assert {name for name, _ in headings} == {alert["alert"] for alert in alerts()}
    assert all(len(first) > 40 for _, first in headings)
    for alert in alerts():
        assert alert["annotations"]["runbook"] == f"docs/how-to/operations.md#{alert['alert'].lower()}"
        assert alert["labels"]["severity"] in ("critical", "warning", "info")


def test_panels_link_to_alerts_that_exist() -> None:
    """A panel's links name an alert and its paragraph; each alert is on some panel; ids and places are distinct."""
    names = {alert["alert"] for alert in alerts()}
    linked = set()
    for panel in panels():
        for link in panel.get("links", []):
            if link["title"].startswith("Alert "):
                linked.add(link["title"].removeprefix("Alert "))
    assert linked == names
    assert len({panel["id"] for panel in panels()}) == len(panels())
    assert len({(p["gridPos"]["x"], p["gridPos"]["y"]) for p in panels()}) == len(panels())


def test_the_dashboard_is_the_generated_one() -> None:
    """The committed JSON is what the code makes."""
    sys.path.insert(0, str(DEPLOY / "grafana"))
    try:
        import dashboard  # type: ignore[import-not-found]
    finally:
        sys.path.pop(0)
    assert DASHBOARD.read_text("utf-8") == dashboard.build()


def test_prometheus_accepts_rules_and_configuration() -> None:
    """Promtool checks both and runs the rules' unit tests."""
    promtool = need("promtool")
    folder = DEPLOY / "prometheus"
    for command in (
        ("check", "rules", "craft.rules.yml"),
        ("check", "config", "--syntax-only", "prometheus.yml"),
        ("test", "rules", "craft.rules.test.yml"),
    ):
        done = run(promtool, *command, cwd=folder)
        assert done.returncode == 0, done.stdout + done.stderr


def test_alertmanager_accepts_its_configuration() -> None:
    """Amtool checks it."""
    done = run(need("amtool"), "check-config", str(DEPLOY / "prometheus" / "alertmanager.yml"))
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_dockerfile_is_clean() -> None:
    """Hadolint finds nothing."""
    hadolint = shutil.which("hadolint", path=str(Path(sys.executable).parent)) or need("hadolint")
    done = run(hadolint, str(ROOT / "Dockerfile"))
    assert done.returncode == 0, done.stdout + done.stderr


def compose() -> dict[str, Any]:
    return dict(yaml.safe_load((DEPLOY / "compose" / "compose.yaml").read_text()))


def test_compose_publishes_on_loopback_only() -> None:
    """Nothing of the stack can be reached from another machine; every mounted file is there."""
    for name, service in compose()["services"].items():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", [])), name
        for volume in service.get("volumes", []):
            if volume.startswith("."):
                assert (DEPLOY / "compose" / volume.split(":")[0]).exists(), volume


def test_compose_settings_exist() -> None:
    """A setting that was renamed would stop the container at its start."""
    services = compose()["services"]
    names = {name for service in services.values() for name in service.get("environment", {}) if "__" in name}
    assert names
    for name in names:
        assert name.removeprefix("CRAFT_").lower().replace("__", ".") in known_names()


def chart(*arguments: str) -> tuple[int, str, str]:
    helm = need("helm")
    done = run(helm, "template", "craft", str(CHART), "--kube-version", f"{KUBERNETES}.0", *arguments)
    return done.returncode, done.stdout, done.stderr


FULL = "autoscaling.enabled=true,kafka.secretName=s,kafka.tlsSecretName=t,settings.kafka.security.security_protocol=SASL_SSL"


@pytest.mark.parametrize("arguments", [(), ("--set", FULL)])
def test_the_chart_renders_what_kubernetes_takes(arguments: tuple[str, ...]) -> None:
    """Strict validation against Kubernetes' own schemas; resources of operators have none and are looked at by kind."""
    code, out, err = chart(*arguments)
    assert code == 0, err
    documents = [document for document in yaml.safe_load_all(out) if document]
    foreign = {"PrometheusRule", "ServiceMonitor", "ScaledObject"}
    for document in documents:
        if document["kind"] not in foreign:
            kubernetes_validate.validate(document, KUBERNETES, strict=True)
    kinds = {document["kind"] for document in documents}
    assert {
        "StatefulSet",
        "PodDisruptionBudget",
        "NetworkPolicy",
        "ServiceMonitor",
        "PrometheusRule",
    } <= kinds
    assert ("ScaledObject" in kinds) == bool(arguments)


def test_the_charts_settings_are_read_by_the_program(tmp_path: Path) -> None:
    """The rendered TOML is one that Settings takes, nested tables and numbers included; the rules are the tested ones."""
    values = "settings.kafka.security.ssl_cafile=/etc/craft-tls/ca.crt,settings.learner.publish_pairs=2000000"
    code, out, err = chart("--set", values)
    assert code == 0, err
    documents = {(d["kind"], d["metadata"]["name"]): d for d in yaml.safe_load_all(out) if d}
    path = tmp_path / "craft.toml"
    path.write_text(documents["ConfigMap", "craft-craft-stream"]["data"]["craft.toml"])
    settings = Settings.load(path)
    assert settings.kafka.security.ssl_cafile == "/etc/craft-tls/ca.crt"
    assert settings.learner.publish_pairs == 2_000_000
    assert settings.kafka.session_timeout_ms == 10_000
    pod = documents["StatefulSet", "craft-craft-stream"]["spec"]["template"]["spec"]
    assert pod["terminationGracePeriodSeconds"] == 30 + settings.kafka.revoke_budget_ms // 1000
    assert documents["PrometheusRule", "craft-craft-stream"]["spec"] == yaml.safe_load(RULES.read_text())
    assert json.loads(
        documents["ConfigMap", "craft-craft-stream-dashboard"]["data"]["craft-stream.json"]
    ) == json.loads(DASHBOARD.read_text("utf-8"))


def test_the_chart_refuses_replicas_beyond_the_partitions() -> None:
    """They would only stand by."""
    code, _, err = chart("--set", "autoscaling.enabled=true,autoscaling.maxReplicas=9")
    assert code != 0
    assert "above autoscaling.partitions" in err


@pytest.mark.parametrize(
    "misspelt", ["replica=2", "image.tags=1", "autoscaling.maxReplica=3", "kafka.port=none"]
)
def test_the_chart_refuses_values_that_it_does_not_know(misspelt: str) -> None:
    """A misspelt value would be passed over otherwise."""
    code, _, err = chart("--set", misspelt)
    assert code != 0
    assert misspelt.split("=")[0].split(".")[-1] in err


def test_the_charts_schema_knows_every_value() -> None:
    """Each value of values.yaml is in the schema, down to the maps that are passed on as they are."""
    schema = json.loads((CHART / "values.schema.json").read_text())

    def compare(values: dict[str, Any], known: dict[str, Any], path: str) -> None:
        assert set(values) <= set(known), path
        for key, value in values.items():
            if known[key].get("additionalProperties") is False:
                compare(value, known[key]["properties"], f"{path}.{key}")

    compare(yaml.safe_load((CHART / "values.yaml").read_text()), schema["properties"], "values")


@pytest.mark.parametrize(("limit", "threads"), [("2", "2"), ("1500m", "1"), ("500m", "1"), ("4", "4")])
def test_threads_follow_the_limit(limit: str, threads: str) -> None:
    """Numba, OpenMP and OpenBLAS get the whole cores of the CPU limit; the image alone has one of each."""
    names = ("NUMBA_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    code, out, err = chart("--set-string", f"resources.limits.cpu={limit}")
    assert code == 0, err
    pods = [d for d in yaml.safe_load_all(out) if d and d["kind"] == "StatefulSet"]
    environment = {
        item["name"]: item.get("value")
        for item in pods[0]["spec"]["template"]["spec"]["containers"][0]["env"]
    }
    assert {environment[name] for name in names} == {threads}
    dockerfile = (ROOT / "Dockerfile").read_text()
    assert all(f"{name}=1" in dockerfile for name in names)


def test_the_chart_passes_lint() -> None:
    """Helm lint, strict."""
    done = run(need("helm"), "lint", "--strict", str(CHART), "--kube-version", f"{KUBERNETES}.0")
    assert done.returncode == 0, done.stdout + done.stderr


def test_strimzi_topics_are_those_that_the_program_makes() -> None:
    """Names, partitions and settings, but for what depends on the number of brokers."""
    settings = Settings()
    made = {plan.name: plan for plan in plans(settings.kafka, settings.record, 6)}
    progress = f"{settings.kafka.input_topic}.progress"  # of `craft-stream crawl`
    made[progress] = TopicPlan("progress", progress, 1, COMPACTED, {})
    found = {
        d["metadata"]["name"]: d["spec"]
        for d in yaml.safe_load_all((DEPLOY / "strimzi" / "topics.yaml").read_text())
    }
    assert set(found) == set(made)
    for name, spec in found.items():
        assert spec["partitions"] == made[name].partitions
        assert spec["config"].pop("min.insync.replicas") == spec["replicas"] - 1
        assert {key: str(value) for key, value in spec["config"].items()} == dict(made[name].configs)


def test_the_runbook_links_to_files_that_are_there() -> None:
    """Relative links and pictures of docs/how-to/operations.md exist."""
    links = re.findall(r"\]\((?!http|#)([^)#]+)", OPERATIONS.read_text("utf-8"))
    assert links
    for link in links:
        assert (OPERATIONS.parent / link).exists(), link


def test_no_configuration_names_a_host_of_packages() -> None:
    """A lock or configuration that does would not install where packages come from elsewhere."""
    names = (
        "*.toml",
        "*.yaml",
        "*.yml",
        "*.json",
        "*.mod",
        "*.sum",
        "*.lock",
        "Dockerfile",
        "Makefile",
        ".ci/*",
        "deploy/*",
    )
    files = run("git", "ls-files", "--", *names, cwd=ROOT).stdout.split()
    assert len(files) > 20
    known = {
        "127.0.0.1",
        "localhost",
        "prometheus",
        "json-schema.org",
        "arxiv.org",
    }  # of the last two, one names the schema's language, one the paper: nothing is fetched from them
    for file in files:
        hosts = set(re.findall(r"https?://([A-Za-z0-9.-]+)", (ROOT / file).read_text("utf-8")))
        assert hosts <= known, f"{file}: {hosts - known}"


def test_compose_takes_the_file() -> None:
    """compose-go, the library of docker compose, loads it and refuses a key that it does not know."""
    go = need("go")
    folder = DEPLOY / "compose" / "validate"
    done = run(go, "run", ".", "../compose.yaml", cwd=folder)
    assert done.returncode == 0, done.stderr
    done = run(go, "run", ".", "/dev/stdin", cwd=folder, input="services: {a: {image: b, read_onlyy: true}}")
    assert done.returncode == 1
    assert "read_onlyy" in done.stderr
