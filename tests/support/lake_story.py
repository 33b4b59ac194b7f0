"""A shop's emails as event files, made by chance: what the lake's engines and PostgreSQL must all understand alike."""

import gzip
import random
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

from tests.component.ingest.given import SENT, Mail, Row, flat_csv, json_lines, nested_csv

PEOPLE = [f"P{number}" for number in range(8)]
# Flow messages of which two are synced, one is not, and campaigns of which one is unknown.
MESSAGES = [("MSG1", "FLOW1"), ("MSG2", "FLOW2"), ("MSG9", "FLOW1"), ("MSG9", None), ("MSG1", None)]
SYNCED = [("ACT1", "MSG1", "FLOW1"), ("ACT2", "MSG2", "FLOW2")]
WRITTEN_FOR = ["welcome.FLOW1.ACT1", "winback.FLOW2.ACT2", "welcome.FLOW1.ACT7"]
LINKS = [
    "https://shop.example/item",
    "https://shop.example/unsubscribe?x=1",
    "https://a.kmail-lists.com/subscriptions/x",
]


@dataclass(frozen=True)
class Accepted:
    """A generation."""

    person: str
    written_for: str
    at: datetime
    copy: int | None
    decision: str | None


@dataclass(frozen=True)
class Story:
    """Generations, and files by name, oldest first."""

    generations: list[Accepted]
    files: dict[str, bytes]

    def put(self, folder: Path) -> list[Path]:
        """The files in a folder."""
        for name, content in self.files.items():
            (folder / name).write_bytes(content)
        return [folder / name for name in self.files]


def story(seed: int, emails: int = 40) -> Story:
    """Re-entry, two flows, campaigns, control, bots, machines, missing flags, bounces and unsubscribes without a
    transmission, rows told twice in two files, the newer of which may say less."""
    chance = random.Random(seed)
    generations: list[Accepted] = []
    rows: list[Row] = []
    for number in range(emails):
        sent_at = SENT + timedelta(seconds=chance.randrange(0, 3 * 86_400))
        person, (message_id, flow_id) = chance.choice(PEOPLE), chance.choice(MESSAGES)
        for _ in range(chance.randrange(3)):
            before = timedelta(seconds=chance.choice([-30, 90, 200, 5000, 90_000]))
            before += timedelta(milliseconds=len(generations))  # of two at the very same moment neither is the newer
            decision = chance.choice([None, None, None, "preview", "written_preview"])
            generations.append(
                Accepted(person, chance.choice(WRITTEN_FOR), sent_at - before, chance.choice([None, 1, 2]), decision)
            )
        rows += _events(chance, Mail(f"T{number:03d}", person, message_id, flow_id, sent_at))
    chance.shuffle(rows)
    parts = [rows[part::3] for part in range(3)]
    parts[1] += [_again(chance, row) for row in chance.sample(parts[0], len(parts[0]) // 4)]
    flat = [row for row in parts[2] if "$message" in row.properties]
    nested = [row for row in parts[2] if row not in flat]
    return Story(
        generations,
        {
            "a.csv": nested_csv([*parts[0], *nested]), "b.jsonl.gz": gzip.compress(json_lines(parts[1])),
            "c.csv": flat_csv(flat, "\\N"),
        },
    )  # fmt: skip


def _again(chance: random.Random, row: Row) -> Row:
    """Told once more, by a newer file that perhaps says less of it."""
    left_out = chance.choice(["", "", "machine_open", "$internal", "$flow"])
    return replace(row, properties={name: said for name, said in row.properties.items() if name != left_out})


def _events(chance: random.Random, mail: Mail) -> list[Row]:
    if chance.random() < 0.15:
        return [mail.happened_somehow(chance.choice(["Bounced Email", "Dropped Email"]))]
    rows = [mail.received()] if chance.random() < 0.9 else []
    rows += [
        mail.opened(chance.choice([True, False, None]), after=timedelta(minutes=chance.randrange(1, 3000)))
        for _ in range(chance.randrange(3))
    ]
    rows += [mail.clicked(chance.choice(LINKS), bot=chance.random() < 0.3) for _ in range(chance.randrange(2))]
    if mail.message_id and chance.random() < 0.25:
        metric = chance.choice(["Unsubscribed", "Unsubscribed from Email Marketing", "Marked Email as Spam"])
        rows.append(mail.happened_somehow(metric, after=timedelta(minutes=chance.randrange(1, 4000))))
    return rows
