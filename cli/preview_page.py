"""The preview as one HTML file that needs nothing else and lets nothing out. Pure.

Copy is shown in frames without any permission, under a policy without scripts and without network: pictures stay away,
and a link that is touched leads nowhere.
"""

from collections.abc import Iterator, Sequence
from html import escape

from shared.admin.outcomes.meanings import of_decision
from shared.admin.variants.preview_grid import Cell

MOST_CELLS = 200
"""The worst ones; a file of more could weigh tens of megabytes."""

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
_PAGE_POLICY = f"{_POLICY}; frame-src about:"  # the frames' own documents, and no address that a touched link has
_STYLE = """
:root{color-scheme:light dark;--line:#8884;--bad:#c62828;--good:#2e7d32;--soft:#8882}
*{box-sizing:border-box}
body{margin:0;font:16px/1.45 system-ui,sans-serif}
header{padding:16px}
h1{font-size:1.3rem;margin:0 0 4px}
header p{margin:4px 0;opacity:.8;max-width:70ch}
main{display:grid;gap:16px;padding:0 16px 32px;grid-template-columns:repeat(auto-fill,minmax(min(100%,600px),1fr))}
article{border:1px solid var(--line);border-radius:12px;overflow:hidden;display:flex;flex-direction:column;min-width:0}
article>div{padding:12px 14px;overflow-wrap:anywhere}
h2{font-size:1rem;margin:0}
.who{opacity:.75;font-size:.9rem}
.tag{float:right;margin-left:8px;padding:1px 10px;border-radius:99px;color:#fff;font-size:.8rem;background:var(--good)}
.control .tag{background:var(--bad)}
.subject{font-weight:600;margin:10px 0 0}
.chars{font-weight:400;opacity:.6;font-size:.85rem}
.preheader{opacity:.75;margin:0}
ul{margin:8px 0 0;padding-left:18px;font-size:.9rem}
iframe{width:100%;height:440px;border:0;border-top:1px solid var(--line);background:#fff;resize:vertical}
.reason{background:var(--soft)}
"""


def page(title: str, cells: Sequence[Cell]) -> str:
    """The whole file; `cells` in their order."""
    shown = cells[:MOST_CELLS]
    control = sum(cell.shown is None for cell in cells)
    left_out = f" The worst {len(shown)} are here." if len(shown) < len(cells) else ""
    head = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_PAGE_POLICY}">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        '<meta name="referrer" content="no-referrer">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body>"
    )
    summary = (
        f"<header><h1>{escape(title)}</h1><p>{len(cells)} renderings, the worst first; {control} would show the "
        f"control content.{left_out}</p><p>Pictures are not loaded, and links lead nowhere. Nothing of this was "
        "stored, sent or counted.</p></header>"
    )
    return f"{head}{summary}<main>{''.join(map(_card, shown))}</main></body></html>\n"


def _card(cell: Cell) -> str:
    variant, person = cell.variant, cell.person
    kind, tag = ("copy", "our copy") if cell.shown else ("control", "control")
    state = "" if variant.state == "approved" else f" ({variant.state})"
    top = (
        f'<article class="{kind}"><div><span class="tag">{tag}</span><h2>{escape(variant.name + state)}</h2>'
        f'<p class="who" style="margin:0">{escape(person.name)}</p>'
    )
    notes = "".join(f"<li>{escape(note)}</li>" for note in notes_of(cell))
    listed = f"<ul>{notes}</ul>" if notes else ""
    if cell.shown is None:
        means = of_decision("control", cell.reason or "")
        why = escape(f"{cell.reason}: {means.means}. What to do: {means.do}")
        return f'{top}{listed}</div><div class="reason">{why}</div></article>'
    subject, preheader, body = cell.shown
    frame = f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">{body}'
    return (
        f'{top}<p class="subject">{escape(subject)} <span class="chars">{len(subject)} characters</span></p>'
        f'<p class="preheader">{escape(preheader)}</p>{listed}</div>'
        f'<iframe sandbox="" loading="lazy" title="{escape(f"{variant.name}, {person.name}")}" '
        f'srcdoc="{escape(frame)}"></iframe></article>'
    )


def notes_of(cell: Cell) -> Iterator[str]:
    """What somebody should know of one rendering, beside what it shows."""
    if cell.missing:
        yield f"without {', '.join(cell.missing)}"
    yield from cell.findings
