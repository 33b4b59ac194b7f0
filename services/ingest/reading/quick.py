"""Many rows at once: the columns of a plain block (see `plain`) to rows for COPY (`copy_rows`).

Rows are taken whose values have the usual shapes, for which it is certain what `mapping` says of them; metrics and
flags are read by `values` itself, once for each distinct text. The others are in doubt, which is no judgement: the
row-by-row reader sees them.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv

from services.ingest.reading import copy_rows, values
from services.ingest.reading.mapping import Columns
from services.ingest.reading.properties import Mask, Properties, no_properties, read_properties, said_in
from services.ingest.reading.values import Rejected
from services.ingest.records import STAGED, Taken

pa.set_memory_pool(pa.system_memory_pool())  # arrow's own keeps what it has freed

_STRING, _TIME = pa.string(), pa.timestamp("us", "UTC")
_ZONED = r"^20[2-9]\d-\d\d-\d\d[ T]\d\d:\d\d:\d\d(\.\d{3}|\.\d{6})?(Z|[+-](0\d|1[0-4]):[0-5]\d)$"
_NAIVE = r"^20[2-9]\d-\d\d-\d\d[ T]\d\d:\d\d:\d\d(\.\d{3}|\.\d{6})?$"
_UNIX = r"^[1-9]\d{9}$"
_COHORT = r"^(?P<at>[1-9]\d{9}):"
_MOST_TEXTS = 1_000  # distinct metrics of one block that are read ahead
_UNUSUAL = ("internal", "currency", "order_id", "own_id")  # as columns of their own


class PlainReader:
    """Reads plain blocks of one file's rows."""

    def __init__(self, columns: Columns, delimiter: str) -> None:
        self._columns, self._at = columns, columns.at
        # Names may repeat, so columns go by number; the others are not even converted.
        self._wanted = sorted({index for field, index in self._at.items() if field != "internal"})
        self._read_options = {"column_names": [str(number) for number in range(columns.count)], "use_threads": False}
        self._properties = {str(self._at["properties"]): pa.binary()} if "properties" in self._at else {}
        self._parse = pa_csv.ParseOptions(delimiter=delimiter, newlines_in_values=False)
        self._convert = pa_csv.ConvertOptions(
            column_types={str(index): _STRING for index in self._wanted} | self._properties,
            include_columns=[str(index) for index in self._wanted],
            strings_can_be_null=False,
        )

    @classmethod
    def of(cls, columns: Columns, delimiter: str) -> "PlainReader | None":
        """None where the layout is not one of the usual."""
        unusual = "event_id" not in columns.at or any(field in columns.at for field in _UNUSUAL)
        return None if unusual else cls(columns, delimiter)

    def read(self, block: bytes, first_line: int) -> Taken | None:
        """The events of a plain block; None where it does not split into rows of these columns."""
        options = pa_csv.ReadOptions(block_size=len(block) + 1, **self._read_options)
        try:
            table = pa_csv.read_csv(pa.py_buffer(block), options, self._parse, self._convert)
        except pa.ArrowInvalid:
            return None
        return _Block(table.combine_chunks(), self._at, self._columns, first_line).take()


