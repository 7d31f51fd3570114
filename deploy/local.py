"""Starts the parts of compose.yml without containers: Kafka, Secondlook, Prometheus, Alertmanager.

    python deploy/local.py --dir DIR [--port 8000] [--without-kafka]

Kafka needs Java and Maven, Prometheus and Alertmanager need their programs on the PATH (the
Debian packages `prometheus` and `prometheus-alertmanager` bring them). Ctrl-C ends everything.
PostgreSQL is Secondlook's own, in DIR. Addresses are printed, and written to DIR/parts.json.
"""

import argparse
import contextlib
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
_PATIENCE_SECONDS = 15.0
_METRICS_PORTS = 5  # the exporter, the consumers and the timer loop


def free_ports(count: int = 1) -> int:
    """The first of so many ports in a row that are free.

    They lie below those that systems give to outgoing connections, so that none of these
    takes one before its part listens on it.
    """
    while True:
        first = secrets.choice(range(20_000, 32_000))
        with contextlib.suppress(OSError), contextlib.ExitStack() as held:
            for port in range(first, first + count):
                probe = held.enter_context(socket.socket())
                probe.bind(("127.0.0.1", port))
            return first


class Parts:
    """What was started, to be ended in the opposite order."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.running: list[tuple[str, subprocess.Popen[bytes]]] = []
        self.addresses: dict[str, str] = {}

    def start(self, name: str, command: list[str], **environment: str) -> None:
        """Start a part; its output goes to DIR/<name>.log."""
        with (self.folder / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                command,
                env=os.environ | environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.running.append((name, process))

    def end(self) -> None:
        """End everything, the last one first."""
        for _, process in reversed(self.running):
            if process.poll() is None:
                process.terminate()
            try:
                process.wait(_PATIENCE_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()

    def dead(self) -> str | None:
        """The name of a part that has ended by itself, or None."""
        return next((name for name, process in self.running if process.poll() is not None), None)


def start_kafka(parts: Parts) -> dict[str, str]:
    """A broker of its own; answers the settings that name it."""
    port = free_ports()
    folder = parts.folder / "kafka"
    broker = [sys.executable, str(HERE / "kafka" / "broker.py")]
    parts.start("kafka", [*broker, "run", "--dir", str(folder), "--port", str(port)])
    parts.addresses["kafka"] = f"127.0.0.1:{port}"
    await_port(parts, port, 180)
    return {"SECONDLOOK_KAFKA_BOOTSTRAP_SERVERS": f"127.0.0.1:{port}"}


def await_port(parts: Parts, port: int, seconds: float) -> None:
    """Wait until somebody listens there."""
    deadline = time.monotonic() + seconds
    while parts.dead() is None and time.monotonic() < deadline:
        with socket.socket() as probe:
            probe.settimeout(1)
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.2)
    sys.exit(f"nobody listens on port {port}; see {parts.folder}/*.log")


def start_secondlook(parts: Parts, port: int, settings: dict[str, str]) -> int:
    """Every role; answers the port of the exporter's metrics."""
    port = port or free_ports()
    metrics = free_ports(_METRICS_PORTS)
    parts.start(
        "secondlook",
        [sys.executable, "-m", "services.cli", "run", "--port", str(port)],
        SECONDLOOK_DATA_DIR=str(parts.folder / "data"),
        SECONDLOOK_METRICS_PORT=str(metrics),
        **settings,
    )
    parts.addresses["secondlook"] = f"http://127.0.0.1:{port}"
    parts.addresses["metrics"] = f"http://127.0.0.1:{metrics}/metrics"
    await_port(parts, port, 60)
    await_port(parts, metrics, 60)
    return metrics


def start_prometheus(parts: Parts, metrics: int) -> None:
    """Prometheus with our rules, and Alertmanager behind it, where they are installed."""
    programs = {name: shutil.which(name) for name in ("prometheus", "prometheus-alertmanager")}
    alerting = programs["prometheus-alertmanager"] or shutil.which("alertmanager")
    if programs["prometheus"] is None or alerting is None:
        print("Prometheus and Alertmanager are not installed; going on without them")
        return
    own, pager = free_ports(), free_ports()
    parts.start(
        "alertmanager",
        [
            alerting,
            f"--config.file={HERE / 'alertmanager' / 'alertmanager.yml'}",
            f"--storage.path={parts.folder / 'alertmanager'}",
            f"--web.listen-address=127.0.0.1:{pager}",
            "--cluster.listen-address=",
        ],
    )
    config = parts.folder / "prometheus.yml"
    config.write_text(scrape_config(metrics, pager), encoding="utf-8")
    parts.start(
        "prometheus",
        [
            programs["prometheus"],
            f"--config.file={config}",
            f"--storage.tsdb.path={parts.folder / 'prometheus'}",
            f"--web.listen-address=127.0.0.1:{own}",
        ],
    )
    parts.addresses["prometheus"] = f"http://127.0.0.1:{own}"
    parts.addresses["alertmanager"] = f"http://127.0.0.1:{pager}"


def scrape_config(metrics: int, pager: int) -> str:
    """deploy/prometheus/prometheus.yml with the addresses of this machine."""
    roles = ", ".join(f'"127.0.0.1:{metrics + place}"' for place in (1, 2, 3, 4))
    text = (HERE / "prometheus" / "prometheus.yml").read_text(encoding="utf-8")
    return (
        text.replace('"export:9464"', f'"127.0.0.1:{metrics}"')
        .replace('"feedback:9465", "escalation:9466", "tick:9467", "notifications:9468"', roles)
        .replace("alertmanager:9093", f"127.0.0.1:{pager}")
        .replace("rules.yml", str(HERE / "prometheus" / "rules.yml"))
        .replace("15s", os.environ.get("SCRAPE_INTERVAL", "15s"))
    )


def main() -> None:
    """Start everything, and end it on Ctrl-C or SIGTERM or when a part ends."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--dir", type=Path, required=True, help="folder for all data and logs")
    parser.add_argument("--port", type=int, default=8000, help="port of the pages; 0: a free one")
    parser.add_argument("--without-kafka", action="store_true", help="use the embedded log")
    asked = parser.parse_args()
    asked.dir.mkdir(parents=True, exist_ok=True)
    parts = Parts(asked.dir.resolve())
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        settings = {} if asked.without_kafka else start_kafka(parts)
        start_prometheus(parts, start_secondlook(parts, asked.port, settings))
        (parts.folder / "parts.json").write_text(json.dumps(parts.addresses), encoding="utf-8")
        for name, address in parts.addresses.items():
            print(f"{name:14}{address}", flush=True)
        while (dead := parts.dead()) is None:
            time.sleep(0.5)
        sys.exit(f"{dead} has ended; see {parts.folder / dead}.log")
    except KeyboardInterrupt:
        pass
    finally:
        parts.end()


if __name__ == "__main__":
    main()
