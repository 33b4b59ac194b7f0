"""What the exporter does not start with."""

import pytest

from services.egress.settings import Settings
from shared.settings import SettingsError
from tests.unit.shared.test_settings import GOOD


@pytest.mark.parametrize(("keep_days", "least"), [("", 2), ("100", 3)])
def test_regression_an_exporter_whose_hour_would_hold_every_connection_does_not_start(
    monkeypatch: pytest.MonkeyPatch, keep_days: str, least: int
) -> None:
    given = {**GOOD, "JUSTAI_EGRESS_KEEP_DAYS": keep_days, "JUSTAI_DATABASE_POOL": str(least - 1)}
    for name, value in given.items():
        monkeypatch.setenv(name, value)

    with pytest.raises(SettingsError) as caught:
        Settings.read()
    assert str(caught.value).startswith(f"JUSTAI_DATABASE_POOL ({least - 1}) has to be at least {least} here")

    monkeypatch.setenv("JUSTAI_DATABASE_POOL", str(least))
    assert Settings.read().database_pool == least
