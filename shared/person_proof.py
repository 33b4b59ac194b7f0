"""The proof of a person's deletion: an id made of theirs and of the installation's secret. Whoever has both finds it,
and it tells nobody anything else."""

from uuid import UUID

from shared.api_keys import Peppers


def proof_of(peppers: Peppers, org_id: UUID, user_id: str) -> UUID:
    """As a deletion keeps it."""
    _, digest = peppers.digest(_text(org_id, user_id))
    return UUID(bytes=digest[:16])


def proofs_of(peppers: Peppers, org_id: UUID, user_id: str) -> list[UUID]:
    """As deletions may have kept it, under each pepper that is known."""
    return [UUID(bytes=digest[:16]) for digest in peppers.digests(_text(org_id, user_id))]


def _text(org_id: UUID, user_id: str) -> str:
    return f"{org_id}/person/{user_id}"
