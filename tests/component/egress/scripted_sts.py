"""An STS server on loopback: it lets a role be taken as its trust policy says, and remembers what was asked for."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs

from aiohttp import web

from tests.support.loopback import hosted

ROLE = "arn:aws:iam::111122223333:role/justai-exports"


@dataclass
class ScriptedSts:
    """One role, which demands an external id. `hands_out`: keys and secrets, a pair for each time; the last one stays.
    `lasts_s`: so long from now the session is good, whatever was asked for."""

    external_id: str
    hands_out: Sequence[tuple[str, str]]
    lasts_s: float | None = None
    url: str = ""
    asked: list[dict[str, str]] = field(default_factory=list)
    signed_by: list[str] = field(default_factory=list)

    async def answer(self, request: web.Request) -> web.Response:
        form = {name: values[0] for name, values in parse_qs((await request.read()).decode()).items()}
        self.asked.append(form)
        self.signed_by.append(request.headers["Authorization"].partition("Credential=")[2].partition("/")[0])
        if (form["Action"], form["RoleArn"], form.get("ExternalId")) != ("AssumeRole", ROLE, self.external_id):
            who = "User: arn:aws:iam::999900001111:role/justai-egress"
            return _error(
                403, "AccessDenied", f"{who} is not authorized to perform: sts:AssumeRole on resource: {ROLE}"
            )
        duration_s = int(form["DurationSeconds"])
        if not 900 <= duration_s <= 3600:
            return _error(400, "ValidationError", "the requested duration exceeds the limit of an hour")
        key, secret = self.hands_out[min(len(self.asked), len(self.hands_out)) - 1]
        until = datetime.now(UTC) + timedelta(seconds=self.lasts_s if self.lasts_s is not None else duration_s)
        return _xml(
            "<AssumeRoleResponse><AssumeRoleResult><Credentials>"
            f"<AccessKeyId>{key}</AccessKeyId><SecretAccessKey>{secret}</SecretAccessKey><SessionToken></SessionToken>"
            f"<Expiration>{until:%Y-%m-%dT%H:%M:%SZ}</Expiration></Credentials>"
            f"<AssumedRoleUser><Arn>{ROLE}/{form['RoleSessionName']}</Arn><AssumedRoleId>A:j</AssumedRoleId>"
            "</AssumedRoleUser></AssumeRoleResult></AssumeRoleResponse>"
        )


def _xml(text: str, status: int = 200) -> web.Response:
    return web.Response(text=text, status=status, content_type="text/xml")


def _error(status: int, code: str, says: str) -> web.Response:
    error = f"<Error><Code>{code}</Code><Message>{says}</Message></Error>"
    return _xml(f"<ErrorResponse>{error}</ErrorResponse>", status)


@asynccontextmanager
async def scripted_sts(
    external_id: str, *hands_out: tuple[str, str], lasts_s: float | None = None
) -> AsyncIterator[ScriptedSts]:
    script = ScriptedSts(external_id, hands_out, lasts_s)
    app = web.Application()
    app.router.add_post("/", script.answer)
    async with hosted(app) as script.url:
        yield script
