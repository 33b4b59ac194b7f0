import pytest
from pydantic import Field, PositiveInt

from shared.settings import ServiceSettings, SettingsError

GOOD = {
    "JUSTAI_DATABASE_URL": "postgresql://canary-db@127.0.0.1/x",
    "JUSTAI_AMQP_URL": "amqp://canary-amqp@127.0.0.1/",
    "JUSTAI_SEAL_KEYS": "canary:" + "A" * 43 + "=",
    "JUSTAI_API_KEY_PEPPERS": "7:" + "B" * 43 + "=",
}


class _Settings(ServiceSettings):
    egress_rows: PositiveInt = Field(5, description="Rows.")


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name, value in GOOD.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


def test_a_complete_environment_makes_settings(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("JUSTAI_EGRESS_ROWS", "7")

    assert _Settings.read().egress_rows == 7


def test_all_faults_are_told_at_once(environment: pytest.MonkeyPatch) -> None:
    environment.delenv("JUSTAI_AMQP_URL")
    environment.setenv("JUSTAI_EGRESS_ROWS", "0")
    environment.setenv("JUSTAI_EGRESS_ROW", "1")
    environment.setenv("JUSTAI_CLOCK", "sundial")
    environment.setenv("JUSTAI_SEAL_KEYS", "canary")
    environment.setenv("JUSTAI_DATABASE_URL", "http://canary@127.0.0.1")

    with pytest.raises(SettingsError) as fault:
        _Settings.read()

    for name in (
        "JUSTAI_AMQP_URL",
        "JUSTAI_EGRESS_ROWS",
        "JUSTAI_EGRESS_ROW: no such setting",
        "JUSTAI_CLOCK",
        "JUSTAI_SEAL_KEYS",
        "JUSTAI_DATABASE_URL",
    ):
        assert name in str(fault.value)
    assert "canary" not in str(fault.value)


def test_settings_of_other_services_are_no_faults(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("JUSTAI_GATEWAY_LISTEN", "127.0.0.1:1")

    assert _Settings.read().egress_rows == 5


def test_the_summary_tells_of_secrets_only_that_they_are_set(environment: pytest.MonkeyPatch) -> None:
    summary = _Settings.read().summary()

    assert summary["seal_keys"] == "set"
    assert "canary" not in str(summary)


def test_every_setting_is_described() -> None:
    assert all(field.description for field in ServiceSettings.model_fields.values())


@pytest.mark.parametrize(
    "spec",
    [
        "file:/run/secrets/ring", f"a:{'A' * 43}=\n# older\nb:{'B' * 43}=\n",
        "k2:kms:arn:aws:kms:eu-central-1:111122223333:key/1234#AQID",
    ],
)  # fmt: skip
def test_seal_keys_may_be_in_a_file_in_lines_or_wrapped(environment: pytest.MonkeyPatch, spec: str) -> None:
    environment.setenv("JUSTAI_SEAL_KEYS", spec)

    assert _Settings.read().seal_keys.get_secret_value() == spec


def test_a_file_of_seal_keys_without_its_whole_path_is_a_fault(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("JUSTAI_SEAL_KEYS", "file:ring")

    with pytest.raises(SettingsError, match="JUSTAI_SEAL_KEYS"):
        _Settings.read()