class _Block:
    """One block's rows by columns; `_doubt` are those that are not certain."""

    def __init__(self, table: pa.Table, at: Mapping[str, int], columns: Columns, first_line: int) -> None:
        self._count = table.num_rows
        self._texts = {field: _one(table, str(index)) for field, index in at.items() if field != "internal"}
        self._columns, self._first_line = columns, first_line
        self._doubt: Mask = np.zeros(self._count, np.bool_)

    def take(self) -> Taken:
        metric = self._by_text(self._texts["metric"], values.metric_of, _STRING)
        said = self._properties(_is_in(metric, values.OF_EMAILS))
        profile_id = self._id("profile_id", None)
        event_at = self._event_at()
        message_id = self._id("message_id", said.message_id)
        transmission_id = self._id("transmission_id", said.transmission_id)
        handoff_at = self._handoff_at(said, event_at, _is_in(metric, values.SENDING))
        made = self._bounce_ids(message_id, profile_id, handoff_at, event_at)
        without = pc.and_(pc.is_null(transmission_id), _is_in(metric, values.UNSENT))
        moments, days = copy_rows.moments_and_days(event_at)
        lines = np.arange(self._first_line, self._first_line + self._count, dtype=np.int32)
        return self._written(
            copy_rows.start(len(STAGED), (lines, moments, days)),
            *copy_rows.text(self._id("event_id", None)),
            *copy_rows.text(metric),
            *copy_rows.text(profile_id),
            *copy_rows.text(message_id),
            *copy_rows.text(self._id("flow_id", said.flow_id)),
            *copy_rows.text(pc.if_else(without, made, transmission_id)),
            copy_rows.moment(handoff_at),
            copy_rows.flag(self._flag("machine_open", said.machine_open)),
            copy_rows.flag(self._flag("bot_click", said.bot_click)),
            *copy_rows.text(self._short(self._chosen("url", said.url), b" ", values.MAX_URL)),
            copy_rows.number(self._value(said.value)),
            *copy_rows.text(pa.nulls(self._count, _STRING)),
            *copy_rows.text(self._own_id(said.own_id)),
        )

    def _written(self, *parts: Any) -> Taken:
        found = copy_rows.rows(parts)
        count = self._count - int(self._doubt.sum())
        if count < self._count:
            found = pc.filter(found, pa.array(~self._doubt))
        return Taken(_bytes_of(found), count, np.flatnonzero(self._doubt).tolist())

    def _properties(self, of_emails: Any) -> Properties:
        if "properties" not in self._texts:
            return no_properties(self._count)
        said = read_properties(self._texts["properties"], _mask(of_emails))
        self._doubt |= said.doubt
        return said

    # --- fields

    def _chosen(self, field: str, nested: Any) -> Any:
        """A column of its own goes before the properties, where it says something."""
        flat = self._texts.get(field)
        if flat is None:
            return nested
        said = said_in(flat)
        return said if nested is None or nested.null_count == self._count else pc.coalesce(said, nested)

    def _id(self, field: str, nested: Any) -> Any:
        found = self._chosen(field, nested)
        if nested is None:
            self._doubt |= _mask(pc.is_null(found))
        return self._short(found, b"!", values.MAX_ID)

    def _short(self, found: Any, least: bytes, most: int) -> Any:
        """Printable ASCII."""
        if found.null_count == self._count:
            return found
        if not _all_within(found, least[0]):
            self._doubt |= _mask(pc.invert(pc.match_substring_regex(found, f"^[{least.decode()}-~]*$")))
        self._doubt |= _mask(pc.greater(pc.binary_length(found), most))
        return found

    def _by_text(self, texts: Any, read: Callable[[str], Any], kind: Any) -> Any:
        """Each distinct text once, by the row-by-row reader's own function."""
        coded = pc.dictionary_encode(texts)
        distinct = coded.dictionary.to_pylist()
        if len(distinct) > _MOST_TEXTS:
            self._doubt |= True
            return pa.nulls(self._count, kind)
        found, fails = [], np.zeros(len(distinct) + 1, np.bool_)
        for number, text in enumerate(distinct):
            try:
                value = read(text)
            except Rejected:
                value = None
                fails[number] = True
            found.append(value)
        indices = coded.indices
        self._doubt |= fails[indices.fill_null(len(distinct)).to_numpy(zero_copy_only=False)]
        return pc.take(pa.array(found, kind), indices)

    def _event_at(self) -> Any:
        found, failed = _times(self._texts["event_at"])
        self._doubt |= failed
        outside = pc.or_(
            pc.less(found, pa.scalar(values.EARLIEST, _TIME)),
            pc.greater(found, pa.scalar(self._columns.latest, _TIME)),
        )
        self._doubt |= _mask(outside)
        return found

    def _handoff_at(self, said: Properties, event_at: Any, sending: Any) -> Any:
        """Whole seconds, of the hand-over itself or else of the cohort; only a plausible one."""
        seconds = self._seconds(said.handoff_at)
        if (flat := self._texts.get("handoff_at")) is not None:
            seconds = pc.coalesce(self._unix(flat), seconds)
        cohort = self._chosen("cohort", said.cohort)
        told = pc.struct_field(pc.extract_regex(cohort, _COHORT), "at")
        self._doubt |= _mask(pc.and_(pc.is_valid(cohort), pc.and_(pc.is_null(told), pc.is_null(seconds))))
        seconds = pc.coalesce(seconds, pc.cast(told, pa.int64()))
        moment = pc.cast(pc.cast(seconds, pa.timestamp("s", "UTC")), _TIME)
        took = pc.cast(pc.subtract(event_at, moment), pa.int64())
        longest = pc.if_else(sending, _micros(values.LONGEST_DELIVERY), _micros(values.LONGEST_INTEREST))
        plausible = pc.and_(pc.less_equal(took, longest), pc.greater_equal(took, _micros(values.SKEW)))
        return pc.if_else(plausible, moment, None)

    def _seconds(self, found: Any) -> Any:
        outside = pc.or_(pc.less(found, 10**9), pc.greater_equal(found, 10**10))
        self._doubt |= _mask(outside)
        return pc.if_else(outside, None, found)

    def _unix(self, texts: Any) -> Any:
        said = said_in(texts)
        fits = pc.match_substring_regex(said, _UNIX)
        self._doubt |= _mask(pc.invert(fits))
        return pc.cast(pc.if_else(fits, said, None), pa.int64())

    def _bounce_ids(self, message_id: Any, profile_id: Any, handoff_at: Any, event_at: Any) -> Any:
        """As `mapping` makes them: null where there is no message."""
        moment = pc.cast(pc.coalesce(handoff_at, event_at), pa.int64())
        seconds = pc.cast(pc.divide(moment, 1_000_000), _STRING)
        return pc.binary_join_element_wise("bounce", message_id, profile_id, seconds, ":")

    def _flag(self, field: str, found: Any) -> Any:
        if (flat := self._texts.get(field)) is not None:
            said = self._by_text(flat, values.flag_of, pa.bool_())
            nested = found.null_count < self._count
            found = pc.if_else(pc.is_null(said_in(flat)), found, said) if nested else said
        return found

    def _value(self, found: Any) -> Any:
        if "value" in self._texts:
            self._doubt |= _mask(pc.is_valid(said_in(self._texts["value"])))
        self._doubt |= _mask(pc.greater_equal(pc.abs(found), 1e15))
        return found

    def _own_id(self, found: Any) -> Any:
        """The shop's own events name their order by their own id."""
        trimmed = pc.utf8_trim_whitespace(found)
        self._doubt |= _mask(pc.not_equal(trimmed, found))
        return self._short(found, b" ", values.MAX_ID)


