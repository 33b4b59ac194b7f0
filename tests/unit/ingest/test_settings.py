"""What ingest does not start with."""

import pytest

from services.ingest.settings import Settings
from shared.settings import SettingsError
from tests.unit.shared.test_settings import GOOD


def test_files_in_hand_must_leave_connections_for_whoever_holds_on_to_them(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {**GOOD, "JUSTAI_INGEST_PARALLEL_FILES": "8"}.items():
        monkeypatch.setenv(name, value)

    with pytest.raises(SettingsError) as caught:
        Settings.read()
    assert str(caught.value).startswith("JUSTAI_INGEST_PARALLEL_FILES (8) needs a JUSTAI_DATABASE_POOL of at least 10")

    monkeypatch.setenv("JUSTAI_DATABASE_POOL", "10")
    assert Settings.read().ingest_parallel_files == 8
