"""Which fields links begin with, so that made-up people have links there. Pure.

It follows what is printed behind a mark of `places`, through branches, variables and filters.
"""

from collections.abc import Iterable

from liquid import BoundTemplate
from liquid.ast import BlockNode, ConditionalBlockNode, Node
from liquid.builtin.content import ContentNode
from liquid.builtin.expressions import FilteredExpression, LoopExpression, Path
from liquid.builtin.output import OutputNode
from liquid.builtin.tags.assign_tag import AssignNode
from liquid.builtin.tags.capture_tag import CaptureNode
from liquid.builtin.tags.case_tag import CaseNode, MultiExpressionBlockNode
from liquid.builtin.tags.for_tag import ForNode
from liquid.builtin.tags.if_tag import IfNode
from liquid.builtin.tags.unless_tag import UnlessNode
from liquid.expression import Expression

from shared.rendering.places import link_begins_behind

Names = frozenset[str]


def link_fields(body: BoundTemplate) -> Names:
    """The fields that some link of a compiled body begins with."""
    reader = _Reader()
    reader.read(body.nodes, begins=False)
    return reader.found & {str(name) for name in body.analyze().globals}


class _Reader:
    """`begins`: whether what comes next may be the first of a link; the reading methods return it for what follows."""

    def __init__(self) -> None:
        self.found: Names = frozenset()
        self._leading: dict[str, Names] = {}  # what the value of a variable begins with

    def read(self, nodes: Iterable[Node], *, begins: bool) -> bool:
        for node in nodes:
            begins = self._read_node(node, begins)
        return begins

    def _read_node(self, node: Node, begins: bool) -> bool:
        match node:
            case ContentNode():
                return link_begins_behind(node.text, begins)
            case OutputNode():
                if begins:
                    self.found |= self._first(node.expression)
                return False
            case AssignNode():
                self._learn(str(node.name), self._first(node.expression))
            case CaptureNode():
                before, self.found = self.found, frozenset()
                self.read(node.block.nodes, begins=True)
                self._learn(str(node.name), self.found)
                self.found = before
            case IfNode() | UnlessNode():
                return self._read_branches([node.consequence, *node.alternatives], node.default, begins)
            case CaseNode():
                whens = [one for one in node.blocks if isinstance(one, MultiExpressionBlockNode)]
                other = next((one for one in node.blocks if isinstance(one, BlockNode)), None)
                return self._read_branches(whens, other, begins)
            case ForNode():
                if isinstance(node.expression, LoopExpression):
                    self._learn(str(node.expression.identifier), self._first(node.expression.iterable))
                return self._read_branches([node.block], node.default, begins)
        return begins

    def _read_branches(self, some: Iterable[Node], other: BlockNode | None, begins: bool) -> bool:
        ends = [begins] if other is None else []
        for branch in (*some, other):
            block = branch.block if isinstance(branch, ConditionalBlockNode | MultiExpressionBlockNode) else branch
            if isinstance(block, BlockNode):
                ends.append(self.read(block.nodes, begins=begins))
        return any(ends)

    def _learn(self, variable: str, names: Names) -> None:
        self._leading[variable] = self._leading.get(variable, frozenset()) | names

    def _first(self, expression: Expression) -> Names:
        """The fields that this value may begin with."""
        if isinstance(expression, Path):
            name = str(expression.path[0])
            return frozenset({name}) | self._leading.get(name, frozenset())
        if not isinstance(expression, FilteredExpression):
            return frozenset()
        names = self._first(expression.left)
        for applied in expression.filters or []:
            given = frozenset[str]().union(*map(self._first, applied.children()))
            if applied.name == "prepend":
                names = given
            elif applied.name in ("default", "replace", "replace_first"):
                names |= given
        return names
