"""Copy for the tests of rendering; say only what matters."""

from uuid import UUID

from shared.schemas.copy import VariantSource


def source(*, subject: str = "Hello", preheader: str = "News", body: str = "<p>Hello</p>") -> VariantSource:
    """One variant version."""
    return VariantSource(UUID(int=1), 1, subject, preheader, body)
