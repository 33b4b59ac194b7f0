"""YAML as people write it: read with the line of each entry, or all that is no YAML said; written as they would."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

# The parser in C is ten times as fast; what it reads is the same.
_Base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_DEPTH = 50
# Line ends to YAML, which would come back as others; between double quotes they are escaped.
_OTHER_BREAKS = re.compile("[\r\x85\u2028\u2029\ufeff]")


class BadYaml(ValueError):
    """No YAML that is taken here. `line` counts from 1; 0: not known."""

    def __init__(self, line: int, what: str) -> None:
        super().__init__(what)
        self.line, self.what = line, what


@dataclass(frozen=True, slots=True)
class Document:
    """One document of a file: what it holds, and where."""

    content: Any
    node: yaml.Node

    def line(self, path: Sequence[int | str] = ()) -> int:
        """The line of what stands at this path, or of the last of its steps that is there."""
        node, line = self.node, self.node.start_mark.line
        for step in path:
            found = _step(node, step)
            if found is None:
                continue  # a step that a model takes and a file does not, like the kind of a union
            node, line = found
        return int(line) + 1

    def inside(self, path: Sequence[int | str], line: int) -> int:
        """The file's line of a text's own line, which is the same only where the text is written as a block."""
        node: yaml.Node | None = self.node
        for step in path:
            found = _step(node, step) if node is not None else None
            node = found[0] if found else None
        is_block = isinstance(node, yaml.ScalarNode) and node.style in ("|", ">")
        return int(node.start_mark.line) + 1 + line if node is not None and is_block else self.line(path)


def documents(text: str, *, aliases: bool = False) -> list[Document]:
    """All documents of a file; empty ones are left out. Raises BadYaml.

    A key that stands twice is refused, since YAML takes the last one and half the variants could vanish by it. So are
    `aliases`, a few lines of which can stand for more than any memory holds, but in files of whoever runs the command.
    """
    try:
        _look_over(text, aliases=aliases)
        return list(_read(text))
    except BadYaml:
        raise
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        raise BadYaml(mark.line + 1 if mark else 0, f"is no YAML: {error.problem or error.context}") from None
    except yaml.YAMLError as error:
        raise BadYaml(0, f"is no YAML: {' '.join(str(error).split())}") from None
    except ValueError as error:  # a day or a number that there is not
        raise BadYaml(0, f"is no YAML: {error}") from None


def one_document(text: str, *, aliases: bool = False) -> Any:
    """What a file of one document holds; None: nothing. Raises BadYaml."""
    found = documents(text, aliases=aliases)
    if len(found) > 1:
        raise BadYaml(found[1].line(), "is no YAML that is read here: a second document begins")
    return found[0].content if found else None


def _look_over(text: str, *, aliases: bool) -> None:
    """Event by event, before anything is built: what reads nodes calls itself, and has no limit of its own."""
    depth = 0
    for event in yaml.parse(text, Loader=_Base):
        line = event.start_mark.line + 1 if event.start_mark else 0
        if isinstance(event, yaml.AliasEvent) and not aliases:
            raise BadYaml(line, "uses an alias (*); write it out")
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > _DEPTH:
            raise BadYaml(line, f"is nested more than {_DEPTH} deep")


def _read(text: str) -> Iterator[Document]:
    loader = _Base(text)
    try:
        while loader.check_node():
            node = loader.get_node()
            _refuse_twins(node)
            content = loader.construct_document(node)
            if content is not None:
                yield Document(content, node)
    finally:
        loader.dispose()


def _refuse_twins(root: yaml.Node) -> None:
    waiting, seen = [root], set[int]()
    while waiting:
        node = waiting.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, yaml.MappingNode):
            keys: set[str] = set()
            for key, value in node.value:
                if isinstance(key, yaml.ScalarNode):
                    if key.value in keys:
                        raise BadYaml(key.start_mark.line + 1, f"is no YAML: {key.value!r} stands twice")
                    keys.add(key.value)
                waiting += (key, value)
        elif isinstance(node, yaml.SequenceNode):
            waiting += node.value


def _step(node: yaml.Node, step: int | str) -> tuple[yaml.Node, int] | None:
    if isinstance(node, yaml.MappingNode):
        return next(
            ((value, key.start_mark.line) for key, value in node.value if getattr(key, "value", None) == str(step)),
            None,
        )
    if isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
        one = node.value[step]
        return one, one.start_mark.line
    return None


class _Dumper(yaml.SafeDumper):
    """Texts of several lines as people write them."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = '"' if _OTHER_BREAKS.search(text) else "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)


def written(content: object) -> str:
    """One document."""
    return yaml.dump(content, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)


def joined(contents: Iterator[object] | Sequence[object]) -> str:
    """Several documents, one after the other."""
    return "---\n".join(written(content) for content in contents)
