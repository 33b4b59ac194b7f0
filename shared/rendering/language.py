"""The language of copy: Liquid, cut down to what copy needs. Pure.

No includes, no clock, no way to switch escaping off, and limits on loops, output and memory, so that neither a
careless nor a hostile author can stop the process; a field that did not come may be asked about, never printed.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from functools import wraps
from typing import Any, NoReturn, TextIO

from liquid import BoundTemplate, Environment, RenderContext
from liquid.ast import BlockNode, Node
from liquid.builtin.content import ContentNode
from liquid.builtin.expressions.primitive import Blank
from liquid.exceptions import (
    FilterArgumentError,
    LiquidError,
    OutputStreamLimitError,
    ResourceLimitError,
    UndefinedError,
)
from liquid.expression import Expression
from liquid.output import LimitedStringIO
from liquid.token import TOKEN_CONTENT, TOKEN_EXPRESSION, TOKEN_ILLEGAL, TOKEN_OUTPUT, TOKEN_TAG
from liquid.utils import ReadOnlyChainMap

_SOURCE_CHARS = 200_000
_TAGS = "if unless case for break continue assign capture comment #"
_FILTERS = (
    "abs append at_least at_most capitalize ceil default divided_by downcase escape escape_once first floor join last "
    "lstrip minus modulo newline_to_br plus prepend remove remove_first replace replace_first round rstrip size slice "
    "split squish strip strip_newlines times truncate truncatewords upcase url_encode"
)
_FILTER_CHARS = 100_000
_LARGEST_NUMBER = 10**15
_STEPS = 2_000  # of blocks, for one text: 1 to 4 ms
_SOURCE_TAGS = 1_000  # parsing takes some 30 µs a tag
_RAW_TAGS = 50  # the end of each is looked for through all of the text
_TAG_CHARS = 1_000
_TAG_FILTERS = 20
_OUTPUT_CHARS = 200_000  # more than twice what fits into a body
_LITERALS = re.compile(r"\"[^\"]*\"|'[^']*'")

_RAW = re.compile(r"\{%-?\s*(?:raw|doc)\b")
_LONG_TAG = re.compile(rf"\{{[{{%][^{{}}]{{{_TAG_CHARS + 1}}}")


class NotInTheLanguage(Exception):
    """The text is not copy that can be served; says why, to its author."""


class _Missing:
    """A field that did not come: nil where it is asked about (`if`, `==`, `default`), an error where it is printed.

    Not one of the engine's own Undefined types, because those are never equal to `blank`.
    """

    __slots__ = ("_name",)
    force_liquid_default = True

    def __init__(self, name: str, **_: object) -> None:
        self._name = name

    def __liquid__(self) -> None:
        return None

    def _refuse(self, *_: object) -> NoReturn:
        raise UndefinedError(f"{self._name} is missing", token=None)

    __str__ = __len__ = __iter__ = __int__ = __float__ = __getitem__ = _refuse


class _NilOrBlank(Blank):
    """`blank` as Shopify means it: nil is blank too."""

    __slots__ = ()
    __hash__ = None  # type: ignore[assignment]  # compared, never a key

    def __eq__(self, other: object) -> bool:
        return other is None or super().__eq__(other)


class _Context(RenderContext):
    """Without the built-in `now` and `today`: what a person got must not depend on when it was rendered."""

    __slots__ = ("steps",)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.scope = ReadOnlyChainMap(self.locals, self.globals)
        self.steps = 0


class _Block(BlockNode):
    """What stands inside a tag. The engine limits each loop, but neither many loops nor what is inside them."""

    __slots__ = ()

    def render_to_output(self, context: RenderContext, buffer: TextIO) -> int:
        context.steps += 1 + len(self.nodes)  # type: ignore[attr-defined]  # always a _Context
        if context.steps > _STEPS:  # type: ignore[attr-defined]  # the same
            raise ResourceLimitError("too many steps", token=None)
        return super().render_to_output(context, buffer)


class _Output(LimitedStringIO):
    """Counts characters; the engine's own buffer encodes every piece once more to count its bytes."""

    def __init__(self, limit: int) -> None:
        super().__init__(limit=limit)
        self._parts: list[str] = []

    def write(self, text: str) -> int:
        self.size += len(text)
        if self.size > self.limit:
            raise OutputStreamLimitError("output limit reached", token=None)
        self._parts.append(text)
        return len(text)

    def getvalue(self) -> str:
        return "".join(self._parts)


