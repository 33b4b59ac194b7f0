"""What the properties of many rows say, column by column.

Rows of emails say much and little that varies: arrow reads them all at once (`_at_once`), without an object for each.
It is less strict than orjson, which the row-by-row reader has, and knows one kind for each name; where it could judge
otherwise, or fails, orjson reads them here too, row by row. Other rows say what their shops like: orjson reads those.
"""

import re
from dataclasses import dataclass, fields, replace
from typing import Any, Final

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pa_json
from numpy.typing import NDArray

from services.ingest.reading.values import NOTHING

Mask = NDArray[np.bool_]

_STRING, _FLAG, _WHOLE, _NUMBER = pa.string(), pa.bool_(), pa.int64(), pa.float64()
_NOTHING: Final = pa.array(sorted(NOTHING), _STRING)
_LONGEST_NOTHING: Final = max(map(len, NOTHING))
# What orders say, in many spellings: left to the row-by-row reader wherever one of them occurs.
_OF_ORDERS: Final = (
    "$currency_code", "$value_currency", "currency", "Currency", "OrderId", "order_id", "Order ID",
)  # fmt: skip
_NAMES: Final = {
    "message_id": ("$message", _STRING),
    "flow_id": ("$flow", _STRING),
    "cohort": ("$_cohort$message_send_cohort", _STRING),
    "machine_open": ("machine_open", _FLAG),
    "bot_click": ("Bot Click", _FLAG),
    "url": ("URL", _STRING),
    "value": ("$value", _NUMBER),
}
_OF_INTERNAL: Final = {"transmission_id": ("Transmission ID", _STRING), "handoff_at": ("Handoff Time", _WHOLE)}
_AT_ONCE = pa_json.ParseOptions(
    explicit_schema=pa.schema(
        [
            *_NAMES.values(),
            ("$internal", pa.struct([*_OF_INTERNAL.values()])),
            *((name, _STRING) for name in _OF_ORDERS),
        ]
    ),
    newlines_in_values=False,
    unexpected_field_behavior="ignore",
)
# Arrow takes these for numbers, and does not mind how large one is that it does not want. What is larger than a double
# has hundreds of digits or three in its exponent. Depth costs two bytes each: only long texts go deeper than orjson.
_NO_NUMBER: Final = re.compile(rb"[:\[,-]\s*(?:NaN|Inf(?:inity)?)\s*[,\]}]")
_MANY_DIGITS = 64
_DEEP_BYTES, _DEEP = 2_000, 1_000
_FEW = 50
"""One row in so many that is of no email is not worth a second reading: it is in doubt."""
_EMPTY: dict[str, Any] = {}


@dataclass(frozen=True, slots=True)
class Properties:
    """Of each row; null: it does not say. `doubt`: where it says something unusual."""

    message_id: Any
    flow_id: Any
    cohort: Any
    machine_open: Any
    bot_click: Any
    url: Any
    value: Any
    transmission_id: Any
    handoff_at: Any
    own_id: Any
    doubt: Mask


def no_properties(count: int) -> Properties:
    """Of rows that have none."""
    kinds = {name: kind for name, (_, kind) in (_NAMES | _OF_INTERNAL).items()}
    found = {name: pa.nulls(count, kind) for name, kind in kinds.items()}
    return Properties(**found, own_id=pa.nulls(count, _STRING), doubt=np.zeros(count, np.bool_))


def read_properties(texts: Any, of_emails: Mask) -> Properties:
    """Of texts that should be JSON objects, or empty. Which rows are of emails does not decide what they say: only of
    others `own_id` is told."""
    others = len(texts) - int(of_emails.sum())
    if not others:
        return _at_once(texts) or _by_row(texts, of_emails)
    if others == len(texts):
        return _by_row(texts, of_emails)
    if others * _FEW < len(texts):
        said = read_properties(pc.if_else(pa.array(of_emails), texts, b"{}"), np.ones(len(texts), np.bool_))
        return replace(said, doubt=said.doubt | ~of_emails)
    rows = [np.flatnonzero(of_emails), np.flatnonzero(~of_emails)]
    parts = [read_properties(texts.take(pa.array(one)), of_emails[one]) for one in rows]
    order = np.argsort(np.concatenate(rows))
    back = pa.array(order)
    columns = {
        field.name: pa.concat_arrays([getattr(part, field.name) for part in parts]).take(back)
        for field in fields(Properties)
        if field.name != "doubt"
    }
    return Properties(**columns, doubt=np.concatenate([part.doubt for part in parts])[order])


def _at_once(texts: Any) -> Properties | None:
    """None where it is not certain that orjson would say the same of each."""
    # Each line begins with a brace, so it is one object at least or none of this is; as many as lines are one each.
    if not (_all(pc.starts_with(texts, "{")) and _all(pc.ends_with(texts, "}"))):
        return None
    data = pc.binary_join_element_wise(texts, b"\n", b"").buffers()[2]
    if data is None or _may_differ(texts, memoryview(data)):
        return None
    try:
        options = pa_json.ReadOptions(use_threads=False, block_size=data.size + 1)
        table = pa_json.read_json(pa.BufferReader(data), options, _AT_ONCE)
    except pa.ArrowInvalid:
        return None
    if table.num_rows != len(texts):
        return None
    columns = {name: table.column(name).combine_chunks() for name in table.schema.names}
    doubt = np.zeros(len(texts), np.bool_)
    for name in _OF_ORDERS:
        if columns[name].null_count < len(texts):
            doubt |= columns[name].is_valid().to_numpy(zero_copy_only=False)
    said = {field: _texts_of(columns[name]) for field, (name, _) in _NAMES.items()}
    internal = {
        field: _texts_of(pc.struct_field(columns["$internal"], name)) for field, (name, _) in _OF_INTERNAL.items()
    }
    return Properties(**said, **internal, own_id=pa.nulls(len(texts), _STRING), doubt=doubt)


