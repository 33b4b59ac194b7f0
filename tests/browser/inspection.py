"""What a page must have that axe does not ask for: one heading that its title names, names of all controls as assistive
technology hears them, and a focus that is seen."""

from typing import Any, Final

from playwright.async_api import CDPSession, Page

CONTROLS: Final = {
    "button", "link", "textbox", "searchbox", "combobox", "listbox", "checkbox", "radio", "spinbutton", "slider",
    "switch", "tab", "menuitem", "DisclosureTriangle", "Iframe", "Date", "DateTime",
}  # fmt: skip
"""Roles of Chromium's accessibility tree that people use or enter."""

_HEAD: Final = """() => ({
    title: document.title,
    headings: [...document.querySelectorAll("h1")].filter((one) => one.checkVisibility()).map((one) => one.innerText),
})"""

# Whatever can have the focus takes it, and something of what is drawn there must change: its own edge, or that of what
# stands for it (a hidden radio's label). The focus is given back.
_UNSEEN: Final = """() => {
    const selector = "a[href], button, input, select, textarea, summary, [tabindex='0']";
    const drawn = (one) => {
        const said = getComputedStyle(one), box = one.getBoundingClientRect();
        if (box.width < 2 || box.height < 2 || said.opacity === "0") return "";
        const outline = said.outlineStyle === "none" ? "" : said.outlineStyle + said.outlineWidth + said.outlineColor;
        return [outline, said.boxShadow, said.borderColor].join();
    };
    const around = (one) => [one, one.parentElement, one.nextElementSibling, ...(one.labels ?? [])]
        .filter(Boolean).map(drawn).join("|");
    const before = document.activeElement;
    const unseen = [];
    for (const one of document.querySelectorAll(selector)) {
        if (one.disabled || one.tabIndex < 0 || !one.checkVisibility({ checkVisibilityCSS: true })) continue;
        one.blur();
        const rest = around(one);
        one.focus({ focusVisible: true, preventScroll: true });
        if (document.activeElement === one && around(one) === rest) unseen.push(one.outerHTML.slice(0, 120));
        one.blur();
    }
    before?.focus?.({ preventScroll: true });
    return unseen;
}"""


async def outline_faults(page: Page) -> list[str]:
    """What is wrong with its heading and title."""
    said = await page.evaluate(_HEAD)
    title, headings = said["title"], said["headings"]
    if len(headings) != 1:
        return [f"{len(headings)} first headings: {headings}"]
    named = title.split(" · ")[0].casefold() == headings[0].strip().casefold()
    return [] if named else [f"the title {title!r} does not name {headings[0]!r}"]


async def nameless(page: Page, devtools: CDPSession) -> list[str]:
    """Controls that are read out without a name."""
    tree: dict[str, Any] = await devtools.send("Accessibility.getFullAXTree")
    return [
        f"a {role} without a name: {await _html(devtools, node)}"
        for node in tree["nodes"]
        if not node.get("ignored")
        and (role := node["role"]["value"]) in CONTROLS
        and not str(node.get("name", {}).get("value", "")).strip()
    ]


async def _html(devtools: CDPSession, node: dict[str, Any]) -> str:
    found = await devtools.send("DOM.resolveNode", {"backendNodeId": node["backendDOMNodeId"]})
    asked = {"objectId": found["object"]["objectId"], "functionDeclaration": "function () { return this.outerHTML }"}
    return str((await devtools.send("Runtime.callFunctionOn", asked))["result"].get("value"))[:160]


async def unseen_focus(page: Page) -> list[str]:
    """What can be reached by key, and does not show when it is. Frames are left out: the focus is inside them."""
    await page.keyboard.press("Tab")  # the keyboard is what is used: the focus is shown
    return [f"its focus cannot be seen: {html}" for html in await page.evaluate(_UNSEEN)]
