"""The whole box: accounts, clock, chance, settings. Everything else is handed the parts of it that it needs."""

import random
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from shared.clock import Clock
from simulator.account import Account, Campaign, PrivateKey, standard_metrics
from simulator.faults import Fault
from simulator.flow.judge import Decision
from simulator.flow.ledger import Ledger
from simulator.foreign import Foreign, Pattern
from simulator.ids import Ids
from simulator.ledger_file import LedgerFile
from simulator.people.events import METRIC_NAMES
from simulator.profile import new_profile
from simulator.requestlog import RequestLog
from simulator.settings import SimulatorSettings


class World:
    """Python's way to build what `/_sim` builds over HTTP."""

    def __init__(
        self, clock: Clock, settings: SimulatorSettings | None = None, seed: int = 1, export_root: Path | None = None,
        ledger_file: LedgerFile | None = None,
    ) -> None:  # fmt: skip
        self.clock = clock
        self.settings = settings or SimulatorSettings()
        self.ids = Ids(seed)
        self.export_root = export_root
        self.accounts: dict[str, Account] = {}
        self.keys: dict[str, tuple[Account, PrivateKey]] = {}
        self.ledgers: dict[str, Ledger] = {}
        self.decisions: dict[str, Decision] = {}
        self.faults: list[Fault] = []
        self.log = RequestLog(self.settings.request_log_entries, self.settings.request_log_bytes)
        self.started_at: datetime = clock.now()
        self.ledger_file = ledger_file
        if ledger_file is not None:
            ledger_file.started(self.started_at, seed)

    def add_account(self, name: str, account_id: str | None = None, phase_s: float | None = None) -> Account:
        """A new account with the standard metrics; its window phase is drawn unless given."""
        account_id = account_id or self.ids.short()
        if account_id in self.accounts:
            raise ValueError(f"account {account_id} exists")
        phase = self.ids.random.uniform(0, 60) if phase_s is None else phase_s
        account = Account(account_id, name, phase, self.clock.now(), recorder=self.ledger_file)
        account.metrics = standard_metrics([self.ids.short() for _ in METRIC_NAMES], self.clock.now())
        self.accounts[account.id] = account
        self.ledgers[account.id] = Ledger()
        return account

    def add_key(self, account: Account, scopes: Iterable[str], value: str | None = None) -> PrivateKey:
        key = PrivateKey(value or self.ids.private_key(), frozenset(scopes))
        if key.value in self.keys:
            raise ValueError("this key exists")
        account.keys[key.value] = key
        self.keys[key.value] = (account, key)
        return key

    def add_foreign(
        self, account: Account, operation: str, per_s: float, pattern: Pattern = "steady", burst: int = 20
    ) -> Foreign:
        """Other apps' calls from now on, in place of any before."""
        since_s, seed = self.clock.now().timestamp(), self.ids.random.getrandbits(64)
        foreign = Foreign(per_s, pattern, burst, since_s, random.Random(seed))  # noqa: S311 - made-up traffic
        account.foreign[operation] = foreign
        return foreign

    def add_profile(self, account: Account, attributes: Mapping[str, Any], profile_id: str | None = None) -> str:
        """A new person; ids are drawn as Klaviyo has them, one old 6-character id in five. Returns the id."""
        now = self.clock.now()
        if profile_id is None:
            profile_id = self.ids.short() if self.ids.random.random() < 0.2 else self.ids.ulid(now)
        if profile_id in account.profiles or profile_id in account.gone:
            raise ValueError(f"profile {profile_id} exists")
        account.add_profile(new_profile(profile_id, attributes, now))
        return profile_id

    def add_campaign(self, account: Account, name: str, status: str = "Sent") -> Campaign:
        now = self.clock.now()
        campaign = Campaign(
            self.ids.ulid(now),
            self.ids.ulid(now),
            name,
            status,
            self.ids.short(),
            now,
            now if status == "Sent" else None,
        )
        account.campaigns[campaign.id] = campaign
        return campaign