def _one(table: pa.Table, name: str) -> Any:
    column = table.column(name)
    return column.chunk(0) if column.num_chunks else pa.array([], _STRING)


def _mask(found: Any) -> Mask:
    """True where it is; null is not."""
    mask: Mask = found.fill_null(False).to_numpy(zero_copy_only=False)
    return mask


def _is_in(found: Any, names: Iterable[str]) -> Any:
    return pc.is_in(found, value_set=pa.array(list(names), _STRING))


def _micros(span: Any) -> int:
    return int(span.total_seconds() * 1_000_000)


def _all_within(found: Any, least: int) -> bool:
    """Whether all bytes of all texts are printable ASCII from `least` on."""
    data = np.frombuffer(_bytes_of(found), np.uint8)
    return bool(((data >= least) & (data <= ord("~"))).all())


def _bytes_of(found: Any) -> Any:
    """All texts one after the other, without copying them."""
    _, offsets, data = found.buffers()
    if data is None or not len(found):
        return b""
    bounds = np.frombuffer(offsets, np.int32)[found.offset : found.offset + len(found) + 1]
    return memoryview(data)[bounds[0] : bounds[-1]]


def _times(texts: Any) -> tuple[Any, Mask]:
    """Moments of texts in the usual shapes, and where there is none."""
    unix = pc.match_substring_regex(texts, _UNIX)
    zoned = pc.if_else(pc.match_substring_regex(texts, _NAIVE), pc.binary_join_element_wise(texts, "Z", ""), texts)
    iso = pc.match_substring_regex(zoned, _ZONED)
    try:
        of_iso = pc.cast(pc.if_else(iso, zoned, None), _TIME)
    except pa.ArrowInvalid:  # no such day
        return pa.nulls(len(texts), _TIME), np.ones(len(texts), np.bool_)
    seconds = pc.cast(pc.if_else(unix, texts, None), pa.int64())
    of_unix = pc.cast(pc.cast(seconds, pa.timestamp("s", "UTC")), _TIME)
    found = pc.coalesce(of_iso, of_unix)
    return found, _mask(pc.is_null(found))
