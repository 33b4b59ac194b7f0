"""The estimators on real logs: the Open Bandit Dataset (ZOZO), the small part that the `obp` wheel carries.

Fashion items were shown by two policies side by side, uniform and Bernoulli Thompson ("bts"), 10,000 impressions each
in three campaigns, and every impression logs its own probability. So what we estimate of one policy from the other's
log can be compared with what that policy really earned. The wheel is read without being installed.
"""

import csv
import io
import subprocess
import sys
import tempfile
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from uuid import UUID

from bench.report import Report
from shared.inference import policy
from shared.inference.sequence import NotEnough
from shared.inference.variants import Draws

CAMPAIGNS = ("all", "men", "women")
_WHEEL = "obp==0.4.1"
_DOWNLOAD_S = 60


class Shown(NamedTuple):
    """One impression."""

    item: int
    position: int
    clicked: bool
    probability: float


class Unavailable(Exception):
    """The wheel cannot be had; the text says why."""


def report_open_bandit(report: Report) -> dict[str, float]:
    """A table; figures only where the logs can be had."""
    try:
        with tempfile.TemporaryDirectory() as folder:
            archive = wheel(Path(folder))
            logs = {name: read(archive, name) for name in CAMPAIGNS}
    except Unavailable as why:
        print(f"Open Bandit logs: skipped, {why}")
        return {}
    rows, held, told = [], 0, 0
    for name, (uniform, bts) in logs.items():
        for what, log, target, real in (
            ("bts from uniform", uniform, bts_shares(bts), bts),
            ("uniform from bts", bts, None, uniform),
        ):
            found = estimated(log, target)
            earned = sum(one.clicked for one in real) / len(real)
            if isinstance(found, NotEnough):
                rows.append((f"{name}: {what}", f"refused: {found.why}", "", f"{earned:.2%}"))
                continue
            told += 1
            held += found.within.holds(earned)
            high = found.within.high or 1.0
            rows.append(
                (f"{name}: {what}", f"{found.snipw:.2%}", f"{found.within.low:.2%} … {high:.2%}", f"{earned:.2%}")
            )
    report.table("Open Bandit logs", ("campaign", "estimated (SNIPW)", "within", "really earned"), rows)
    return {"obd_told": told, "obd_held": held}


def wheel(folder: Path) -> zipfile.ZipFile:
    """The wheel, fetched by pip; raises Unavailable."""
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet", "--disable-pip-version-check", _WHEEL]
    try:
        subprocess.run([*command, "--dest", folder], check=True, capture_output=True, timeout=_DOWNLOAD_S)
    except (subprocess.SubprocessError, OSError) as error:
        raise Unavailable(f"pip does not get {_WHEEL}: {type(error).__name__}") from None
    found = [*folder.glob("obp-*.whl")]
    if not found:
        raise Unavailable(f"{_WHEEL} is no wheel here")
    return zipfile.ZipFile(found[0])


def read(archive: zipfile.ZipFile, campaign: str) -> tuple[list[Shown], list[Shown]]:
    """The logs of both policies, uniform first."""
    uniform, bts = (
        [*_rows(archive.read(f"obp/dataset/obd/{policy}/{campaign}/{campaign}.csv"))] for policy in ("random", "bts")
    )
    return uniform, bts


def _rows(text: bytes) -> Iterator[Shown]:
    for row in csv.DictReader(io.StringIO(text.decode())):
        yield Shown(
            int(row["item_id"]), int(row["position"]), row["click"] in ("1", "1.0"), float(row["propensity_score"])
        )


def bts_shares(log: list[Shown]) -> dict[int, dict[int, float]]:
    """By position: how often bts showed each item there. It ignores the user, so this is its policy."""
    shown = Counter((one.position, one.item) for one in log)
    at = Counter(one.position for one in log)
    shares: dict[int, dict[int, float]] = {}
    for (position, item), times in shown.items():
        shares.setdefault(position, {})[item] = times / at[position]
    return shares


def estimated(log: list[Shown], shares: dict[int, dict[int, float]] | None) -> policy.Value | NotEnough:
    """What the target earns by this log; None: the uniform one.

    Only the probability of what was shown is logged. The others' are told as one variant, "any other", which is enough
    for the weights.
    """
    items = sorted({one.item for one in log})
    even = 1 / len(items)
    other = UUID(int=1 << 64)
    targets: dict[Draws, policy.Shares] = {}
    draws: list[Draws] = []
    for number, one in enumerate(log):
        item = UUID(int=one.item)
        wanted = even if shares is None else shares.get(one.position, {}).get(one.item, 0.0)
        draw = Draws(
            number % 2, f"{one.position}", (item, other), (one.probability, 1 - one.probability), item, 1, one.clicked
        )
        targets[draw] = {item: wanted, other: 1 - wanted}
        draws.append(draw)
    return policy.value(draws, lambda draw: targets[draw])
