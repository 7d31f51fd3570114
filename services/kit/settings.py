"""Every setting, read once at the edge, from `SECONDLOOK_…` variables."""

import difflib
import os
import re
from email.utils import parseaddr
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import SplitResult, urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from services.kit.durations import parse_seconds
from services.kit.errors import InvalidInput, Problem

PREFIX = "SECONDLOOK_"


def _seconds(text: object) -> object:
    """Elapsed seconds from a duration such as 30s; numbers pass."""
    return parse_seconds(text) if isinstance(text, str) else text


def _at_most_ten_years(seconds: int) -> int:
    if seconds > _TEN_YEARS:
        raise ValueError("it is longer than ten years; write at most 3650d")
    return seconds


def _retention(text: object) -> object:
    """None for `forever`, otherwise elapsed seconds."""
    return None if text == "forever" else _seconds(text)


def _usable_retention(seconds: int | None) -> int | None:
    return seconds if seconds is None else _not_nothing(_at_most_ten_years(seconds))


def _not_nothing(seconds: int) -> int:
    if seconds < 1:
        raise ValueError("it may not be 0; write 1s or more")
    return seconds


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"there is no time zone '{name[:60]}'; write Europe/Berlin") from None
    return name


def _postgres_url(url: SecretStr | None) -> SecretStr | None:
    # What is refused is not quoted: it may hold a password.
    if url is None:
        return None
    if not url.get_secret_value().startswith("postgresql://"):
        raise ValueError("it is no address of a PostgreSQL; write postgresql://user@host/name")
    try:
        found = make_url(url.get_secret_value())
    except (ArgumentError, ValueError):
        raise ValueError(_NO_PORT) from None
    if found.port is not None:
        _require_port(found.port)
    if "@" in (found.host or ""):
        raise ValueError("it holds two @; write one that belongs to the password as %40")
    return url


def _web_address(url: str | None) -> str | None:
    if url is not None:
        try:
            parts = urlsplit(url)
        except ValueError:
            raise ValueError(_NO_WEB_ADDRESS) from None
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(_NO_WEB_ADDRESS)
        _require_usable_port(parts)
    return url


def _origin(url: str | None) -> str | None:
    if url is not None and _web_address(url) is not None:
        parts = urlsplit(url)
        if parts.path.strip("/") or parts.query or parts.fragment or "@" in parts.netloc:
            raise ValueError(
                "pages and API lie at the root of their address; write it without a path, as in "
                "https://secondlook.example.org, and let a proxy pass that whole address on"
            )
    return url


def _networks(text: object) -> object:
    """Networks from a list with commas; addresses stand for themselves."""
    return [part for part in re.split(r"[,\s]+", text) if part] if isinstance(text, str) else text


def _brokers(servers: str | None) -> str | None:
    for server in servers.split(",") if servers is not None else ():
        # The client takes a protocol before the host, as Kafka's own tools do.
        parts = urlsplit("//" + server.strip().rpartition("://")[2])
        if not parts.hostname:
            raise ValueError("it names no broker, or has a comma too many; write host:port,…")
        _require_usable_port(parts)
    return servers


def _mail_server(url: SecretStr | None) -> SecretStr | None:
    # What is refused is not quoted: it may hold a password.
    if url is not None:
        try:
            parts = urlsplit(url.get_secret_value())
        except ValueError:
            raise ValueError(_NO_MAIL_SERVER) from None
        if parts.scheme not in ("smtp", "smtps") or not parts.hostname:
            raise ValueError(_NO_MAIL_SERVER)
        _require_usable_port(parts)
    return url


def _sender(written: str) -> str:
    if "@" not in parseaddr(written)[1] or not written.isprintable():
        raise ValueError("it is no e-mail address; write Secondlook <secondlook@example.org>")
    return written


def _require_usable_port(parts: SplitResult) -> None:
    try:
        port = parts.port
    except ValueError:
        raise ValueError(_NO_PORT) from None
    if port is not None:
        _require_port(port)


def _require_port(port: int) -> None:
    if not 0 < port <= _LAST_PORT:
        raise ValueError(_NO_PORT)


_TEN_YEARS = 10 * 365 * 86400
_LAST_PORT = 65535
_NO_PORT = "its port is none; write a number from 1 to 65535, or leave it out"
_NO_MAIL_SERVER = "it is no mail server; write smtp://host:25 or smtps://user:password@host"
_NO_WEB_ADDRESS = "it is no web address; write https://secondlook.example.org"

DURATION = BeforeValidator(_seconds)
"""In a setting's metadata: it is written as a duration."""
Seconds = Annotated[int, DURATION, Field(ge=0), AfterValidator(_at_most_ten_years)]
SomeSeconds = Annotated[Seconds, AfterValidator(_not_nothing)]
RETENTION = BeforeValidator(_retention)
"""In a setting's metadata: it is written as a duration, or as `forever` (None)."""
Retention = Annotated[int | None, RETENTION, AfterValidator(_usable_retention)]


