"""One Apache Kafka broker without containers: Java, the jars from Maven Central, this file.

    python deploy/kafka/broker.py start --dir DIR --port 9092
    python deploy/kafka/broker.py stop --dir DIR
    python deploy/kafka/broker.py run --dir DIR --port 9092     in the foreground
    python deploy/kafka/broker.py fetch --dir DIR               only the jars

The jars go to DIR/libs, or to $SECONDLOOK_KAFKA_JARS, and are fetched once.
"""

import argparse
import base64
import contextlib
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
import uuid
from pathlib import Path

HERE = Path(__file__).parent
START_SECONDS = 120.0
STOP_SECONDS = 15.0
# ApiVersions, version 0, correlation 1, no client id: the first thing any client asks.
PROBE = struct.pack(">ihhih", 10, 18, 0, 1, -1)


class BrokerError(Exception):
    """The broker cannot be used; the message says why."""


def libs(folder: Path) -> Path:
    """Where the jars are or will be."""
    return Path(os.environ.get("SECONDLOOK_KAFKA_JARS") or folder / "libs").absolute()


def fetch(folder: Path) -> Path:
    """Copy the jars that `pom.xml` names into one folder, unless they are there."""
    target = libs(folder)
    if (target / "complete").exists():
        return target
    if shutil.which("mvn") is None:
        raise BrokerError("Maven is needed once, to fetch Kafka (Debian: apt-get install maven).")
    half = target.with_name(f"{target.name}.{os.getpid()}")
    half.mkdir(parents=True)
    command = ["mvn", "-q", "-B", "-f", str(HERE / "pom.xml"), "dependency:copy-dependencies"]
    done = subprocess.run(
        [*command, f"-DoutputDirectory={half.absolute()}"],
        check=False,
        capture_output=True,
        text=True,
    )
    if done.returncode != 0:
        shutil.rmtree(half)
        raise BrokerError(f"Maven could not fetch Kafka: {done.stdout}{done.stderr}")
    (half / "complete").touch()
    # Another process may have been faster; both hold the same jars.
    with contextlib.suppress(OSError):
        half.rename(target)
    shutil.rmtree(half, ignore_errors=True)
    return target


def java(jars: Path, main: str, *arguments: str) -> list[str]:
    """The command that runs a class of Kafka's, modestly."""
    found = shutil.which("java")
    if found is None:
        raise BrokerError(
            "Java 17 or newer is needed (Debian: apt-get install default-jre-headless)."
        )
    memory = ["-Xms128m", "-Xmx512m", "-XX:+UseSerialGC"]
    return [found, *memory, "-cp", f"{jars}/*", main, *arguments]


def free_port() -> int:
    """A port that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def prepare(folder: Path, host: str, port: int) -> list[str]:
    """Write the settings, format the storage if it is new, and return the broker's command."""
    jars = fetch(folder)
    settings = folder / "server.properties"
    data = folder / "data"
    text = (HERE / "server.properties").read_text(encoding="utf-8")
    filled = text.replace("{host}", host).replace("{port}", str(port))
    filled = filled.replace("{controller_port}", str(free_port())).replace("{data}", str(data))
    settings.write_text(filled, encoding="utf-8")
    if not (data / "meta.properties").exists():
        cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        format_storage(jars, settings, cluster)
    return java(jars, "kafka.Kafka", str(settings))


def format_storage(jars: Path, settings: Path, cluster: str) -> None:
    """Make an empty storage for a cluster of that id."""
    # An id may begin with a hyphen, so it must not look like an argument of its own.
    named = f"--cluster-id={cluster}"
    command = java(jars, "kafka.tools.StorageTool", "format", named, "-c", str(settings))
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode != 0:
        raise BrokerError(f"The storage could not be formatted: {done.stdout}{done.stderr}")


def answers(host: str, port: int) -> bool:
    """Whether a broker answers there."""
    try:
        with socket.create_connection((host, port), timeout=1.0) as connection:
            connection.sendall(PROBE)
            return len(connection.recv(4)) > 0
    except OSError:
        return False


def pid_of(folder: Path) -> int | None:
    """The process id of the broker of this folder, if it lives."""
    try:
        pid = int((folder / "broker.pid").read_text())
        os.kill(pid, 0)
        # Numbers are used again, and the dead keep theirs until somebody asks after them.
        if (
            Path("/proc/self").exists()
            and b"kafka" not in Path(f"/proc/{pid}/cmdline").read_bytes()
        ):
            return None
    except (OSError, ValueError):
        return None
    return pid


def start(folder: Path, host: str, port: int) -> None:
    """Start the broker in the background; return once it answers."""
    if pid_of(folder) is not None:
        raise BrokerError(f"A broker runs on {folder} already; stop it first.")
    command = prepare(folder, host, port)
    with (folder / "broker.log").open("ab") as log:
        child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
    (folder / "broker.pid").write_text(str(child.pid))
    deadline = time.monotonic() + START_SECONDS
    while not answers(host, port):
        if child.poll() is not None or time.monotonic() > deadline:
            child.kill()
            said = (folder / "broker.log").read_text(errors="replace")[-3000:]
            raise BrokerError(f"The broker did not start:\n{said}")
        time.sleep(0.1)


def stop(folder: Path) -> None:
    """Stop the broker, politely first; a broker that is not there is fine."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        deadline = time.monotonic() + STOP_SECONDS
        pid = pid_of(folder)
        if pid is not None:
            os.kill(pid, number)
        while pid_of(folder) is not None and time.monotonic() < deadline:
            time.sleep(0.05)
    (folder / "broker.pid").unlink(missing_ok=True)


def main() -> int:
    """Carry out one command."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("command", choices=["start", "stop", "run", "fetch"])
    parser.add_argument("--dir", type=Path, required=True, help="folder for jars, data and log")
    parser.add_argument("--host", default="127.0.0.1", help="address that clients use")
    parser.add_argument("--port", type=int, default=9092)
    given = parser.parse_args()
    folder = given.dir.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    try:
        if given.command == "fetch":
            fetch(folder)
        elif given.command == "start":
            start(folder, given.host, given.port)
            print(f"{given.host}:{given.port}")
        elif given.command == "stop":
            stop(folder)
        else:
            command = prepare(folder, given.host, given.port)
            os.execv(command[0], command)
    except BrokerError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
