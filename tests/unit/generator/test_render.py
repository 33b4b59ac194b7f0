"""The renderer's memory: bounded, and a variant that cannot be rendered is told apart once."""

import pytest

from services.generator.render import Renderer
from shared.rendering.copy import RenderError
from tests.unit.generator.given import COPIES, source


def test_a_renderer_forgets_the_copy_that_was_not_used_lately_and_still_renders_it() -> None:
    renderer = Renderer(max_compiled=2)
    copies = [source(copy_id, body=f"<p>{number}</p>") for number, copy_id in enumerate(COPIES)]

    bodies = [renderer.render(copy, {}).body for copy in (*copies, *copies)]

    assert bodies == ["<p>0</p>", "<p>1</p>", "<p>2</p>", "<p>3</p>"] * 2


def test_broken_copy_has_the_same_reason_every_time() -> None:
    renderer = Renderer()

    for _ in range(2):
        with pytest.raises(RenderError, match="no such filter: safe"):
            renderer.render(source(body="{{ name | safe }}"), {"name": "x"})
