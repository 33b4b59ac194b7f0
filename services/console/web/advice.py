"""The runbook's words on a page. Pure.

Who reads them there may have no command line and no runbooks: what is done with those is done on a page here.
"""

import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import quote

from markupsafe import Markup, escape

_CODE: Final = re.compile(r"(in the console or by )?`([^`]+)`|docs/runbooks/([\w-]+)\.md")

Place = tuple[str, str]
"""What a page of the org is called in a sentence, and its path below the org's."""

_KEY: Final = ("Org Integration Settings", "/integration")
_TEMPLATE: Final = ("the template's page", "/templates/{template}")
COMMANDS: Final[Mapping[str, Place]] = {
    "justai flows sync": ("Refresh Klaviyo Data", "/troubleshooting"),
    "justai klaviyo connect": _KEY,
    "justai quota": ("Operations", "/operations"),
    "justai template state": _TEMPLATE,
    "justai variant approve": ("Review", "/review"),
    "justai webhook": ("the template's Integration Settings", "/templates/{template}/settings"),
}
"""Where the same is done or seen, by a command's first words."""

RUNBOOKS: Final[Mapping[str, tuple[str, Place]]] = {
    "emails-show-control": ("see ", ("Troubleshooting", "/troubleshooting")),
    "klaviyo-key-refused": ("save a key that works in ", _KEY),
    "wrong-copy": ("resume it once its copy is right, on ", _TEMPLATE),
}
"""What a runbook comes to, and where it is done."""


def advice(text: str, org_slug: str, template_id: str = "") -> Markup:
    """Commands and runbooks as links to the pages that do the same, other words in backquotes as code. Everything else
    is escaped."""
    made, end = Markup(), 0
    for found in _CODE.finditer(text):
        made += escape(text[end : found.start()])
        by_hand, code, runbook = found.groups()
        command = next((one for one in COMMANDS if code is not None and code.startswith(one)), None)
        if runbook in RUNBOOKS:
            said, place = RUNBOOKS[runbook]
            made += said + _link(place, org_slug, template_id)
        elif command is not None:
            made += ("on " if by_hand else "") + _link(COMMANDS[command], org_slug, template_id)
        else:
            made += (by_hand or "") + Markup("<code>{}</code>").format(code or found[0])
        end = found.end()
    return made + escape(text[end:])


def _link(place: Place, org_slug: str, template_id: str) -> Markup:
    name, path = place
    if not template_id and "{template}" in path:
        path = "/templates"  # which one is not known: their list
    path = path.format(template=quote(template_id, safe=""))
    return Markup('<a href="{}">{}</a>').format(f"/{quote(org_slug, safe='')}{path}", name)
