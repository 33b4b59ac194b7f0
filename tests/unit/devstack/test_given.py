from __future__ import annotations

import dataclasses
import shlex

import pytest
from hypothesis import given as whatever
from hypothesis import strategies as st

from devstack import SERVERS, Endpoints, ServerFailed
from devstack.given import env_lines, find

WORDS = st.text("abcxyz019-_.", min_size=1, max_size=12)
KEYS = st.text("abcxyz019-_.+/=$ '\"", min_size=1, max_size=30)
PATHS = st.builds("/{}".format, WORDS)
PORTS = st.integers(1, 65535)
COMPLETE = st.builds(
    Endpoints,
    database_url=st.builds("postgresql://{}:{}@127.0.0.1:{}/{}".format, WORDS, WORDS, PORTS, WORDS),
    amqp_url=st.builds("amqp://{}:{}@127.0.0.1:{}/".format, WORDS, WORDS, PORTS),
    amqp_management_url=st.builds("http://{}:{}@127.0.0.1:{}".format, WORDS, WORDS, PORTS),
    s3_endpoint=st.builds("http://127.0.0.1:{}".format, PORTS),
    s3_access_key=KEYS,
    s3_secret_key=KEYS,
    sftp_host=st.just("127.0.0.1"),
    sftp_port=PORTS,
    sftp_user=WORDS,
    sftp_client_key_path=PATHS,
    sftp_host_key=st.builds("ssh-ed25519 {}".format, WORDS),
    sftp_root=PATHS,
    sftp_remote_root=PATHS,
)


def environment(text: str) -> dict[str, str]:
    pairs = (word.partition("=") for word in shlex.split(text))
    return {name: value for name, _, value in pairs}


@whatever(COMPLETE)
def test_whoever_reads_the_env_file_finds_the_same_servers(endpoints: Endpoints) -> None:
    environ = environment(env_lines(endpoints))

    found = Endpoints()
    for name in SERVERS:
        running = find(name, environ)
        assert running is not None
        found = dataclasses.replace(found, **running.fields)

    assert found == endpoints
    assert environ["JUSTAI_DATABASE_URL"] == endpoints.database_url


@whatever(COMPLETE)
def test_endpoints_survive_the_way_to_a_worker(endpoints: Endpoints) -> None:
    assert Endpoints.from_json(endpoints.to_json()) == endpoints


def test_without_a_variable_there_is_no_given_server() -> None:
    assert [find(name, {}) for name in SERVERS] == [None] * 4


def test_a_missing_companion_is_named() -> None:
    with pytest.raises(ServerFailed, match="JUSTAI_TEST_S3_URL is set, so JUSTAI_TEST_S3_ACCESS_KEY is needed too"):
        find("s3", {"JUSTAI_TEST_S3_URL": "http://127.0.0.1:1"})


def test_an_sftp_url_without_a_folder_is_refused() -> None:
    environ = {"JUSTAI_TEST_SFTP_URL": "sftp://user@127.0.0.1:22", "JUSTAI_TEST_SFTP_CLIENT_KEY": "/k"}

    with pytest.raises(ServerFailed, match="expected sftp://user@host:port/remote/root"):
        find("sshd", environ)


def test_management_is_looked_for_beside_the_broker() -> None:
    running = find("rabbitmq", {"JUSTAI_TEST_AMQP_URL": "amqp://a:b@127.0.0.1:5673/"})

    assert running is not None
    assert running.fields["amqp_management_url"] == "http://a:b@127.0.0.1:15672"
