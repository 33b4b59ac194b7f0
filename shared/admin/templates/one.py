"""A template that is named by its id, and what is said where there is none: for every operation about one."""

from shared.admin.errors import Next, NotFound
from shared.admin.operation import AskedModel


class OneTemplate(AskedModel):
    """A template by its id."""

    template_id: str


def no_template(template_id: str) -> NotFound:
    """There is none of this id."""
    return NotFound(f"No template {template_id!r}", field="template_id", next=Next("templates.list"))