class _Template(BoundTemplate):
    context_class = _Context

    def render(self, values: Mapping[str, object]) -> str:
        """Without what the engine does for partial templates and lax modes, a third of the time (three texts with
        ten values: 85 → 59 µs). Errors leave as they are raised."""
        context = _Context(self, globals=values)
        output = _Output(_OUTPUT_CHARS)
        for node in self.nodes:
            node.render_to_output(context, output)
        return output.getvalue()


class _Environment(Environment):
    template_class = _Template
    loop_iteration_limit = 1_000
    output_stream_limit = _OUTPUT_CHARS
    local_namespace_limit = 100_000
    context_depth_limit = 10
    block_nesting_limit = 10

    def __init__(self, *, autoescape: bool) -> None:
        super().__init__(autoescape=autoescape, undefined=_Missing)  # type: ignore[arg-type]  # only called, never a base

    def setup_tags_and_filters(self, *, extra: bool = False) -> None:
        super().setup_tags_and_filters(extra=extra)
        tags = {*_TAGS.split(), TOKEN_CONTENT, TOKEN_OUTPUT, TOKEN_ILLEGAL}
        self.tags = {name: tag for name, tag in self.tags.items() if name in tags}
        bounded = {
            "replace": _bounded_replace,
            "join": _bounded_join(self.filters["join"]),
            "times": _bounded_times(self.filters["times"]),
        }
        filters = {name: apply for name, apply in (self.filters | bounded).items() if name in _FILTERS.split()}
        self.filters = {name: apply if name == "default" else _asking(apply) for name, apply in filters.items()}


def _asking(apply: Callable[..., Any]) -> Callable[..., Any]:
    """The same filter, but a missing field is an error; arithmetic would take it for 0."""

    @wraps(apply)  # also copies the marks by which the engine knows what to pass
    def asking(*values: Any, **named: Any) -> Any:
        for value in values:
            if isinstance(value, _Missing):
                str(value)
        return apply(*values, **named)

    return asking


def _bounded_replace(value: object, old: object, new: object = "") -> str:
    """`replace` that cannot be made to fill the memory: 100 KB in 100 KB would be 10 GB."""
    text, found, put = (one if isinstance(one, str) else str(one) for one in (value, old, new))
    if len(text) + text.count(found) * len(put) > _FILTER_CHARS:
        raise FilterArgumentError("replace: the result is too long", token=None)
    return text.replace(found, put)


def _bounded_join(join: Any) -> Any:
    """The same for `join`, whose left side may be a range of any size."""

    def bounded(left: Any, separator: object = " ", **context: Any) -> Any:
        if not isinstance(left, list | tuple):
            raise FilterArgumentError("join: expected an array", token=None)
        if sum(len(str(item)) for item in left) + len(left) * len(str(separator)) > _FILTER_CHARS:
            raise FilterArgumentError("join: the result is too long", token=None)
        return join(left, separator, **context)

    bounded.with_environment = True  # type: ignore[attr-defined]  # how the engine knows what to pass
    return bounded


def _bounded_times(times: Any) -> Any:
    """The same for `times`: squaring a number again and again makes one of millions of digits."""

    @wraps(times)
    def bounded(left: Any, right: Any) -> Any:
        result = times(left, right)
        if not abs(result) <= _LARGEST_NUMBER:
            raise FilterArgumentError("times: the result is too large", token=None)
        return result

    return bounded


_BODY = _Environment(autoescape=True)
_HEADER = _Environment(autoescape=False)


def parse_body(text: str) -> BoundTemplate:
    """A body whose values will be escaped. Raises NotInTheLanguage."""
    return _parse(_BODY, text)


