"""Brings what the tests need beside Python: run as `python -m tests.install` before them.

As root on Debian and its kin, missing programs are installed; elsewhere each is named with
the tests that will be skipped without it. With CI=true anything missing is an error.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
KAFKA = ROOT / "build" / "kafka"
BROKER = ROOT / "deploy" / "kafka" / "broker.py"


class Tool(NamedTuple):
    """A program by the names it may have, the best first; Debian's packages of it; its tests."""

    names: Sequence[str]
    packages: Sequence[str]
    tests: str

    def is_there(self) -> bool:
        """Whether one of its names can be run."""
        return any(shutil.which(name) for name in self.names)

    def could_be_better(self) -> bool:
        """Whether it is there by another name than the best, which apt-get knows of."""
        return (
            self.is_there()
            and shutil.which(self.names[0]) is None
            and shutil.which("apt-cache") is not None
            and subprocess.run(
                ["apt-cache", "show", self.packages[0]], capture_output=True
            ).returncode
            == 0
        )


TOOLS = (
    Tool(
        ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome"),
        ("chromium-headless-shell", "chromium"),
        "the pages' tests in a browser",
    ),
    Tool(("promtool",), ("prometheus",), "the tests of the alerting rules"),
    Tool(("amtool",), ("prometheus-alertmanager",), "the tests of the alerts' routing"),
    Tool(
        ("java",),
        ("default-jre-headless", "openjdk-17-jre-headless"),
        "the tests with a Kafka broker",
    ),
    Tool(("mvn",), ("maven",), "the tests with a Kafka broker, which Maven fetches"),
)


def install(tools: Sequence[Tool]) -> None:
    """Install tools with apt-get, each from the first of its packages that can be had."""
    apt_get("update")
    for tool in tools:
        for package in tool.packages:
            if shutil.which(tool.names[0]) or apt_get(
                "install", "--no-install-recommends", package
            ):
                break


def apt_get(*arguments: str) -> bool:
    """Whether apt-get did as it was told, without asking anything."""
    done = subprocess.run(
        ["apt-get", "-y", "-qq", *arguments],
        env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    if done.returncode != 0:
        print(f"apt-get {' '.join(arguments)}: {done.stderr.strip()[-500:]}", file=sys.stderr)
    return done.returncode == 0


def fetch_kafka() -> str | None:
    """Bring Kafka's jars; answers what went wrong, if anything did."""
    done = subprocess.run(
        [sys.executable, BROKER, "fetch", "--dir", KAFKA],
        env={**os.environ, "SECONDLOOK_KAFKA_JARS": str(KAFKA / "libs")},
        capture_output=True,
        text=True,
    )
    return None if done.returncode == 0 else done.stderr.strip()


def missing() -> list[Tool]:
    """The tools that are not there."""
    return [tool for tool in TOOLS if not tool.is_there()]


def main() -> int:
    """Bring what can be brought; 1 where something is missing that must not be."""
    if os.geteuid() == 0 and shutil.which("apt-get"):
        wanted = [*missing(), *(tool for tool in TOOLS if tool.could_be_better())]
        if wanted:
            install(wanted)
    problems = [f"{tool.names[0]} is missing: skipping {tool.tests}" for tool in missing()]
    if shutil.which("mvn") and (wrong := fetch_kafka()) is not None:
        problems.append(f"Kafka could not be fetched: skipping the tests with a broker. {wrong}")
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems and os.environ.get("CI") == "true" else 0


if __name__ == "__main__":
    sys.exit(main())