def _may_differ(texts: Any, data: Any) -> bool:
    view = np.frombuffer(data, np.uint8)
    if any(_says(view, word) for word in (b"NaN", b"Inf")) and _NO_NUMBER.search(data):
        return True
    if _has_huge(data, view):
        return True
    long = pc.filter(texts, pc.greater(pc.binary_length(texts), _DEEP_BYTES)).to_pylist()
    return any(text.count(b"[") + text.count(b"{") > _DEEP for text in long)


def _says(view: NDArray[np.uint8], word: bytes) -> bool:
    """As `in`, which is slow for short words: their capitals are few. The last line ends behind them."""
    at = np.flatnonzero(view[:-2] == word[0])
    return bool(((view[at + 1] == word[1]) & (view[at + 2] == word[2])).any())


def _has_huge(data: Any, view: NDArray[np.uint8]) -> bool:
    """Whether a number may be larger than any double."""
    digit = view - np.uint8(ord("0")) < 10
    at = np.arange(0, len(view) - _MANY_DIGITS, _MANY_DIGITS)
    for _ in range(_MANY_DIGITS):
        at = at[digit[at]] + 1
        if not len(at):
            break
    else:
        return True
    at = np.flatnonzero(digit[:-4] & ((view[1:-3] | 0x20) == ord("e")))
    at = at[(digit[at + 2] | (view[at + 2] == ord("+"))) & digit[at + 3] & digit[at + 4]]
    heads = (bytes(data[max(0, end - 4 * _MANY_DIGITS) : end + 1]).rstrip(b"0123456789.")[-1:] for end in at.tolist())
    return any(head in b":[,- \t\r" for head in heads)


def _all(found: Any) -> bool:
    return bool(pc.all(found).as_py())


def said_in(texts: Any) -> Any:
    """Null where a text says nothing. They are compared with words only where one is as short as those."""
    if texts.null_count == len(texts):
        return texts
    ends = np.frombuffer(texts.buffers()[1], np.int32)[texts.offset : texts.offset + len(texts) + 1]
    lengths = np.diff(ends)
    short = lengths <= _LONGEST_NOTHING
    if not short.any():
        return texts
    if (short & (lengths > 0)).any():
        return pc.if_else(pc.is_in(texts, value_set=_NOTHING), None, texts)
    return pc.if_else(pc.equal(texts, ""), None, texts)


def _texts_of(values: Any) -> Any:
    return said_in(values) if values.type == _STRING else values


def _by_row(texts: Any, of_emails: Mask) -> Properties:
    reader = _Objects(texts)
    own = [None if email else one for email, one in zip(of_emails.tolist(), reader.all("$event_id"), strict=True)]
    return Properties(
        **{field: reader.column(reader.all(name), kind) for field, (name, kind) in _NAMES.items()},
        **{field: reader.column(reader.internal(name), kind) for field, (name, kind) in _OF_INTERNAL.items()},
        own_id=reader.column(own, _STRING),
        doubt=reader.doubt,
    )


class _Objects:
    """Rows as orjson reads them. What is of another kind than it should be is in doubt, and says nothing."""

    def __init__(self, texts: Any) -> None:
        found = texts.to_pylist()
        try:
            objects = [orjson.loads(text) if text else _EMPTY for text in found]
        except orjson.JSONDecodeError:
            objects = [_loaded(text) for text in found]
        of_orders = frozenset(_OF_ORDERS)
        self.doubt: Mask = np.array(
            [type(one) is not dict or not of_orders.isdisjoint(one) for one in objects], np.bool_
        )
        self._objects = [one if type(one) is dict else _EMPTY for one in objects]
        self._internals = [one or _EMPTY for one in self._kept(self.all("$internal"), dict)]

    def all(self, name: str) -> list[Any]:
        return [one.get(name) for one in self._objects]

    def internal(self, name: str) -> list[Any]:
        return [one.get(name) for one in self._internals]

    def column(self, values: list[Any], kind: Any) -> Any:
        kinds = {_STRING: (str,), _FLAG: (bool,), _WHOLE: (int,), _NUMBER: (int, float)}[kind]
        kept = self._kept(values, *kinds)
        try:
            return _texts_of(pa.array(kept, kind, from_pandas=False))
        except (pa.ArrowInvalid, OverflowError):  # one of them is larger than any that is meant
            self.doubt |= True
            return pa.nulls(len(values), kind)

    def _kept(self, values: list[Any], *kinds: type) -> list[Any]:
        allowed = {type(None), *kinds}
        if set(map(type, values)) <= allowed:
            return values
        self.doubt |= np.array([type(one) not in allowed for one in values], np.bool_)
        return [one if type(one) in allowed else None for one in values]


def _loaded(text: bytes) -> Any:
    try:
        return orjson.loads(text) if text else _EMPTY
    except orjson.JSONDecodeError:
        return None
