"""Which webhooks name another flow than the one that they come from."""

from collections.abc import Mapping
from datetime import UTC, datetime
from uuid import UUID

import pytest

from services.gateway.reader import Webhook
from services.gateway.strays import Stray, Strays
from services.gateway.tally import Count

NOW = datetime(2026, 11, 23, 10, tzinfo=UTC)
ORG = UUID(int=1)
USER = "01HZX3V8J5Q2W9N4K7M6P0R1ST"


class Stored:
    """Counts in place of the database."""

    def __init__(self) -> None:
        self.told = list[dict[Stray, Count]]()

    async def count_strays(self, strays: Mapping[Stray, Count]) -> None:
        self.told.append(dict(strays))


def webhook(tracking_id: str) -> Webhook:
    return Webhook("welcome", USER, tracking_id, {}, {}, ())


@pytest.mark.parametrize(
    ("flow_id", "tracking_id", "named"),
    [
        ("CLONE1", f"{USER}.FLOW01.A1", "FLOW01"),
        ("FLOW01", f"{USER}.FLOW01.A1", None),
        ("CLONE1", f"{USER}.FLOW01", None),
        ("CLONE1", f"{USER}.FLOW01.A1.more", None),
        ("CLONE1", "somebody.FLOW01.A1", None),
        ("\udcff{{ flow }}", f"{USER}.FLOW01.A1", None),
    ],
)
async def test_a_webhook_that_names_another_flow_is_counted(flow_id: str, tracking_id: str, named: str | None) -> None:
    stored = Stored()
    strays = Strays(stored)

    for _ in range(2):
        strays.note(ORG, flow_id, webhook(tracking_id), NOW)
    await strays.store()

    assert stored.told == ([{Stray(ORG, flow_id, named, "welcome"): Count(2, NOW)}] if named else [])