def default_data_dir() -> Path:
    """Where data lives when nobody says: /var/lib as root, the user's data folder otherwise."""
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        return Path("/var/lib/secondlook")
    base = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(base) / "secondlook"


class SecretFiles(PydanticBaseSettingsSource):
    """`SECONDLOOK_X_FILE` names a file whose content is the value of `SECONDLOOK_X`."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """The content of the file that the variable names, without the last line break."""
        path = os.environ.get(f"{PREFIX}{field_name.upper()}_FILE")
        if path is None or field.annotation not in (SecretStr, SecretStr | None):
            return None, field_name, False
        try:
            return Path(path).read_text(encoding="utf-8").rstrip("\r\n"), field_name, False
        except (OSError, UnicodeDecodeError) as error:
            variable = f"{PREFIX}{field_name.upper()}_FILE"
            problem = Problem(variable, f"{path} cannot be read: {error}", "Correct or unset it.")
            raise InvalidInput(f"{variable}: {problem.problem}", problems=(problem,)) from None

    def __call__(self) -> dict[str, Any]:
        """All values that come from files."""
        found: dict[str, Any] = {}
        for name, field in self.settings_cls.model_fields.items():
            value, key, _ = self.get_field_value(field, name)
            if value is not None:
                found[key] = value
        return found


class Settings(BaseSettings):
    """What an operator can choose. The descriptions are what `docs/settings.md` lists."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_ignore_empty=True, extra="ignore", str_strip_whitespace=True
    )

    data_dir: Annotated[Path, AfterValidator(Path.absolute)] = Field(
        default_factory=default_data_dir,
        description="Folder for the embedded PostgreSQL and what belongs to it.",
    )
    database_url: Annotated[SecretStr | None, AfterValidator(_postgres_url)] = Field(
        None, description="PostgreSQL to use, `postgresql://…`. Absent: the embedded one."
    )
    kafka_bootstrap_servers: Annotated[str | None, AfterValidator(_brokers)] = Field(
        None, description="Brokers, `host:port,…`. Absent: the embedded event log."
    )
    kafka_create_topics: bool = Field(True, description="Make missing topics at the start.")
    kafka_replication: int = Field(
        -1, ge=-1, le=9, description="Replicas of topics that are made; -1 leaves it to the broker."
    )
    kafka_security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT", description="How to talk to the brokers."
    )
    kafka_sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None = Field(
        None, description="How to sign in at the brokers."
    )
    kafka_sasl_username: str | None = Field(None, description="Account at the brokers.")
    kafka_sasl_password: SecretStr | None = Field(None, description="Its password.")
    kafka_ssl_cafile: Path | None = Field(None, description="CA that signed the brokers' keys.")
    log_partitions: int = Field(
        8, ge=1, le=1000, description="Partitions of each topic that is made."
    )
    log_retention: Seconds = Field(
        7 * 86400, description="How long the embedded log keeps records that all have consumed."
    )
    retention_output: Retention = Field(
        400 * 86400,
        description="How long outputs stay, with all that was said of them, after the last of it "
        "came; those with a case stay as long as it does. A duration or `forever`, as for all "
        "retentions.",
    )
    retention_case: Retention = Field(
        400 * 86400,
        description="How long cases stay after they were closed, with their timelines.",
    )
    retention_dead_letter: Retention = Field(
        90 * 86400,
        description="How long dead letters stay after they were retried or discarded.",
    )
    retention_hourly_count: Retention = Field(
        3 * 365 * 86400,
        description="How long hourly counts stay; what rates need is kept at least.",
    )
    retention_outbox: Retention = Field(
        7 * 86400, description="How long events stay in the outbox after they were sent."
    )
    retention_idempotency_key: Retention = Field(
        86400, description="How long the answer to a write is kept under its Idempotency-Key."
    )
    retention_sign_in: Retention = Field(
        86400, description="How long sign-ins, links and tokens stay after they ended."
    )
    retention_notification: Retention = Field(
        90 * 86400, description="How long what people were told stays in their inboxes."
    )
    retention_delivery: Retention = Field(
        90 * 86400,
        description="How long it is kept what was sent where and what came back, and the verdicts "
        "that tools can still ask for.",
    )
    batch_records: int = Field(
        2000, ge=1, le=20_000, description="Most records a consumer takes in one transaction."
    )
    dead_letter_limit: int = Field(
        10_000,
        ge=1,
        description="Dead letters within an hour at which a tool is turned away for a while.",
    )
    host: str = Field("127.0.0.1", description="Address that the API and the pages listen on.")
    port: int = Field(8000, ge=0, le=65535, description="Port of both; 0 takes a free one.")
    public_url: Annotated[str | None, AfterValidator(_origin)] = Field(
        None,
        description="Address that people use, for links, without a path; `https://…` makes "
        "cookies secure.",
    )
    trusted_proxies: Annotated[
        tuple[IPv4Network | IPv6Network, ...], NoDecode, BeforeValidator(_networks)
    ] = Field(
        (),
        description="Networks of proxies before us, `10.0.0.0/8,…`: their `X-Forwarded-For` "
        "says where a sign-in comes from.",
    )
    api_url: Annotated[str | None, AfterValidator(_web_address)] = Field(
        None, description="Address that tools use, where it is not the one that people use."
    )
    smtp_url: Annotated[SecretStr | None, AfterValidator(_mail_server)] = Field(
        None,
        description="Mail server, `smtp://user:password@host:port` or `smtps://…`. Absent: what "
        "would be mailed is written to the log.",
    )
    mail_from: Annotated[str, AfterValidator(_sender)] = Field(
        "Secondlook <secondlook@localhost>",
        description="Who mails are from, and whom push services write to.",
    )
    outbound_allow: Annotated[
        tuple[IPv4Network | IPv6Network, ...], NoDecode, BeforeValidator(_networks)
    ] = Field(
        (),
        description="Networks beside the public ones that webhooks and push may reach, "
        "`10.0.0.0/8,…`; by plain `http` they reach no others. The mail server needs no leave.",
    )
    metrics_host: str = Field("127.0.0.1", description="Address of every role's metrics.")
    metrics_port: int = Field(
        9464,
        ge=0,
        le=65531,
        description="Port of the exporter's metrics, those of the roles on the next four; "
        "0 takes free ones.",
    )
    routing_file: Path | None = Field(None, description="Routing policy, a YAML file.")
    maturity: Seconds = Field(
        72 * 3600, description="Age at which an output's truth counts, for new tools."
    )
    unmatched_after: Seconds = Field(
        24 * 3600, description="How long a correction waits for its output before a case opens."
    )
    lease: SomeSeconds = Field(15 * 60, description="How long a claim holds without activity.")
    reopen_window: Seconds = Field(
        72 * 3600, description="How long a resolved case can be reopened before it closes."
    )
    pause_limit: Seconds = Field(
        14 * 86_400, description="How long a case may wait and be put off in all."
    )
    session_length: SomeSeconds = Field(12 * 3600, description="How long a sign-in lasts.")
    link_length: SomeSeconds = Field(24 * 3600, description="How long a sign-in link can be used.")
    clock_confirm: Seconds = Field(
        15 * 60,
        description="How long the database's clock has to go on evenly after it was moved until it "
        "is believed, and deadlines fire by it again.",
    )
    timezone: Annotated[str, AfterValidator(_zone)] = Field(
        "UTC", description="Time zone in which business days are counted."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Least severe log record that is written."
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments first, then variables, then the files that variables name."""
        return init_settings, env_settings, SecretFiles(settings_cls)

    @property
    def embedded_database(self) -> bool:
        """Whether PostgreSQL is ours to start."""
        return self.database_url is None


def _refuse_misspelt() -> None:
    """Refuse a variable that is nearly a setting: what it was to say would go unheard."""
    names = [f"{PREFIX}{name.upper()}" for name in Settings.model_fields]
    known = {*names, *(f"{name}_FILE" for name in names), *_OTHERS}
    for variable in sorted(v for v in os.environ if v.startswith(PREFIX) and v not in known):
        near = difflib.get_close_matches(variable, names, n=1, cutoff=0.85)
        if near:
            problem = Problem(variable, "there is no such setting", f"Did you mean {near[0]}?")
            detail = f"{variable}: there is no such setting. Did you mean {near[0]}?"
            raise InvalidInput(detail, problems=(problem,))


_OTHERS = {f"{PREFIX}{name}" for name in ("URL", "KEY", "KEY_FILE", "TOKEN", "LISTEN_FD")}
"""What tools, scripts and our own roles read, and no settings."""


def load_settings(**overrides: Any) -> Settings:
    """Read the settings.

    Raises:
        InvalidInput: naming each variable that cannot be used, and why.
    """
    _refuse_misspelt()
    try:
        return Settings(**overrides)
    except ValidationError as error:
        problems = tuple(
            Problem(
                pointer=PREFIX + "_".join(str(part) for part in item["loc"]).upper(),
                problem=item["msg"].removeprefix("Value error, "),
                hint="Correct or unset this variable; docs/settings.md lists what it takes.",
            )
            for item in error.errors(include_input=False, include_url=False)
        )
        detail = "; ".join(f"{p.pointer}: {p.problem}" for p in problems)
        raise InvalidInput(f"The settings cannot be used: {detail}", problems=problems) from None
