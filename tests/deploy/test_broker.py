"""The broker's storage is made whatever id its cluster gets."""

import importlib.util
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.conftest import IN_CI
from tests.factories.broker import why_no_kafka

BROKER = Path(__file__).parent.parent.parent / "deploy" / "kafka" / "broker.py"


@pytest.mark.kafka
def test_cluster_id_may_begin_with_a_hyphen(
    public_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if (why := why_no_kafka()) is not None:
        assert not IN_CI, why
        pytest.skip(why)
    spec = importlib.util.spec_from_file_location("broker", BROKER)
    assert spec is not None
    assert spec.loader is not None
    broker = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(broker)
    drawn = SimpleNamespace(bytes=b"\xf8" + bytes(15))
    monkeypatch.setattr(broker, "uuid", SimpleNamespace(uuid4=lambda: drawn))
    broker.prepare(public_folder, "127.0.0.1", 9092)
    made = (public_folder / "data" / "meta.properties").read_text(encoding="utf-8")
    assert "cluster.id=-A" in made
