"""Which fields a text of copy prints without knowing that they came. Pure.

A field that is missing when it is printed turns the person's email into control content, so copy must give it a
fallback: `| default: '…'` first among its filters, or an `if` around it. This reads the parsed text once, following
what each branch knows; where it is not sure it says so, since a fallback that is not needed costs nothing.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import reduce

from liquid import BoundTemplate
from liquid.ast import BlockNode, ConditionalBlockNode, Node
from liquid.builtin.expressions import BooleanExpression, FilteredExpression, LoopExpression, Nil, Path
from liquid.builtin.expressions import logical as compare
from liquid.builtin.expressions.primitive import Blank, Empty
from liquid.builtin.output import OutputNode
from liquid.builtin.tags.assign_tag import AssignNode
from liquid.builtin.tags.capture_tag import CaptureNode
from liquid.builtin.tags.case_tag import CaseNode, MultiExpressionBlockNode
from liquid.builtin.tags.for_tag import ForNode
from liquid.builtin.tags.if_tag import IfNode
from liquid.builtin.tags.unless_tag import UnlessNode
from liquid.expression import Expression

Names = frozenset[str]

_NOTHING: Names = frozenset()
_ORDERED = (compare.LtExpression, compare.GtExpression, compare.LeExpression, compare.GeExpression)
_TEXT_MEMBERS = {"size", "first", "last"}  # what Liquid knows of a text


@dataclass(slots=True)
class FieldUse:
    """What a text asks of its fields. `unsure`: printed though perhaps missing, by name, with the offset of the first
    place; `members`: asked for a part of what is a plain text, like `person.first_name`; `all`: every field named."""

    unsure: dict[str, int] = field(default_factory=dict)
    members: dict[str, int] = field(default_factory=dict)
    all: set[str] = field(default_factory=set)


def read_fields(template: BoundTemplate, required: Iterable[str] = ()) -> FieldUse:
    """How the text uses fields; `required` ones are known to be there."""
    reader = _Reader()
    reader.read(template.nodes, frozenset(required))
    reader.use.all = set(template.analyze().globals)
    return reader.use


class _Reader:
    """Each method takes the names that are surely there, and returns those that are afterwards."""

    def __init__(self) -> None:
        self.use = FieldUse()

    def read(self, nodes: Iterable[Node], known: Names) -> Names:
        for node in nodes:
            known = self._read_node(node, known)
        return known

    def _read_node(self, node: Node, known: Names) -> Names:
        match node:
            case OutputNode():
                self._print(node.expression, known)
            case AssignNode():
                self._print(node.expression, known)
                return known | {str(node.name)}
            case CaptureNode():
                return self.read(node.block.nodes, known) | {str(node.name)}
            case IfNode() | UnlessNode():
                return self._read_if(node, known)
            case CaseNode():
                self._read_case(node, known)
            case ForNode():
                self._read_for(node, known)
            case BlockNode():
                return self.read(node.nodes, known)
        return known

    def _read_if(self, node: IfNode | UnlessNode, known: Names) -> Names:
        yes, no = self._learn(node.condition)
        if isinstance(node, UnlessNode):
            yes, no = no, yes
        ends = [self.read(node.consequence.nodes, known | yes)]
        known |= no
        for branch in node.alternatives:
            if isinstance(branch, ConditionalBlockNode):
                yes, no = self._learn(branch.expression)
                ends.append(self.read(branch.block.nodes, known | yes))
                known |= no
        ends.append(self.read(node.default.nodes, known) if node.default else known)
        return reduce(frozenset.intersection, ends)

    def _read_case(self, node: CaseNode, known: Names) -> None:
        asked = _name(node.expression)
        for block in node.blocks:
            if isinstance(block, MultiExpressionBlockNode):
                values = [value for any_of in block.expressions() for value in any_of.children()]
                sure = asked is not None and not any(isinstance(value, Nil | Blank | Empty | Path) for value in values)
                self.read(block.block.nodes, known | {asked} if sure and asked else known)
            elif isinstance(block, BlockNode):
                self.read(block.nodes, known)

    def _read_for(self, node: ForNode, known: Names) -> None:
        loop = node.expression
        if isinstance(loop, LoopExpression):
            if not isinstance(loop.iterable, Path):  # going through a field that is missing is going through nothing
                self._demand(loop.iterable, known)
            for part in (loop.limit, loop.offset, loop.cols):
                if part is not None:
                    self._demand(part, known)
            self._note_members(loop.iterable)
            self.read(node.block.nodes, known | {str(loop.identifier), "forloop"})
        if node.default is not None:
            self.read(node.default.nodes, known)

    def _print(self, expression: Expression, known: Names) -> None:
        """Output and `assign`: what is missing here is an error, unless `default` comes first."""
        if not isinstance(expression, FilteredExpression):
            self._demand(expression, known)
            return
        filters = expression.filters or []
        if filters and filters[0].name == "default":
            self._note_members(expression.left)
        else:
            self._demand(expression.left, known)
        for applied in filters:
            for argument in applied.children():
                self._demand(argument, known)

    def _demand(self, expression: Expression, known: Names) -> None:
        for path in _paths(expression):
            name = str(path.path[0])
            if name not in known:
                self.use.unsure.setdefault(name, path.token.start_index)
        self._note_members(expression)

    def _note_members(self, expression: Expression) -> None:
        for path in _paths(expression):
            if len(path.path) > 1 and path.path[0] != "forloop" and path.path[1] not in _TEXT_MEMBERS:
                self.use.members.setdefault(str(path), path.token.start_index)

    def _learn(self, condition: Expression) -> tuple[Names, Names]:
        """The names that are surely there when this holds, and when it does not."""
        self._note_members(condition)
        return _learn(condition)


def _learn(condition: Expression) -> tuple[Names, Names]:
    match condition:
        case BooleanExpression():
            return _learn(condition.expression)
        case Path():
            return _only(condition), _NOTHING
        case compare.LogicalNotExpression():
            yes, no = _learn(condition.right)
            return no, yes
        case compare.LogicalAndExpression():
            (left_yes, left_no), (right_yes, right_no) = _learn(condition.left), _learn(condition.right)
            return left_yes | right_yes, left_no & right_no
        case compare.LogicalOrExpression():
            (left_yes, left_no), (right_yes, right_no) = _learn(condition.left), _learn(condition.right)
            return left_yes & right_yes, left_no | right_no
        case compare.EqExpression():
            return _learn_equal(condition.left, condition.right)
        case compare.NeExpression():
            yes, no = _learn_equal(condition.left, condition.right)
            return no, yes
        case compare.ContainsExpression():
            return _only(condition.left), _NOTHING
        case _ if isinstance(condition, _ORDERED):
            return _learn_ordered(condition.left, condition.right)
        case _:
            return _NOTHING, _NOTHING


def _learn_equal(left: Expression, right: Expression) -> tuple[Names, Names]:
    names, other = (_only(left), right) if isinstance(left, Path) else (_only(right), left)
    match other:
        case Nil() | Blank():
            return _NOTHING, names
        case Empty() | Path():
            return _NOTHING, _NOTHING
        case _:
            return names, _NOTHING


def _learn_ordered(left: Expression, right: Expression) -> tuple[Names, Names]:
    """What is missing is neither more nor less than a number, but two that are missing are equal."""
    if isinstance(left, Path) and isinstance(right, Path):
        return _NOTHING, _NOTHING
    return _only(left) | _only(right), _NOTHING


def _only(expression: Expression) -> Names:
    name = _name(expression)
    return _NOTHING if name is None else frozenset({name})


def _name(expression: Expression) -> str | None:
    """The field or variable that an expression names whole."""
    if isinstance(expression, Path) and len(expression.path) == 1 and isinstance(expression.path[0], str):
        return expression.path[0]
    return None


def _paths(expression: Expression) -> Iterator[Path]:
    if isinstance(expression, Path):
        yield expression
    for child in expression.children():
        yield from _paths(child)
