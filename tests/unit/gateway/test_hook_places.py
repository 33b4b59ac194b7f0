"""Which orgs' batches of system webhooks are taken in hand."""

from collections import Counter
from uuid import UUID

from services.gateway.hooks import has_room


def test_each_org_that_takes_what_it_gets_leaves_half_of_the_places_to_those_after_it() -> None:
    in_hand: Counter[UUID] = Counter()

    for org_id in (greedy := [UUID(int=number) for number in range(5)]):
        while has_room(in_hand, org_id):
            in_hand[org_id] += 1

    assert [in_hand[org_id] for org_id in greedy] == [4, 2, 1, 1, 0]
