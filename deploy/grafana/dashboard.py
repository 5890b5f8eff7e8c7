"""The Grafana dashboard as code: `python deploy/grafana/dashboard.py` writes dashboards/craft-stream.json.

Needs the extra `deploy-dev` (grafana-foundation-sdk). tests/deploy holds the committed JSON to this file, its metrics
to craft_stream/observe/metrics.py and, over a live worker, every expression to a result that is not empty.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Final, Literal

from grafana_foundation_sdk.builders import common, dashboard, prometheus, stat, timeseries
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common as common_model
from grafana_foundation_sdk.models import dashboard as model

OUTPUT: Final = Path(__file__).parent / "dashboards" / "craft-stream.json"
SELECTOR: Final = 'environment=~"$environment",group=~"$group",topic=~"$topic"'
# A crawl is in no consumer group.
CRAWL_SELECTOR: Final = 'job="craft-crawl",environment=~"$environment",topic=~"$topic"'
SOURCE: Final = model.DataSourceRef(type_val="prometheus", uid="${datasource}")
RATE: Final = "$__rate_interval"
PER_SECOND: Final = "count:/s"  # with K and M


@dataclass(frozen=True)
class Panel:
    """A panel: `targets` are pairs of expression (`@` stands for the selector, `@crawl` for the crawl's) and legend.

    `top`: how far the axis reaches at least, where zero is the rule. `legend`: none where it would fill the panel, as with
    64 clusters; the tooltip has the names.
    """

    title: str
    description: str
    unit: str
    targets: tuple[tuple[str, str], ...]
    alert: str | None = None
    kind: Literal["lines", "stack", "number"] = "lines"
    width: int = 8
    limit: float | None = None
    top: float | None = None
    legend: bool = True


def rate(metric: str, labels: str = "", by: str = "", over: str = RATE, selector: str = "@") -> str:
    """Sum of the rates of a counter, by some labels."""
    grouping = f" by ({by})" if by else ""
    return f"sum{grouping} (rate({metric}{{{labels + ',' if labels else ''}{selector}}}[{over}]))"


def crawl_rate(metric: str, by: str = "instance") -> str:
    """The same for a crawl."""
    return rate(metric, by=by, selector="@crawl")


def quantiles(metric: str, by: str = "", over: str = RATE) -> tuple[tuple[str, str], ...]:
    """Median and 99th percentile of a histogram, the latter alone by a label; of rare events over an hour."""
    inner = rate(f"{metric}_bucket", by=f"{by}, le" if by else "le", over=over)
    shares = ((0.99, f"{{{{{by}}}}}"),) if by else ((0.5, "p50"), (0.99, "p99"))
    return tuple((f"histogram_quantile({share}, {inner})", legend) for share, legend in shares)


ROWS: Final[dict[str, tuple[Panel, ...]]] = {
    "What comes in and what goes out": (
        Panel(
            "Records in", "Records of the crawl read per second.", PER_SECOND,
            ((rate("craft_records_consumed_total"), "records"),), kind="number", width=4,
        ),
        Panel(
            "Pairs accepted", "Pairs accepted and committed per second.", PER_SECOND,
            ((rate("craft_decisions_total", 'outcome="accepted"'), "accepted"),), kind="number", width=4,
        ),
        Panel(
            "Share accepted", "Accepted over decided, of the last 30 minutes.", "percentunit",
            (("avg (craft:accepted:ratio_rate30m{@})", "accepted"),),
            "CraftAcceptanceCollapsed", "number", 4,
        ),
        Panel(
            "Behind", "Age of the newest record decided in the slowest partition.", "s",
            (("max (craft_lag_seconds{@})", "behind"),), "CraftLagging", "number", 4, 600,
        ),
        Panel(
            "KL(target || accepted)", "Over the clusters, of all workers together.", "none",
            (("max (craft:divergence:nats{@})", "nats"),), "CraftDistributionMismatch", "number", 4,
        ),
        Panel(
            "Workers up", "Scraped successfully.", "none",
            (('count (up{job="craft-stream",@} == 1)', "workers"),), "CraftDown", "number", 4,
        ),
        Panel(
            "Throughput", "Records read and pairs decided per second.", PER_SECOND,
            (
                (rate("craft_records_consumed_total"), "records read"),
                (rate("craft_decisions_total"), "pairs decided"),
                (rate("craft_decisions_total", 'outcome="accepted"'), "pairs accepted"),
            ),
        ),
        Panel("Bytes in", "Bytes of record values read per second.", "Bps", ((rate("craft_consumed_bytes_total"), "in"),)),
        Panel(
            "From record to commit", "From the record's timestamp to the commit of its decision; the mean of a transaction.",
            "s", quantiles("craft_end_to_end_latency_seconds"),
        ),
    ),
    "Why pairs are rejected": (
        Panel(
            "Decisions by reason", "Every pair decided, by the reason of its decision.", PER_SECOND,
            ((rate("craft_decisions_total", by="reason"), "{{reason}}"),), kind="stack", width=12,
        ),
        Panel(
            "Dead letters", "Records that could not be decided, by stage and reason; what does not occur is left out.",
            PER_SECOND,
            (
                (rate("craft_dead_letters_total"), "all"),
                (f"{rate('craft_dead_letters_total', by='stage, reason')} > 0", "{{stage}} {{reason}}"),
            ),
            "CraftDeadLetters", width=6, top=0.1,
        ),
        Panel(
            "Share that cannot be decided", "As the circuit breaker sees it; it opens at errors.dead_letter_limit.",
            "percentunit", (("max by (instance) (craft_dead_letter_ratio{@})", "{{instance}}"),), "CraftDeadLetters", width=6,
            top=0.01,
        ),
        Panel(
            "Threshold", "Score that a pair must reach, by partition.", "none",
            (("max by (partition) (craft_threshold_score{@})", "partition {{partition}}"),),
        ),
        Panel(
            "Judged and embedded", "Share of the pairs whose quality was judged, and of those embedded.", "percentunit",
            (
                # A scrape between two counts would show more than all.
                (f"clamp_max({rate('craft_judged_total')} / {rate('craft_decisions_total')}, 1)", "judged"),
                (f"clamp_max({rate('craft_embedded_total')} / {rate('craft_decisions_total')}, 1)", "embedded"),
            ),
        ),
        Panel(
            "Rejected pairs written down", "The sample of rejected pairs in the decisions topic.", PER_SECOND,
            ((rate("craft_rejected_kept_total"), "kept"),),
        ),
    ),
    "Does what is accepted match the target": (
        Panel(
            "KL(target || accepted)", "Over the clusters; the bound is what the duals guarantee.", "none",
            (("craft:divergence:nats{@}", "{{group}}"), ("max by (group) (craft_divergence_bound_nats{@})", "bound {{group}}")),
            "CraftDistributionMismatch",
        ),
        Panel(
            "Cluster shares, target less accepted", "By cluster; 0 is a perfect match, above 0 too little was accepted.",
            "percentunit",
            (("craft:cluster_target:ratio{@} - craft:cluster_accepted:ratio{@}", "cluster {{cluster}}"),), legend=False,
        ),
        Panel(
            "Pairs accepted by cluster", "Of all workers together.", "short",
            (("sum by (cluster) (craft_cluster_accepted_pairs{@})", "cluster {{cluster}}"),), kind="stack", legend=False,
        ),
        Panel(
            "Budget", "Share of the stream to accept, and the share accepted.", "percentunit",
            (
                ("avg (craft_budget_wanted_ratio{@})", "wanted"),
                ("avg (craft_budget_realised_ratio{@} > 0)", "realised"),
                ("avg (craft:accepted:ratio_rate30m{@})", "realised, 30 min"),
            ),
            "CraftAcceptanceCollapsed",
        ),
        Panel(
            "Budget withheld", "Since the stream holds less of the domain than it did.", "percentunit",
            (("avg by (instance) (craft_budget_unspendable_ratio{@})", "{{instance}}"),), "CraftBudgetNotSpendable",
            top=0.1,
        ),
        Panel(
            "Drift", "Times an hour, by signal; spending: the stream came to hold less of the domain than it had.", "none",
            (("sum by (signal) (increase(craft_drift_detections_total{@}[1h]))", "{{signal}}"),),
            "CraftBudgetNotSpendable", top=1,
        ),
    ),
    "Kafka": (
        Panel(
            "Behind, seconds", "Age of the newest record decided while there are more, by partition.", "s",
            (("max by (partition) (craft_lag_seconds{@})", "partition {{partition}}"),), "CraftLagging", limit=600,
        ),
        Panel(
            "Behind, offsets", "Commit markers count too.", "short",
            (("max by (partition) (craft_lag_records{@})", "partition {{partition}}"),), "CraftLagging",
        ),
        Panel(
            "Partitions", "Held, by state.", "none",
            (("sum by (state) (craft_partitions{@})", "{{state}}"),), "CraftRestoreSlow", "stack",
        ),
        Panel(
            "Transactions", "Per second, by result.", PER_SECOND,
            ((rate("craft_transactions_total", by="result"), "{{result}}"),), "CraftStalled",
        ),
        Panel("Length of a transaction", "From begin to commit.", "s", quantiles("craft_transaction_duration_seconds")),
        Panel(
            "Since the last commit and the last turn",
            "Of the worker's loop, which turns every second. An idle worker commits nothing; alarming while there is lag.", "s",
            (
                ("time() - craft_last_commit_timestamp_seconds{@}", "commit {{instance}}"),
                ('time() - craft_last_beat_timestamp_seconds{job="craft-stream",@}', "turn {{instance}}"),
            ),
            "CraftStalled",
        ),
        Panel(
            "Rebalances", "In 15 minutes: times that partitions were revoked or lost, and partitions that were assigned.",
            "none",
            (("sum by (kind) (increase(craft_rebalances_total{@}[15m]))", "{{kind}}"),), "CraftRebalanceStorm", top=1,
        ),
        Panel(
            "Duration of a rebalance",
            "Until the partitions were drained, dropped or restored; 99th percentile of an hour, empty without any.", "s",
            quantiles("craft_rebalance_duration_seconds", "kind", "1h"),
        ),
        Panel(
            "Poll interval used", "Time between polls over max.poll.interval.ms; past 1 the group throws the worker out.",
            "percentunit", quantiles("craft_poll_interval_used_ratio"), "CraftPollBudget", limit=0.5,
        ),
    ),
    "State: ledgers, models, target": (
        Panel(
            "Restore progress", "Share of the ledger that is read back, by partition; 1 once it is restored.", "percentunit",
            (("min by (partition) (craft_restore_progress_ratio{@})", "partition {{partition}}"),), "CraftRestoreSlow", top=1,
        ),
        Panel(
            "Time of a restore", "From assignment to a restored ledger; of an hour, empty without any.", "s",
            quantiles("craft_restore_duration_seconds", over="1h"), "CraftRestoreSlow",
        ),
        Panel(
            "Restores in an hour", "Restores, readings repeated while a commit was under way, damage by outcome.", "none",
            (
                ("sum (increase(craft_restore_duration_seconds_count{@}[1h]))", "restores"),
                ("sum (increase(craft_restore_retries_total{@}[1h]))", "readings repeated"),
                ("sum by (outcome) (increase(craft_ledger_damaged_total{@}[1h]))", "damaged, {{outcome}}"),
            ),
            "CraftLedgerDamaged", top=1,
        ),
        Panel(
            "Ledger bytes read back", "Per second, by restores.", "Bps",
            ((rate("craft_restored_bytes_total"), "restored"),), "CraftRestoreSlow", top=1000,
        ),
        Panel(
            "Ledger bytes written", "Per second, by kind.", "Bps",
            ((rate("craft_ledger_written_bytes_total", by="kind"), "{{kind}}"),), kind="stack",
        ),
        Panel(
            "Deltas since the snapshot", "What a restore must replay, by partition.", "none",
            (("max by (partition) (craft_ledger_pending_deltas{@})", "partition {{partition}}"),), "CraftSnapshotStale",
        ),
        Panel(
            "Age of the snapshot", "Of the newest of each partition, the oldest of a worker.", "s",
            (("time() - min by (instance) (craft_ledger_snapshot_timestamp_seconds{@})", "{{instance}}"),),
            "CraftSnapshotStale",
        ),
        Panel(
            "Size of a snapshot", "The last one of a ledger that was written.", "bytes",
            (("max by (instance) (craft_ledger_snapshot_bytes{@})", "{{instance}}"),),
        ),
        Panel(
            "Making a snapshot", "Time, as a part of its transaction.", "s",
            quantiles("craft_ledger_snapshot_duration_seconds", over="1h"), "CraftSnapshotStale",
        ),
        Panel(
            "Snapshots in 15 minutes", "Written; and failed: not made, or their transaction was not committed.", "none",
            (
                ("sum by (instance) (increase(craft_ledger_snapshots_total{@}[15m]))", "written {{instance}}"),
                ("sum by (instance) (increase(craft_ledger_snapshot_failures_total{@}[15m]))", "failed {{instance}}"),
            ),
            "CraftSnapshotStale",
        ),
        Panel(
            "Versions of model and settings", "In force (the oldest of a worker's partitions), loaded; settings.", "none",
            (
                ("craft_model_version{@} > 0", "in force {{instance}}"),
                ("max by (group) (craft_model_loaded_version{@})", "newest {{group}}"),
                ("max by (group) (craft_settings_version{@})", "settings {{group}}"),
            ),
            "CraftTargetSkew",
        ),
        Panel(
            "Age of the model", "Since the newest version loaded was published.", "s",
            (("time() - (craft_model_published_timestamp_seconds{@} > 0)", "{{instance}}"),), "CraftModelStale",
        ),
        Panel(
            "Size of the model", "The newest version loaded.", "bytes",
            (("max by (group) (craft_model_bytes{@})", "{{group}}"),),
        ),
        Panel(
            "Publishing a model", "Time to make and write a version.", "s",
            quantiles("craft_model_publish_duration_seconds", over="1h"),
        ),
        Panel(
            "Learners, and versions of the model", "Processes that learn; versions published, withdrawn, passed over.", "none",
            (
                ("sum (craft_learner_active{@})", "learners"),
                ("max by (group) (craft_learner_stopped{@})", "stopped {{group}}"),
                ("sum (craft_models_published_total{@})", "published"),
                ("sum (craft_models_pruned_total{@})", "withdrawn"),
                ("max by (group) (craft_passed_over_models{@})", "passed over {{group}}"),
            ),
            "CraftModelPassedOver",
        ),
        Panel(
            "Pairs learned from", "Of the stream, since the learner began.", "short",
            (("sum by (instance) (craft_learner_pairs{@})", "{{instance}}"),), "CraftModelStale", width=6,
        ),
        Panel(
            "Target", "Pairs of the target that are learned from, and those left out.", "short",
            (
                ("max by (group) (craft_target_pairs{@})", "{{group}}"),
                ("max by (group, reason) (craft_target_left_out_pairs{@})", "{{group}}, left out: {{reason}}"),
            ),
            "CraftNotLearning",
            width=6,
        ),
        Panel(
            "Target read again", "Times in an hour, since withdrawals had left the reservoir incomplete.", "none",
            (("sum (increase(craft_target_rereads_total{@}[1h]))", "times"),), width=6, top=1,
        ),
        Panel(
            "Targets in use", "Workers by target version: one line unless a swap is under way.", "none",
            (('count_values ("target", craft_target_version{@} > 0)', "target {{target}}"),), "CraftTargetSkew", width=6,
        ),
    ),
    "Process": (
        Panel(
            "Memory", "Resident.", "bytes",
            (('process_resident_memory_bytes{job="craft-stream",@}', "{{instance}}"),), "CraftMemoryGrowth", width=6,
        ),
        Panel(
            "CPU", "Cores in use.", "none",
            ((f'rate(process_cpu_seconds_total{{job="craft-stream",@}}[{RATE}])', "{{instance}}"),), width=6,
        ),
        Panel(
            "In flight", "Bytes read and not yet committed.", "bytes",
            (("craft_in_flight_bytes{@}", "{{instance}}"),), width=6,
        ),
        Panel(
            "Program and parameters", "Workers by version and by digest of the parameters; a rollout has two of either.",
            "none",
            (
                ('count by (version) (craft_build_info{job="craft-stream",@})', "version {{version}}"),
                ("count by (digest) (craft_parameters_info{@})", "parameters {{digest}}"),
            ),
            width=6,
        ),
        Panel(
            "Time by stage", "Seconds a second spent in each stage, of all workers; waiting for records is left out.",
            "percentunit",
            ((rate("craft_stage_duration_seconds_sum", 'stage!="poll"', by="stage"), "{{stage}}"),), kind="stack",
        ),
        Panel("Duration of a stage", "99th percentile of a batch.", "s", quantiles("craft_stage_duration_seconds", "stage")),
        Panel(
            "Errors survived", "Per second, by class; and producers thrown away after an ambiguous error.", PER_SECOND,
            ((rate("craft_recoveries_total"), "recoveries"), (rate("craft_errors_total", by="kind"), "{{kind}}")),
            "CraftStalled", top=0.1,
        ),
    ),
}  # fmt: skip

# Folded up, since not every deployment crawls with `craft-stream crawl`.
FOLDED: Final[dict[str, tuple[Panel, ...]]] = {
    "Crawl: craft-stream crawl": (
        Panel(
            "Responses read", "From WARC files, per second.", PER_SECOND,
            ((crawl_rate("craft_crawl_responses_total"), "{{instance}}"),), "CraftDown",
        ),
        Panel(
            "Bytes of pages", "Decompressed, per second.", "Bps",
            ((crawl_rate("craft_crawl_read_bytes_total"), "{{instance}}"),),
        ),
        Panel(
            "Pairs published", "Per second.", PER_SECOND, ((crawl_rate("craft_crawl_pairs_total"), "{{instance}}"),),
        ),
        Panel(
            "What became of pages", "Per second; what does not occur is left out. Names: docs/reference/connectors.md.",
            PER_SECOND,
            ((f"{crawl_rate('craft_crawl_pages_total', 'outcome')} > 0", "{{outcome}}"),), kind="stack",
        ),
        Panel(
            "Pages that wait", "For their translation.", "short",
            (("craft_crawl_waiting_pages{@crawl}", "{{instance}}"),),
        ),
        Panel(
            "Since the last step and the last pairs",
            "A crawl that waits for more takes steps and publishes nothing; one that takes none hangs.", "s",
            (
                ("time() - craft_last_beat_timestamp_seconds{@crawl}", "step {{instance}}"),
                ("time() - craft_crawl_last_publish_timestamp_seconds{@crawl}", "pairs {{instance}}"),
            ),
            "CraftCrawlStalled",
        ),
    ),
}  # fmt: skip


def links(alert: str) -> list[Builder[model.DashboardLink]]:
    """A panel's links to its alert and to the runbook's paragraph on it."""
    return [
        dashboard.DashboardLink(f"Alert {alert}").url(f"/alerting/list?search={alert}"),
        dashboard.DashboardLink("Runbook").url(f"${{runbooks}}#{alert.lower()}"),
    ]


def build_panel(panel: Panel) -> timeseries.Panel | stat.Panel:
    """One panel, with the ids of its queries, which the library leaves empty."""
    built: timeseries.Panel | stat.Panel
    if panel.kind == "number":
        built = stat.Panel().height(4).reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        built = built.color_mode(common_model.BigValueColorMode.NONE).graph_mode(
            common_model.BigValueGraphMode.AREA
        )
    else:
        lines = timeseries.Panel().height(8).line_width(1).show_points(common_model.VisibilityMode.NEVER)
        legend = (
            common.VizLegendOptions().show_legend(panel.legend).placement(common_model.LegendPlacement.BOTTOM)
        )
        lines = lines.legend(legend.display_mode(common_model.LegendDisplayMode.LIST).calcs([]))
        lines = lines.tooltip(common.VizTooltipOptions().mode(common_model.TooltipDisplayMode.MULTI))
        lines = lines.axis_soft_min(0)
        if panel.top is not None:
            lines = lines.axis_soft_max(panel.top)
        if panel.kind == "stack":
            stacking = common.StackingConfig().mode(common_model.StackingMode.NORMAL).group("A")
            lines = lines.fill_opacity(60).stacking(stacking)
        if panel.limit is not None:
            style = common.GraphThresholdsStyleConfig().mode(common_model.GraphTresholdsStyleMode.DASHED)
            lines = lines.thresholds_style(style)
        built = lines
    steps = [model.Threshold(value=None, color="green")]
    if panel.limit is not None:
        steps.append(model.Threshold(value=panel.limit, color="red"))
    built.title(panel.title).description(panel.description).unit(panel.unit).span(panel.width).datasource(
        SOURCE
    )
    built.thresholds(dashboard.ThresholdsConfig().mode(model.ThresholdsMode.ABSOLUTE).steps(steps))
    if panel.alert:
        built.links(links(panel.alert))
    for index, (expression, legend_format) in enumerate(panel.targets):
        query = prometheus.Dataquery().ref_id(chr(ord("A") + index)).range()
        query.expr(expression.replace("@crawl", CRAWL_SELECTOR).replace("@", SELECTOR))
        query.legend_format(legend_format).datasource(SOURCE)
        built.with_target(query)
    return built


def variables() -> Iterable[
    dashboard.DatasourceVariable | dashboard.QueryVariable | dashboard.TextBoxVariable
]:
    """Data source, deployment, and where the runbook is served."""
    yield dashboard.DatasourceVariable("datasource").label("Prometheus").type("prometheus")
    for name in ("environment", "group", "topic"):
        query = dashboard.QueryVariable(name).label(name.capitalize()).datasource(SOURCE)
        query.query(f"label_values(craft_build_info, {name})").refresh(
            model.VariableRefresh.ON_TIME_RANGE_CHANGED
        )
        query.current(model.VariableOption(selected=True, text="All", value="$__all"))
        yield query.include_all(True).all_value(".*").multi(True).sort(model.VariableSort.ALPHABETICAL_ASC)
    yield dashboard.TextBoxVariable("runbooks").label("Runbook").default_value("docs/how-to/operations.md")


def build() -> str:
    """The dashboard as JSON."""
    board = dashboard.Dashboard("craft_stream").uid("craft-stream").tags(["craft-stream", "kafka"]).readonly()
    board.description("Selects, from a crawl's pairs, the training data that matches a target domain.")
    board.refresh("30s").time("now-3h", "now").timezone("browser").tooltip(
        model.DashboardCursorSync.CROSSHAIR
    )
    for variable in variables():
        board.with_variable(variable)
    for title, panels in ROWS.items():
        board.with_row(dashboard.Row(title))
        for panel in panels:
            board.with_panel(build_panel(panel))
    for title, panels in FOLDED.items():
        row = dashboard.Row(title)
        for panel in panels:
            row.with_panel(build_panel(panel))
        board.with_row(row)
    content = json.loads(json.dumps(board.build(), cls=JSONEncoder))
    numbers = count(1)
    for panel in content["panels"]:
        panel["id"] = next(numbers)
        for folded in panel.get("panels") or []:
            folded["id"] = next(numbers)
    for variable in content["templating"]["list"]:
        del variable["id"]  # the library gives every variable the same
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    OUTPUT.write_text(build(), "utf-8")
