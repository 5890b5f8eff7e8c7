"""Writes `docs/reference/performance.md` from the figures of `throughput`, `latency`, `cost`, `neural` and `encoders`.

`python -m bench.performance RESULTS.json docs/reference/performance.md` replaces what lies between `<!-- bench:NAME -->` and
`<!-- /bench:NAME -->`; the rest is written by hand. A NAME is a benchmark's, or that and a label: `throughput 16 cores`.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from craft_stream.settings import KafkaSettings

Found = dict[str, Any]

NAMES = {
    "craft-stream run": "`craft-stream run` (a)",
    "consume": "bare consume loop (b)",
    "produce": "bare consume + transactional produce of 10 % (c)",
    "produce-decisions": "the same with headers, decisions and ledger as the worker writes them (c')",
    "quix-streams": "Quix Streams, trivial stateful filter (d)",
}


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def command(found: Found) -> str:
    """How the figures were made, and how busy the machine was meanwhile."""
    busy = (
        f"; {found['cores_busy']} cores were busy on average, everything included"
        if "cores_busy" in found
        else ""
    )
    typed = re.sub(
        r"--(corpus|quix|model|output) \S+",
        lambda option: f"--{option[1]} {option[1].upper()}",
        found["command"],
    )
    return f"`{typed}`{busy}"


def throughput(found: Found) -> str:
    """All contenders beside one another."""
    rows = []
    own = found["contenders"].get("craft-stream run")
    for name, row in found["contenders"].items():
        ratio = f"{own['rate'] / row['rate']:.2f}" if own else ""
        cost = f"{own['us'] / row['us']:.2f}" if own else ""
        rows.append(
            [
                NAMES.get(name, name),
                f"{row['rate']:,.0f} ({row['rate_least']:,.0f}-{row['rate_most']:,.0f})",
                f"{row['us']:.1f} ({row['us_least']:.1f}-{row['us_most']:.1f})",
                ratio,
                cost,
                f"{row['peak_mib']:.0f}" if row["peak_mib"] else "",
            ]
        )
    header = [
        "",
        "pairs/s (least-most)",
        "CPU us a pair",
        "(a) over it, pairs/s",
        "(a) over it, CPU",
        "peak MiB",
    ]
    return f"{table(header, rows)}\n\n{runs(found)}. {command(found)}"


def workers(found: Found) -> str:
    """So many workers, beside the fewest."""
    counted = {int(name.split()[0]): row for name, row in found["contenders"].items()}
    few = min(counted)
    rows = [
        [
            f"{count}",
            f"{row['rate']:,.0f} ({row['rate_least']:,.0f}-{row['rate_most']:,.0f})",
            f"{row['rate'] / counted[few]['rate']:.2f}",
            f"{row['us']:.1f} ({row['us_least']:.1f}-{row['us_most']:.1f})",
            f"{row['cores']:.1f}",
            f"{row['peak_mib']:.0f}",
        ]
        for count, row in counted.items()
    ]
    header = ["workers", "pairs/s (least-most)", f"times {few}", "CPU us a pair", "cores busy", "peak MiB"]
    return (
        f"{table(header, rows)}\n\n{runs(found)}, as many partitions as workers. "
        f"{machine(found)} {command(found)}"
    )


def runs(found: Found) -> str:
    """How often each contender ran."""
    count = max(len(row["runs"]) for row in found["contenders"].values())
    return f"{count} runs each, in turn" if count > 1 else "One run each"


def stages(found: Found) -> str:
    """CPU time by stage."""
    total = sum(found["us"].values())
    rows = [[name, f"{us:.2f}", f"{us / total:.0%}"] for name, us in found["us"].items()]
    rows.append(["all", f"{total:.2f}", ""])
    return (
        f"{table(['stage', 'CPU us a pair', 'share'], rows)}\n\n"
        f"A version of the Model takes {found['version_seconds']:.2f} s of CPU time. {command(found)}"
    )


def linear(found: Found) -> str:
    """What a pair costs in each million."""
    parts = ("learner_mib", "model_mib", "published_mib", "ledger_mib", "process_mib")
    rows = [
        [
            f"{row['pairs']:,}",
            f"{row['us']:.2f}",
            f"{row['engine_us']:.2f}",
            *(f"{row[part]:.1f}" for part in parts),
        ]
        for row in found["millions"]
    ]
    first, last = found["millions"][0]["us"], found["millions"][-1]["us"]
    warm = found["millions"][1]["us"]
    names = ["pairs", "CPU us a pair", "engine alone", "learner, MiB", "Model, MiB", "published, MiB"]
    names += ["ledger, MiB", "process, MiB"]
    return (
        f"Budget {found['rate']:.0%}.\n\n{table(names, rows)}\n\nThe last million costs {last / warm:.3f} times the second, "
        f"{last / first:.3f} times the first. {command(found)}"
    )


def start(found: Found) -> str:
    """Start-up."""
    rows = [
        [name, f"{row['wall']:.2f}", f"{row['cpu']:.2f}", f"{row['peak_mib']:.0f}"]
        for name, row in found.items()
        if isinstance(row, dict)
    ]
    return f"{table(['', 's', 'CPU s', 'peak MiB'], rows)}\n\n{command(found)}"


def jobs(found: Found) -> str:
    """`craft-stream select` on one core and on two."""
    rows = [
        [name, f"{row['wall']:.1f}", f"{row['cpu']:.1f}", f"{row['peak_mib']:.0f}"]
        for name, row in found["ways"].items()
    ]
    shown = table(["", "s", "CPU s", "peak MiB"], rows)
    return (
        f"{shown}\n\nIn two passes {found['faster']:.2f} times as fast on two cores as on one, as if {found['serial']:.0%} of "
        f"the work were done by one core alone; the same bytes. {command(found)}"
    )


def select(found: Found) -> str:
    """`craft-stream select` and DSIR."""
    pairs = found["pairs"]
    ways = {"`craft-stream select`": found}
    if "dsir" in found:
        ways["DSIR package, both sides, one process"] = found["dsir"]
    rows = [
        [
            name,
            f"{row['wall']:.1f}",
            f"{row['cpu']:.1f}",
            f"{pairs / row['wall']:,.0f}",
            f"{row.get('peak_mib', 0):.0f}",
        ]
        for name, row in ways.items()
    ]
    ratio = ""
    if "dsir" in found:
        ratio = f" {found['dsir']['wall'] / found['wall']:.0f} times the pairs a second of the package."
    return f"{table(['', 's', 'CPU s', 'pairs/s', 'peak MiB'], rows)}\n\n{pairs:,} pairs.{ratio} {command(found)}"


def latency(found: Found) -> str:
    """Percentiles."""
    rows = []
    for name in ("default", "low"):
        row = found[name]
        setting = ", ".join(f"`{key} = {row[key]}`" for key in row if "." in key) or "defaults"
        rows.append(
            [setting, *(f"{row[key]:,.0f}" for key in ("p50", "p95", "p99", "worst")), f"{row['cores']:.2f}"]
        )
    header = ["", "p50 ms", "p95 ms", "p99 ms", "worst ms", "cores used"]
    return f"{table(header, rows)}\n\nAt {found['rate']:,.0f} pairs/s. {command(found)}"


def neural(found: Found) -> str:
    """A neural encoder behind the cascade, beside what it would allow."""
    row = found["median"]
    ratios = ", ".join(f"{run['ratio']:.2f}" for run in found["runs"])
    rows = [
        ["pairs/s", f"{row['rate']:,.1f}"],
        ["of them embedded", f"{row['share']:.2%}"],
        ["the encoder alone, texts/s", f"{row['alone']:.1f} ({row['alone_cpu']:.1f} of CPU time)"],
        ["pairs/s that it allows", f"{row['rate'] / row['ratio']:,.1f}"],
        ["share of that", f"{row['ratio']:.2f} ({ratios})"],
        ["first commit after start, s", f"{row['first_commit']:.0f}"],
        ["longest time between commits, s", f"{row['longest_commit']:.1f}"],
        ["longest time between polls, of `max_poll_interval_ms`", f"below {row['poll_used']:.1%}"],
        ["partitions assigned, taken away", f"{row['assigned']:.0f}, {row['taken']:.0f}"],
    ]
    return (
        f"{table(['', 'median'], rows)}\n\nAll of {found['pairs']:,} records are decided, each once; "
        f"{row['pairs']:,.0f} count. {command(found)}"
    )


def encoders(found: Found) -> str:
    """A neural encoder alone, by precision and texts at a time, and a selection with it."""
    rows = [
        [
            row["precision"],
            f"{row['batch_size']}",
            f"{row['embed']:,.0f}",
            f"{row['encode']:,.0f}",
            f"{row['plain']:,.0f}",
            f"{row['differ']:,} of {row['texts']:,}" + (f", by {row['by']:.1g}" if row["differ"] else ""),
            f"{row['from_alone']:.1g}",
        ]
        for row in found["encoders"]
    ]
    header = [
        "precision",
        "batch_size",
        "texts/s, as the selector asks",
        "all at once",
        "sentence-transformers",
    ]
    header += ["vectors changed by their batch", "furthest from the first row's"]
    text = table(header, rows)
    if chosen := found.get("select"):
        same = "the same" if chosen["same"] else "NOT the same"
        read, seconds = chosen["read"], chosen["seconds"]
        text += (
            f"\n\n`craft-stream select` with {chosen['precision']} and `batch_size = {chosen['batch_size']}`: {read:,} "
            f"pairs in {seconds:.1f} s ({chosen['wall']:.1f} with its start), {read / seconds:,.0f} pairs/s, "
            f"{chosen['embedded'] / read:.1%} of them embedded; run again, {same} decisions."
        )
    return f"{text}\n\n{found['device']}; {machine(found)} {command(found)}"


def machine(found: Found) -> str:
    """What it ran on."""
    shown = found["machine"]
    versions = ", ".join(
        f"{name} {version}" for name, version in shown.items() if name not in ("cores", "processor")
    )
    return f"{shown['cores']} cores ({shown.get('processor', '')}); {versions}."


def scaling(found: Found) -> str:
    """What one measured worker means for many; arithmetic, not a measurement."""
    rate = found["contenders"]["craft-stream run"]["rate"]
    rows = [
        [
            f"{n}",
            f"{2 * n}",
            f"{n * rate / 1e6:.2f} million",
            f"{n * rate * 250 / 1e6:,.0f}",
            f"{n * max(1.0, rate / KafkaSettings().max_poll_records):,.0f}",
            f"{1.5 * n:.0f}",
        ]
        for n in (1, 8, 64)
    ]
    header = [
        "workers",
        "cores",
        "pairs/s",
        "MB/s from the brokers, unpacked",
        "transactions/s",
        "MB/s of Models",
    ]
    return table(header, rows)


PARTS: dict[str, Callable[[Found], str]] = {
    "throughput": throughput,
    "workers": workers,
    "stages": stages,
    "linear": linear,
    "start": start,
    "select": select,
    "jobs": jobs,
    "latency": latency,
    "neural": neural,
    "encoders": encoders,
}


def main() -> None:
    """Parse the command line and write the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("results", type=Path)
    parser.add_argument("page", type=Path)
    arguments = parser.parse_args()
    results, page = json.loads(arguments.results.read_text()), arguments.page.read_text()
    texts = {
        name: make(found) for name, found in results.items() if (make := PARTS.get(name.partition(" ")[0]))
    }
    if "throughput" in results:
        texts["machine"] = machine(results["throughput"])
        texts["scaling"] = scaling(results["throughput"])
    for name, text in texts.items():
        start, end = f"<!-- bench:{name} -->\n", f"<!-- /bench:{name} -->"
        head, _, rest = page.partition(start)
        page = f"{head}{start}{text}\n{end}{rest.partition(end)[2]}"
    arguments.page.write_text(page)


if __name__ == "__main__":
    main()
