"""Sentences around what others said. Pure."""


def ended(text: str) -> str:
    """With a stop, unless it ends by itself: what others say may be a question. Markup stays markup."""
    return text if text.endswith((".", "!", "?", "…")) else text + "."
