"""What calls with the keys of several orgs share."""

from aiohttp import web

from shared.klaviyo.client import KlaviyoClient
from shared.klaviyo.wire import open_session
from tests.contract.klaviyo_stage import serving_with


async def test_a_cookie_that_came_with_one_orgs_answer_goes_along_with_no_other_key() -> None:
    brought: list[tuple[str, str | None]] = []

    async def flows(request: web.Request) -> web.Response:
        brought.append((request.headers["Authorization"], request.headers.get("Cookie")))
        answer = web.json_response({"data": []})
        answer.set_cookie("__cf_bm", request.headers["Authorization"][-1])
        return answer

    async with serving_with(flows) as url, open_session() as session:
        by_name = url.replace("127.0.0.1", "localhost")  # of an address, no cookie would be kept anyway
        for key in ("pk_a", "pk_b"):
            await KlaviyoClient(session, by_name, key).flows()

    assert brought == [("Klaviyo-API-Key pk_a", None), ("Klaviyo-API-Key pk_b", None)]
