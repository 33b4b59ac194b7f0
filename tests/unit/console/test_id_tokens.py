"""Which ID tokens hold. The provider's keys and clock are the test's own."""

import base64
import hmac
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from hypothesis import given
from hypothesis import strategies as st
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey

from services.console.oidc.documents import Key, read_discovery, read_keys
from services.console.oidc.errors import SignInRefused
from services.console.oidc.tokens import Expected, UnknownKey, claims_of
from tests.support.oidc import rsa, signed

NOW = datetime(2026, 11, 25, 10, tzinfo=UTC)
NOW_S = int(NOW.timestamp())
ISSUER = "https://login.example"
EXPECTED = Expected(ISSUER, "console", "n-1")
RSA = rsa()
EC = ECKey.generate_key("P-256", {"kid": "ec-1"})
ED = OKPKey.generate_key("Ed25519", {"kid": "ed-1"})


def keys_of(*keys: RSAKey | ECKey | OKPKey | OctKey, **more: Any) -> tuple[Key, ...]:
    """As the provider publishes them."""
    return read_keys({"keys": [{**key.as_dict(private=False), **more} for key in keys]})


KEYS = keys_of(RSA, EC, ED)


def claims(**other: Any) -> dict[str, Any]:
    said = {"iss": ISSUER, "sub": "ann-1", "aud": "console", "nonce": "n-1", "iat": NOW_S, "exp": NOW_S + 300, **other}
    return {name: value for name, value in said.items() if value is not None}


def encoded(part: object) -> str:
    return base64.urlsafe_b64encode(orjson.dumps(part)).rstrip(b"=").decode()


def why(token: str, keys: tuple[Key, ...] = KEYS) -> str:
    with pytest.raises(SignInRefused) as refused:
        claims_of(token, keys, EXPECTED, NOW)
    assert refused.value.reason == "bad_token"
    return refused.value.detail


@pytest.mark.parametrize(
    ("alg", "key"), [("RS256", RSA), ("PS256", RSA), ("ES256", EC), ("EdDSA", ED), ("Ed25519", ED)]
)
def test_what_is_signed_as_we_allow_it_holds(alg: str, key: RSAKey | ECKey | OKPKey) -> None:
    assert claims_of(signed(claims(), key, alg), KEYS, EXPECTED, NOW)["sub"] == "ann-1"


@pytest.mark.parametrize("alg", ["RS384", "RS512", "PS512", "RS256K", "ES256K", "none", "NONE", "HS256", "", "dir"])
def test_no_other_algorithm_is_taken_whatever_the_token_says(alg: str) -> None:
    header, _, rest = signed(claims(), RSA).partition(".")
    forged = encoded(orjson.loads(base64.urlsafe_b64decode(header + "==")) | {"alg": alg})

    assert "algorithm" in why(f"{forged}.{rest}") or "cannot be read" in why(f"{forged}.{rest}")


def test_a_token_without_a_signature_holds_as_little() -> None:
    unsigned = f"{encoded({'alg': 'none'})}.{encoded(claims())}"

    assert why(f"{unsigned}.") == "it is no signed token"
    assert "algorithm" in why(f"{unsigned}.AA")


def test_the_public_key_does_not_serve_as_a_shared_secret() -> None:
    for secret in (RSA.as_pem(private=False), orjson.dumps(RSA.as_dict(private=False))):
        body = f"{encoded({'alg': 'HS256', 'kid': 'rsa-1'})}.{encoded(claims())}"
        mac = hmac.digest(secret, body.encode(), "sha256")
        assert "algorithm" in why(f"{body}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}")


def test_a_secret_among_the_published_keys_is_none_of_them() -> None:
    shared = OctKey.generate_key(256, {"kid": "oct-1"})

    assert read_keys({"keys": [shared.as_dict(private=True)]}) == ()


def test_a_key_signs_only_with_the_algorithm_it_is_for() -> None:
    with pytest.raises(UnknownKey):
        claims_of(signed(claims(), RSA, "PS256"), keys_of(RSA, alg="RS256"), EXPECTED, NOW)
    with pytest.raises(UnknownKey):
        claims_of(signed(claims(), RSA, "RS256", kid="ec-1"), KEYS, EXPECTED, NOW)
    assert keys_of(RSA, use="enc") == ()


