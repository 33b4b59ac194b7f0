import base64

import pytest

from shared.crypto import KeyRing, SealError, Wrapped, parse_ring


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
    """ASVS 5.0 V11.3.3: what is encrypted cannot be changed unseen."""
    with pytest.raises(SealError):
        RING.open(damage(RING.seal("pk_secret", "p")), "p")


def test_no_bit_of_a_sealed_text_can_be_changed() -> None:
    """ASVS 5.0 V11.3.2 and V11.3.3: AES-GCM, which no change of nonce, wrapped key, ciphertext or tag gets past."""
    version, name, *sealed = RING.seal("pk_secret", "p").split(".")

    for part, text in enumerate(sealed):
        whole = _bytes(text)
        for at in range(len(whole) * 8):
            flipped = bytearray(whole)
            flipped[at // 8] ^= 1 << at % 8
            changed = [*sealed[:part], _text(bytes(flipped)), *sealed[part + 1 :]]
            with pytest.raises(SealError):
                RING.open(".".join((version, name, *changed)), "p")
    assert [len(_bytes(text)) for text in sealed] == [12 + 32 + 16, 12 + len("pk_secret") + 16]


def test_no_byte_of_a_sealed_text_can_be_left_out_doubled_or_taken_from_another() -> None:
    one, other = RING.seal("pk_secret", "p"), RING.seal("pk_secret", "p")
    wrapped, ciphertext = one.split(".")[2:]

    for at in range(len(one)):
        for changed in (one[:at] + one[at + 1 :], one[:at] + one[at] + one[at:], one[:at]):
            with pytest.raises(SealError):
                RING.open(changed, "p")
    for changed in (other.replace(other.split(".")[2], wrapped), other.replace(other.split(".")[3], ciphertext)):
        with pytest.raises(SealError):
            RING.open(changed, "p")


def _bytes(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def test_a_secret_that_is_still_to_be_set_says_so() -> None:
    with pytest.raises(SealError, match="it is not set yet"):
        RING.open("", "place")


@pytest.mark.parametrize(
    "spec",
    [
        "", "# nothing", "a", "a:short", "a:%%%", "a.b:" + _key(b"a"), ":" + _key(b"a"),
        f"a:{_key(b'a')},a:{_key(b'b')}",
        "a:kms:", "a:kms:alias/justai#AAAA", "a:kms:arn:aws:kms:eu-central-1:1:key/1#", "a:kms:arn#AAAA",
    ],
)  # fmt: skip
def test_rings_without_a_usable_key_are_refused(spec: str) -> None:
    with pytest.raises(ValueError, match="ring"):
        parse_ring(spec)


def test_a_ring_may_stand_in_lines_with_remarks_between_them() -> None:
    spec = f"# of this autumn\nb:{_key(b'b')}\n\n  # of last year\n  a:{_key(b'a')}\n"

    assert KeyRing(spec).names == ("b", "a")
    assert KeyRing(spec).open(OLD_RING.seal("x", "p"), "p") == "x"


def test_a_wrapped_key_is_read_and_written_as_it_was_and_seals_nothing_before_it_is_unwrapped() -> None:
    text = "k2:kms:arn:aws:kms:eu-central-1:111122223333:key/1234#AQID"

    assert parse_ring(text) == {"k2": Wrapped("arn:aws:kms:eu-central-1:111122223333:key/1234", b"\x01\x02\x03")}
    assert f"k2:{parse_ring(text)['k2']!s}" == text
    with pytest.raises(ValueError, match="wrapped"):
        KeyRing(text)


def test_a_secret_is_wrapped_anew_without_its_ciphertext_being_touched() -> None:
    old = OLD_RING.seal("pk_secret", "org-1/klaviyo")

    new = RING.rewrap(old, "org-1/klaviyo")

    assert new.split(".")[1] == "b"
    assert new.split(".")[3] == old.split(".")[3]
    assert KeyRing(f"b:{_key(b'b')}").open(new, "org-1/klaviyo") == "pk_secret"
    with pytest.raises(SealError):
        RING.rewrap(old, "org-2/klaviyo")


def test_a_ring_that_got_another_key_is_another_one_for_all_who_hold_it() -> None:
    ring = KeyRing(f"a:{_key(b'a')}")
    holder = ring.open

    ring.replace({"b": b"b" * 32, "a": b"a" * 32})

    assert holder(RING.seal("x", "p"), "p") == "x"
    assert ring.names == ("b", "a")
    with pytest.raises(ValueError, match="ring key"):
        ring.replace({})
