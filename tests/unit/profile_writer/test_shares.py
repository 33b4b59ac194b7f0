"""Retries have a fifth of a turn, fresh writes half of it beside dirty profiles that can wait: no less while they wait,
no more while others do."""

from hypothesis import example, given
from hypothesis import strategies as st

from services.profile_writer.rows import Key
from services.profile_writer.turns.shares import RETRY_SHARE, crowded_out, shared_out, side_by_side

TOKENS = st.integers(0, 40)
WAITING = st.integers(0, 60)
CHANCE = st.floats(0, 1, exclude_max=True)


def keys(what: str, count: int) -> list[Key]:
    return [Key("acct:A", f"{what}{number}", "jai") for number in range(count)]


def kinds(sent: tuple[Key, ...]) -> str:
    """One letter each: f, r or c."""
    return "".join(key.profile_id[0] for key in sent)


@given(WAITING, WAITING, WAITING, TOKENS, CHANCE)
def test_no_token_stays_unused_and_each_lane_keeps_its_order(
    fresh: int, retries: int, clean_ups: int, tokens: int, chance: float
) -> None:
    lanes = [keys("f", fresh), keys("r", retries), keys("c", clean_ups)]

    sent = shared_out(lanes[0], lanes[1], lanes[2], tokens, chance)

    assert len(sent) == min(tokens, fresh + retries + clean_ups)
    for lane in lanes:
        assert [key for key in sent if key in lane] == lane[: sum(key in lane for key in sent)]
    assert "c" not in kinds(sent) or kinds(sent).count("f") + kinds(sent).count("r") == fresh + retries


@example(12, 4, 15, 0.9999999999999999)
@given(WAITING, WAITING, TOKENS, CHANCE)
def test_retries_get_their_share_and_no_more_than_it_while_others_wait(
    fresh: int, retries: int, tokens: int, chance: float
) -> None:
    sent = kinds(shared_out(keys("f", fresh), keys("r", retries), [], tokens, chance))

    share = tokens * RETRY_SHARE
    tried, left_out = sent.count("r"), fresh - sent.count("f")
    assert tried > min(retries, share) - 1
    if left_out > 0:
        assert tried < share + 1


@given(st.integers(1, 7))
def test_turns_of_few_tokens_give_retries_a_fifth_in_the_long_run(tokens: int) -> None:
    turns = [shared_out(keys("f", 50), keys("r", 50), [], tokens, number / 100) for number in range(100)]

    assert sum(kinds(turn).count("r") for turn in turns) == 20 * tokens


def test_a_turn_that_is_cut_short_cuts_both() -> None:
    sent = kinds(shared_out(keys("f", 30), keys("r", 30), [], 25, 0.0))

    assert [sent[start : start + 5].count("r") for start in range(0, 25, 5)] == [1, 1, 1, 1, 1]


def test_a_profile_that_waits_in_two_lanes_is_sent_once_and_its_place_is_not_lost() -> None:
    twice = [Key("acct:A", "f0", "jai_other"), *keys("r", 3)]

    sent = shared_out(keys("f", 2), twice, twice[:1], 25, 0.0)

    assert sorted(key.profile_id for key in sent) == ["f0", "f1", "r0", "r1", "r2"]


@given(WAITING, WAITING, TOKENS, CHANCE)
def test_dirty_and_fresh_have_half_each_and_keep_their_order(
    dirty: int, fresh: int, tokens: int, chance: float
) -> None:
    lanes = [keys("d", dirty), keys("f", fresh)]

    order = side_by_side(lanes[0], lanes[1], tokens, chance)

    assert sorted(order) == sorted(lanes[0] + lanes[1])
    for lane in lanes:
        assert [key for key in order if key in lane] == lane
    sent = kinds(order[:tokens])
    assert sent.count("d") >= min(dirty, tokens // 2)
    assert sent.count("f") >= min(fresh, tokens // 2)


@given(WAITING, WAITING, TOKENS)
def test_only_who_gets_less_than_half_of_a_turn_is_crowded_out(dirty: int, fresh: int, tokens: int) -> None:
    strictly = kinds(tuple((keys("d", dirty) + keys("f", fresh))[:tokens])).count("f")

    assert crowded_out(keys("d", dirty), keys("f", fresh), tokens) == (strictly < min(fresh, (tokens + 1) // 2))


def test_one_token_is_fresh_every_other_time() -> None:
    turns = [side_by_side(keys("d", 9), keys("f", 9), 1, number / 100)[0] for number in range(100)]

    assert kinds(tuple(turns)).count("f") == 50
