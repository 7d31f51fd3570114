"""`python -m tests.conservation`: the whole campaign, on both logs unless told otherwise."""

import argparse
import json
import random
import sys

from tests.conservation.campaign import Report, campaign
from tests.factories.broker import running_broker


def run(log: str, given: argparse.Namespace) -> Report:
    """One campaign on one log."""
    numbers = {"size": given.events, "kills": given.kills, "seed": given.seed}
    if log == "postgres":
        return campaign(**numbers)
    with running_broker() as broker:
        return campaign(**numbers, broker=broker)


def tell(report: Report) -> None:
    """Print a report for people."""
    killed = ", ".join(f"{name} {n}" for name, n in sorted(report.kills.items()))
    slowest = ", ".join(f"{name} {s} s" for name, s in sorted(report.slowest.items()))
    print(f"{report.log}: {report.events} events, seed {report.seed}, {report.seconds} s")
    print(f"  killed     {killed}")
    print(f"  back after {slowest}")
    print(f"  account    {report.account}")
    print(
        f"  {report.resent} requests resent, {report.cases} cases, {report.fired} steps fired,"
        f" {report.verdicts} verdicts"
    )
    happened = ", ".join(f"{event} {n}" for event, n in report.happened.items())
    print(f"  cases were {happened}")
    for violation in report.violations[:50]:
        print(f"  VIOLATION  {violation}")
    print(f"  {'SOUND' if not report.violations else f'{len(report.violations)} violations'}")


def main() -> int:
    """Run the campaigns asked for; 1 where anything was violated."""
    parser = argparse.ArgumentParser(prog="python -m tests.conservation", description=__doc__)
    parser.add_argument("--log", choices=["postgres", "kafka", "both"], default="both")
    parser.add_argument("--events", type=int, default=20_000)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, help="to repeat a campaign; drawn where absent")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    if given.seed is None:
        given.seed = random.SystemRandom().randrange(1_000_000)
    print(f"seed {given.seed}", file=sys.stderr, flush=True)
    reports = []
    for log in ("postgres", "kafka") if given.log == "both" else (given.log,):
        reports.append(run(log, given))
        if not given.json:
            tell(reports[-1])
    if given.json:
        print(json.dumps([report.as_json() for report in reports]))
    return int(any(report.violations for report in reports))


if __name__ == "__main__":
    sys.exit(main())
