"""`python -m tests.notifications`: the whole campaign, and its report."""

import argparse
import json
import sys
from dataclasses import asdict

from tests.factories.broker import free_port
from tests.notifications.campaign import campaign


def main() -> None:
    """Run it; exit 1 where a promise was broken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=1_000, help="deliveries")
    parser.add_argument("--kills", type=int, default=20, help="times the sender is killed")
    given = parser.parse_args()
    report = campaign(size=given.size, kills=given.kills, free_port=free_port)
    print(json.dumps(asdict(report), indent=2))
    sys.exit(1 if report.violations else 0)


if __name__ == "__main__":
    main()