def test_another_key_under_the_same_name_is_not_the_providers() -> None:
    assert why(signed(claims(), rsa("rsa-1"))) == "its signature is not the provider's"


def test_a_key_that_nobody_published_is_said_so_that_it_can_be_asked_for() -> None:
    with pytest.raises(UnknownKey):
        claims_of(signed(claims(), rsa("rsa-2")), KEYS, EXPECTED, NOW)


def test_without_a_key_id_all_fitting_keys_are_tried() -> None:
    other = rsa("rsa-0")

    assert claims_of(signed(claims(), RSA, kid=None), keys_of(other, RSA, EC), EXPECTED, NOW)


@pytest.mark.parametrize(
    "header",
    [{"crit": ["exp"]}, {"crit": ["b64"], "b64": False}, {"crit": []}, {"crit": ["x"], "x": 1}],
)
def test_what_the_token_calls_critical_and_we_do_not_know_is_refused(header: dict[str, Any]) -> None:
    named = {"alg": "RS256", "kid": "rsa-1", **header}
    body = f"{encoded(named)}.{encoded(claims())}"
    assert RSA.private_key is not None
    signature = RSA.private_key.sign(body.encode(), padding.PKCS1v15(), hashes.SHA256())
    token = f"{body}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"

    assert why(token) == "it calls something critical that means nothing to us"


def test_a_key_that_the_token_brings_along_is_not_looked_at() -> None:
    mine = rsa("mine")

    with pytest.raises(UnknownKey):
        claims_of(signed(claims(), mine, jwk=mine.as_dict(private=False)), KEYS, EXPECTED, NOW)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"iss": "https://login.example/"}, "another issuer"),
        ({"iss": None}, "another issuer"),
        ({"aud": "other"}, "another client"),
        ({"aud": None}, "another client"),
        ({"aud": []}, "another client"),
        ({"aud": ["console", "other"]}, "given to another client"),
        ({"aud": ["console", "other"], "azp": "other"}, "given to another client"),
        ({"azp": "other"}, "given to another client"),
        ({"nonce": "n-2"}, "another sign-in"),
        ({"nonce": None}, "another sign-in"),
        ({"exp": NOW_S - 60}, "expired"),
        ({"exp": None}, "exp is no moment"),
        ({"exp": "soon"}, "exp is no moment"),
        ({"exp": True}, "exp is no moment"),
        ({"iat": None}, "iat is no moment"),
        ({"iat": NOW_S + 61}, "not valid yet"),
        ({"nbf": NOW_S + 61}, "not valid yet"),
        ({"sub": None}, "no subject"),
        ({"sub": ""}, "no subject"),
        ({"sub": "x" * 256}, "no subject"),
        ({"sub": 7}, "no subject"),
        ({"sub": "a\0b"}, "no subject"),
    ],
)
def test_a_token_that_is_not_for_this_sign_in_is_refused(wrong: dict[str, Any], said: str) -> None:
    assert said in why(signed(claims(**wrong), RSA))


def test_clocks_may_differ_by_a_minute() -> None:
    for ahead_or_behind in ({"exp": NOW_S - 59}, {"iat": NOW_S + 60, "exp": NOW_S + 360}, {"nbf": NOW_S + 60}):
        assert claims_of(signed(claims(**ahead_or_behind), RSA), KEYS, EXPECTED, NOW)


def test_several_audiences_are_fine_when_it_was_given_to_us() -> None:
    assert claims_of(signed(claims(aud=["console", "api"], azp="console"), RSA), KEYS, EXPECTED, NOW)


@pytest.mark.parametrize(
    "token",
    ["", "a", "a.b", "a.b.c", "a.b.c.d", "....", "é.é.é", "x" * 70_000, "W10.W10.W10", "e30.e30.e30",
     "bnVsbA.bnVsbA.bnVsbA", base64.urlsafe_b64encode(b"[" * 30_000).decode().rstrip("=") + ".e30.e30"],
)  # fmt: skip
def test_what_is_no_token_is_refused(token: str) -> None:
    assert why(token)


