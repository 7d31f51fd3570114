"""What a setting may be, and what its refusal says."""

import re
from pathlib import Path

import pytest

from services.kit.errors import InvalidInput
from services.kit.settings import PREFIX, Settings, load_settings

DOCUMENTED = Path(__file__).parent.parent.parent / "docs" / "settings.md"


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("DATABASE_URL", "postgresql://u:sekret@db:99999999/x", "number from 1 to 65535"),
        ("DATABASE_URL", "postgresql://u:sekret@db:here/x", "number from 1 to 65535"),
        ("DATABASE_URL", "postgresql://u:sek@ret@db/x", "%40"),
        ("LEASE", "900", "such as 30s, 15m, 2h or 3d"),
        ("LEASE", "2bd", "such as 30s, 15m, 2h or 3d"),
        ("LEASE", "0s", "write 1s or more"),
        ("SESSION_LENGTH", "0s", "write 1s or more"),
        ("LINK_LENGTH", "0m", "write 1s or more"),
        ("LOG_RETENTION", "3651d", "at most 3650d"),
        ("PUBLIC_URL", "https://x.org:99999", "number from 1 to 65535"),
        ("PUBLIC_URL", "https://x.org:0", "number from 1 to 65535"),
        ("PUBLIC_URL", "https://[x.org", "write https://"),
        ("API_URL", "https://x.org:99999", "number from 1 to 65535"),
        ("KAFKA_BOOTSTRAP_SERVERS", ",,,", "write host:port"),
        ("KAFKA_BOOTSTRAP_SERVERS", "a:9092,", "write host:port"),
        ("KAFKA_BOOTSTRAP_SERVERS", "a:99999", "number from 1 to 65535"),
    ],
)
def test_refuse_what_cannot_work(
    name: str, value: str, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"{PREFIX}{name}", value)
    with pytest.raises(InvalidInput) as refused:
        load_settings()
    assert f"{PREFIX}{name}: " in refused.value.detail
    assert says in refused.value.detail
    assert "sek" not in refused.value.detail


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DATABASE_URL", "postgresql://u:p%40s/s@[::1]:5433/x"),
        ("DATABASE_URL", "postgresql:///x?host=/run/postgresql"),
        ("KAFKA_BOOTSTRAP_SERVERS", "a:9092, SSL://b:9093,c,[::1]:9092"),
        ("MATURITY", "0s"),
        ("PUBLIC_URL", "https://x.org:8443"),
    ],
)
def test_take_what_works(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"{PREFIX}{name}", value)
    assert load_settings()


def test_take_each_default_as_it_is_documented(monkeypatch: pytest.MonkeyPatch) -> None:
    listed = re.findall(
        r"^\| `(SECONDLOOK_\w+)` \| `([^`]+)`", DOCUMENTED.read_text(), re.MULTILINE
    )
    for name, default in listed:
        monkeypatch.setenv(name, default)
    documented, real = load_settings(), Settings.model_fields
    names = [name.removeprefix(PREFIX).lower() for name, _ in listed]
    assert "lease" in names
    assert [getattr(documented, name) for name in names] == [real[name].default for name in names]


@pytest.mark.parametrize(
    "address",
    [
        "https://x.example/secondlook",
        "https://x.example/?a=1",
        "https://x.example/#a",
        "https://u@x",
    ],
)
def test_public_address_with_a_path_is_refused_by_name(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECONDLOOK_PUBLIC_URL", address)
    with pytest.raises(InvalidInput, match=r"SECONDLOOK_PUBLIC_URL.* without a path"):
        load_settings()


def test_addresses_are_trimmed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECONDLOOK_PUBLIC_URL", " https://x.example/ \n")
    monkeypatch.setenv("SECONDLOOK_API_URL", "https://api.x.example\t")
    monkeypatch.setenv("SECONDLOOK_DATABASE_URL", " postgresql://a@b/c\n")
    found = load_settings()
    assert (found.public_url, found.api_url) == ("https://x.example/", "https://api.x.example")
    assert found.database_url is not None
    assert found.database_url.get_secret_value() == "postgresql://a@b/c"


def test_trusted_proxies_are_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECONDLOOK_TRUSTED_PROXIES", "10.0.0.0/8, 127.0.0.1,2001:db8::/32")
    found = [str(network) for network in load_settings().trusted_proxies]
    assert found == ["10.0.0.0/8", "127.0.0.1/32", "2001:db8::/32"]
    monkeypatch.setenv("SECONDLOOK_TRUSTED_PROXIES", "10.0.0.1/8")
    with pytest.raises(InvalidInput, match="SECONDLOOK_TRUSTED_PROXIES"):
        load_settings()