def parse_header(text: str) -> BoundTemplate:
    """A subject or preheader: plain text, nothing is escaped. Raises NotInTheLanguage."""
    return _parse(_HEADER, text)


def pieces(text: str) -> Iterator[str | None]:
    """A body cut at its output tags, each given as None; other tags left out."""
    for token in _BODY.tokenizer()(text):
        if token.kind == TOKEN_CONTENT:
            yield token.value
        elif token.kind == TOKEN_OUTPUT:
            yield None


def surely_shown(template: BoundTemplate) -> str:
    """What of a text is shown whatever the values are: all that stands outside of tags."""
    return "".join(node.text for node in template.nodes if isinstance(node, ContentNode))


def shown_to_some(template: BoundTemplate) -> str:
    """The rest: what stands inside of tags, and what leads to one in the middle of an element."""
    context = _Context(template)

    def texts(node: Node) -> Iterator[str]:
        for inner in node.children(context, include_partials=False):
            if isinstance(inner, ContentNode):
                yield inner.text
            else:
                yield from texts(inner)

    parts: list[str] = []
    for node in template.nodes:
        if isinstance(node, ContentNode):
            parts.append(node.text[at:] if (at := node.text.rfind("<")) > node.text.rfind(">") else "")
        else:
            parts += texts(node)
    return " ".join(parts)


def too_much(text: str) -> str | None:
    """What would make reading it slow, seen at one look; None: nothing. Asked before anything else, because neither the
    parser nor most checks have limits of their own."""
    if len(text) > _SOURCE_CHARS:
        return f"longer than {_SOURCE_CHARS:,} characters"
    if text.count("{%") + text.count("{{") > _SOURCE_TAGS:
        return f"more than {_SOURCE_TAGS:,} tags"
    if len(_RAW.findall(text)) > _RAW_TAGS:
        return f"more than {_RAW_TAGS} tags raw or doc"
    if _LONG_TAG.search(text):
        return f"a tag of more than {_TAG_CHARS:,} characters"
    return None


def _parse(environment: Environment, text: str) -> BoundTemplate:
    try:
        if fault := too_much(text) or _too_many_filters(environment, text):
            raise NotInTheLanguage(fault)
        template = environment.from_string(text)
        if unknown := set(template.analyze().filters) - environment.filters.keys():
            raise NotInTheLanguage(f"no such filter: {', '.join(sorted(unknown))}")
        if _has_range_outside_for(environment, text):
            raise NotInTheLanguage("a range may only stand in a `for` tag")
        context = _Context(template)
        for node in template.nodes:
            _make_ours(node, context)
    except LiquidError as error:
        raise NotInTheLanguage(error.message or type(error).__name__) from error
    except RecursionError as error:
        raise NotInTheLanguage("an expression is nested too deeply") from error
    return template


def _too_many_filters(environment: Environment, text: str) -> str | None:
    for token in environment.tokenizer()(text):
        if token.kind == TOKEN_EXPRESSION and _LITERALS.sub("", token.value).count("|") > _TAG_FILTERS:
            return f"a tag with more than {_TAG_FILTERS} filters"
    return None


def _has_range_outside_for(environment: Environment, text: str) -> bool:
    """`(1..1000000000) contains 'x'` would count for minutes; only loops have a limit."""
    tag = ""
    for token in environment.tokenizer()(text):
        if token.kind in (TOKEN_OUTPUT, TOKEN_TAG):
            tag = token.value if token.kind == TOKEN_TAG else ""
        elif token.kind == TOKEN_EXPRESSION and tag != "for" and ".." in _LITERALS.sub("", token.value):
            return True
    return False


def _make_ours(part: Node | Expression, context: RenderContext) -> None:
    """Let nil be blank, and blocks be counted, wherever they stand."""
    if isinstance(part, Blank):
        part.__class__ = _NilOrBlank
    if type(part) is BlockNode:
        part.__class__ = _Block
    if isinstance(part, Node):
        inner: list[Node | Expression] = [*part.expressions(), *part.children(context, include_partials=False)]
    else:
        inner = [*part.children()]
    for one in inner:
        _make_ours(one, context)