@given(st.text(alphabet="abcABC019-_.=", max_size=200))
def test_nothing_that_looks_like_a_token_breaks_the_reader(token: str) -> None:
    with pytest.raises((SignInRefused, UnknownKey)):
        claims_of(token, KEYS, EXPECTED, NOW)


# --- what a provider publishes ---------------------------------------------------------------------------------------

DOCUMENT = {
    "issuer": ISSUER, "authorization_endpoint": f"{ISSUER}/a", "token_endpoint": f"{ISSUER}/t",
    "jwks_uri": "https://keys.example/k",
}  # fmt: skip


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"issuer": "https://login.example/"}, "another issuer"),
        ({"issuer": None}, "another issuer"),
        ({"token_endpoint": None}, "has no token_endpoint"),
        ({"jwks_uri": ["https://keys.example"]}, "jwks_uri is no text"),
        ({"jwks_uri": "http://login.example/k"}, "jwks_uri must be https"),
        ({"jwks_uri": "file:///etc/passwd"}, "is no address"),
        ({"token_endpoint": "https://169.254.169.254/latest"}, "private network"),
        ({"token_endpoint": "https://10.0.0.1/t"}, "private network"),
        ({"token_endpoint": "https://[::1]/t"}, "private network"),
        ({"token_endpoint": "https://[::ffff:127.0.0.1]/t"}, "private network"),
        ({"token_endpoint": "https://u:p@login.example/t"}, "carries a login"),
        ({"userinfo_endpoint": "javascript:alert(1)"}, "is no address"),
        ({"end_session_endpoint": "https://login.example\r\nX: y"}, "is no address"),
        ({"authorization_endpoint": "https://login.example:0/"}, "is no address"),
        ({"authorization_endpoint": "https://[bad"}, "is no address"),
    ],
)
def test_a_discovery_document_that_leads_astray_is_refused(wrong: dict[str, Any], said: str) -> None:
    document = {name: value for name, value in {**DOCUMENT, **wrong}.items() if value is not None}

    with pytest.raises(SignInRefused, match=said) as refused:
        read_discovery(document, ISSUER, private=False)
    assert refused.value.reason == "odd_provider"


def test_in_a_private_network_http_is_fine_but_the_clouds_metadata_never() -> None:
    private = DOCUMENT | {"token_endpoint": "http://10.0.0.1/t", "jwks_uri": "http://[::1]:8080/k"}

    assert read_discovery(private, ISSUER, private=True).token_endpoint == "http://10.0.0.1/t"
    for address in ("http://169.254.169.254/t", "https://169.254.169.254/t", "http://8.8.8.8/t", "https://0.0.0.0/t"):
        with pytest.raises(SignInRefused, match="must not be reached"):
            read_discovery(DOCUMENT | {"token_endpoint": address}, ISSUER, private=True)


@pytest.mark.parametrize("document", [{}, {"keys": None}, {"keys": {}}, {"keys": [{}] * 101}])
def test_keys_that_are_no_list_or_too_many_are_refused(document: dict[str, Any]) -> None:
    with pytest.raises(SignInRefused):
        read_keys(document)


def test_a_key_that_is_broken_weak_or_strange_takes_no_other_away() -> None:
    good = RSA.as_dict(private=False)
    listed = [
        7, {}, {"kty": "RSA"}, {**good, "n": "AQ"}, {**good, "n": 7}, {**good, "e": ""}, {"kty": "EC", "crv": "P-521"},
        {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"}, {"kty": "OKP", "crv": "Ed25519", "x": "AA"},
        {"kty": "OKP", "crv": "X25519", "x": "AA"}, {"kty": "AKP", "alg": "ML-DSA-44"}, {"kty": ["RSA"]},
        rsa("weak", 1_024).as_dict(private=False), good,
    ]  # fmt: skip

    assert [key.kid for key in read_keys({"keys": listed})] == ["rsa-1"]
