import base64

import pytest

from shared.crypto import KeyRing, SealError


def _key(letter: bytes) -> str:
    return base64.b64encode(letter * 32).decode()


RING = KeyRing(f"b:{_key(b'b')},a:{_key(b'a')}")
OLD_RING = KeyRing(f"a:{_key(b'a')}")


def test_a_secret_opens_where_it_was_sealed_and_is_not_in_the_sealed_text() -> None:
    sealed = RING.seal("pk_secret", "org-1/klaviyo")

    assert RING.open(sealed, "org-1/klaviyo") == "pk_secret"
    assert "pk_secret" not in sealed
    assert sealed != RING.seal("pk_secret", "org-1/klaviyo")


def test_a_sealed_text_moved_to_another_org_does_not_open() -> None:
    sealed = RING.seal("pk_secret", "org-1/klaviyo")

    with pytest.raises(SealError):
        RING.open(sealed, "org-2/klaviyo")


def test_the_new_ring_opens_what_the_old_one_sealed_but_not_the_other_way_round() -> None:
    assert RING.open(OLD_RING.seal("x", "p"), "p") == "x"
    with pytest.raises(SealError, match="'b'"):
        OLD_RING.open(RING.seal("x", "p"), "p")


@pytest.mark.parametrize(
    "damage", [lambda s: s[:-2], lambda s: s.replace("v1", "v2"), lambda s: "x", lambda s: s + "A"]
)
def test_damaged_texts_fail_closed(damage) -> None:  # type: ignore[no-untyped-def]  # a table of lambdas
    with pytest.raises(SealError):
        RING.open(damage(RING.seal("pk_secret", "p")), "p")


def test_a_secret_that_is_still_to_be_set_says_so() -> None:
    with pytest.raises(SealError, match="it is not set yet"):
        RING.open("", "place")


@pytest.mark.parametrize("spec", ["", "a", "a:short", "a.b:" + _key(b"a"), ":" + _key(b"a")])
def test_rings_without_a_usable_key_are_refused(spec: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  # base64 words it differently
        KeyRing(spec)
