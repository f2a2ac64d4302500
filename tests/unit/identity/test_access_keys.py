"""Access keys of a file."""

from pathlib import Path

from proxy.identity.access_keys import AccessKeyFile
from proxy.identity.watched import WatchedFile
from proxy.model.access_keys import KEY_FILE
from proxy.model.principal import Principal
from proxy.telemetry.metrics import Metrics
from tests.support.identities import put

OLD = "PTAAAAAAAAAAAAAAAAAA old-secret-of-the-team ci"
NEW = "PTBBBBBBBBBBBBBBBBBB new-secret-of-the-team ci"


async def test_a_key_is_exchanged_without_a_restart_and_without_a_gap(tmp_path: Path) -> None:
    file = WatchedFile("auth.access_keys", tmp_path / "keys", KEY_FILE, Metrics())
    keys = AccessKeyFile(file)
    put(tmp_path / "keys", OLD)
    await file.load()
    assert [keys.find(line.split()[0]) is not None for line in (OLD, NEW)] == [True, False]
    put(tmp_path / "keys", OLD, NEW)
    await file.renew()
    assert [keys.find(line.split()[0]) is not None for line in (OLD, NEW)] == [True, True]
    put(tmp_path / "keys", NEW)
    await file.renew()
    found = keys.find("PTBBBBBBBBBBBBBBBBBB")
    assert found is not None
    assert found.line == NEW
    assert keys.find("PTAAAAAAAAAAAAAAAAAA") is None
    assert keys.knows(Principal("ci"))
    put(tmp_path / "keys")
    await file.renew()
    assert not keys.knows(Principal("ci"))
