"""The renderer of this process: keeps the compiled form of the copy used last."""

from collections import OrderedDict
from uuid import UUID

from shared import logs
from shared.rendering.copy import CompiledCopy, RenderError, compile_copy
from shared.schemas.copy import VariantSource, Vars
from shared.schemas.jobs import Fields

log = logs.get(__name__)


class Renderer:
    """Renders, and keeps the compiled form of the versions used last."""

    def __init__(self, max_compiled: int = 2_000) -> None:
        self._max_compiled = max_compiled
        self._compiled: OrderedDict[tuple[UUID, int], CompiledCopy | RenderError] = OrderedDict()

    def render(self, source: VariantSource, fields: Fields) -> Vars:
        """One person's copy. Raises RenderError."""
        key = (source.copy_id, source.version)
        compiled = self._compiled.get(key)
        if compiled is None:
            compiled = self._compiled[key] = _compile_or_say_why(source)
            if len(self._compiled) > self._max_compiled:
                self._compiled.popitem(last=False)
        else:
            self._compiled.move_to_end(key)
        if isinstance(compiled, RenderError):
            raise RenderError(compiled.reason, str(compiled))
        return compiled.render(fields)


def _compile_or_say_why(source: VariantSource) -> CompiledCopy | RenderError:
    try:
        return compile_copy(source)
    except RenderError as error:
        refusal = error
    except Exception as error:  # noqa: BLE001  # one variant's text must not cost the template's other people their mail
        refusal = RenderError("copy_broken", type(error).__name__)
    log.warning("copy.refused", copy_id=source.copy_id, version=source.version, reason=refusal.reason, why=str(refusal))
    return refusal
