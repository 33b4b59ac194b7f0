"""Briefs and drafts for tests of drafting, and the settings of a model that a test serves."""

from typing import Any

from tests.support.llm import FakeModel

KEY = "sk-nobody-may-see-this"
BRIEF: dict[str, Any] = {
    "goal": "Bring new customers to their first order",
    "audience": "People who joined in the last hour",
    "tone": "Warm",
    "must_say": ["free shipping"],
    "themes": ["welcome", "offer"],
    "fields": ["first_name"],
    "links": ["https://shop.example/first"],
}
_TEXTS = (
    ("Two cups", "Two cups on the table, {{ first_name | default: 'you' }}",
     "Pull up a chair and let the kettle sing its tune"),
    ("Map", "A short map of the roasts we keep", "From bright and light to dark as a winter evening here"),
    ("Letter", "A letter from the roastery floor", "What we learned about beans this year, on one page only"),
)  # fmt: skip


def draft(number: int, **texts: object) -> dict[str, object]:
    """A draft that passes every check; another for each number."""
    name, subject, preheader = _TEXTS[number]
    body = f"<h1>{name}</h1><p>{preheader}, with free shipping. <a href='https://shop.example/first'>{subject}</a></p>"
    return {"name": name, "subject": subject, "preheader": preheader, "body": body, **texts}


def llm(server: FakeModel, **more: Any) -> dict[str, Any]:
    """Settings of a model at this server, asked once."""
    known = {"provider": "openai", "url": server.url, "model": "gpt-test", "api_key": KEY, "tries": 1, **more}
    return {f"llm_{name}": value for name, value in known.items()}
