"""`python -m tests.engines`: ten thousand timers, three engines, one killed and one frozen."""

import argparse
import tempfile
from pathlib import Path

from migrations import run
from services.kit.processes.embedded_postgres import EmbeddedPostgres
from tests.engines.campaign import campaign


def main() -> int:
    """Run it; 1 where a timer was missed, doubled or too late."""
    parser = argparse.ArgumentParser(prog="python -m tests.engines", description=__doc__)
    parser.add_argument("--timers", type=int, default=10_000)
    parser.add_argument("--freeze", type=float, default=60.0, help="seconds")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="secondlook-engines-") as folder:
        Path(folder).chmod(0o711)
        postgres = EmbeddedPostgres(Path(folder) / "data", options={"fsync": "off"})
        postgres.start()
        try:
            run.upgrade(postgres.url)
            with campaign(postgres.url, size=given.timers, freeze=given.freeze) as opened:
                found = opened.run()
        finally:
            postgres.stop()
    print(f"{found.timers:,} timers fired: {found.missed} missed, {found.doubled} cases doubled,")
    print(f"{found.displaced} deadlines displaced, {found.breached} fired by a wrong clock;")
    print(f"late by p99 {found.p99:.1f} s, most {found.late[-1]:.1f} s;")
    held = "which held timers" if found.held else "which held nothing"
    frozen = max(found.late_frozen, default=0.0)
    print(f"{len(found.late_frozen):,} due while an engine was frozen, {held}: most {frozen:.1f} s")
    print("SOUND" if found.sound else "NOT SOUND")
    return int(not found.sound)


if __name__ == "__main__":
    raise SystemExit(main())
