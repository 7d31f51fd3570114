"""`make bench`: every measurement, in one run, written to benchmarks/RESULTS.md."""

import argparse
import platform
import sys
from datetime import UTC, datetime
from pathlib import Path

from benchmarks import (
    corrections,
    decide,
    escalation,
    ingest,
    limits,
    opening,
    pages,
    replay,
    retention,
    routing_rules,
)
from benchmarks.server import broker
from benchmarks.table import Row, write

_RESULTS = Path(__file__).parent / "RESULTS.md"


def machine() -> str:
    """What this was measured on."""
    info = Path("/proc/cpuinfo")
    model = "unknown processor"
    if info.exists():
        names = [line for line in info.read_text().splitlines() if line.startswith("model name")]
        model = names[0].partition(":")[2].strip() if names else model
        cores = len(names)
    else:
        cores = 0
    memory = Path("/proc/meminfo").read_text().split()[1] if info.exists() else "0"
    return (
        f"{model}, {cores} cores, {int(memory) // 1024 // 1024} GiB, {platform.system()}, "
        f"Python {platform.python_version()}"
    )


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of everything, for a look")
    parser.add_argument("--no-kafka", action="store_true", help="leave out what needs Java")
    asked = parser.parse_args()
    scale = 10 if asked.quick else 1
    rows: list[Row] = [*decide.rows(), *routing_rules.rows()]
    limit = limits.measure(40_000 // scale)
    rows += limit.rows() + ingest.rows(40_000 // scale, limit)
    if not asked.no_kafka:
        with broker() as bootstrap:
            rows += ingest.kafka_rows(bootstrap, 60_000 // scale, limit)
            kafka = {"SECONDLOOK_KAFKA_BOOTSTRAP_SERVERS": bootstrap}
            rows += opening.rows(20, "Kafka", **kafka)
    rows += corrections.rows(10_000 // scale) + opening.rows(20)
    for outputs, cases in ((100_000, 10_000), (1_000_000, 100_000)):
        rows += pages.rows(outputs // scale, cases // scale)
    rows += escalation.rows(scale) + replay.rows(100_000 // scale)
    rows += retention.rows(1_000_000 // scale)
    day = datetime.now(UTC).date()
    write(_RESULTS, rows, f"{day}, {machine()}{', --quick' if asked.quick else ''}")
    sys.stdout.write(_RESULTS.read_text())


if __name__ == "__main__":
    main()
