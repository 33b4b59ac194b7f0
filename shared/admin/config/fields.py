"""The fields of what a configuration names, and in which of them two of a thing differ. Pure."""

import difflib
from collections.abc import Collection, Mapping
from typing import Any, Final

import orjson
from pydantic import Field

from shared.admin.operation import ResultModel
from shared.schemas.attributes import stored as stored_attributes
from shared.schemas.conversions import stored as stored_conversions
from shared.schemas.template_file import TemplateFile

_VALUE_CHARS: Final = 300
_LINES: Final = 60


class ConfigField(ResultModel):
    """One field that is to be another. `lines`: of a unified diff, in place of texts of several lines. Null: it is not
    there."""

    field: str
    before: str | None
    after: str | None
    lines: list[str] = Field([])


def different(
    before: Mapping[str, Any], after: Mapping[str, Any], *, ordered: Collection[str] = ()
) -> list[ConfigField]:
    """The fields that differ; of a thing that is not there yet, those that say anything. `ordered`: fields in which the
    order of what they hold counts, as that of an attribute's options does."""
    found = []
    for name, wanted in after.items():
        known = before.get(name)
        same = wanted == known and (name not in ordered or orjson.dumps(wanted) == orjson.dumps(known))
        if not same and not (known is None and wanted in ("", [], {}, None)):
            found.append(_field(name, known, wanted))
    return found


def _field(name: str, before: Any, after: Any) -> ConfigField:
    old, new = _said(before), _said(after)
    if old is not None and new is not None and ("\n" in old or "\n" in new):
        lines = list(difflib.unified_diff(old.splitlines(), new.splitlines(), lineterm="", n=1))[2:]
        lines = lines or ["… (only how the text ends)"]
        more = [f"… ({len(lines) - _LINES} more lines)"] if len(lines) > _LINES else []
        return ConfigField(field=name, before=None, after=None, lines=[*map(_cut, lines[:_LINES]), *more])
    return ConfigField(field=name, before=old and _cut(old), after=new and _cut(new))


def _said(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else orjson.dumps(value, default=str).decode()


def _cut(text: str) -> str:
    return text if len(text) <= _VALUE_CHARS else f"{text[:_VALUE_CHARS]}… ({len(text)} characters)"


def settings_of(file: TemplateFile) -> dict[str, Any]:
    """The fields of a template's file but its variants, flat, as they are stored."""
    flow = file.flow
    return {
        "name": file.name, "state": file.state, "property_prefix": file.property_prefix, "delay_s": file.delay_s,
        "send_window_s": file.send_window_s, "flow.flow_id": flow and flow.flow_id,
        "flow.treatment_action_id": flow and flow.treatment_action_id,
        "flow.control_action_id": flow and flow.control_action_id, "required_fields": file.required_fields,
        "policy": file.policy.model_dump(exclude_unset=True),
        "conversions": stored_conversions(file.counted_conversions), "attributes": stored_attributes(file.attributes),
        "other_attrs": file.other_attrs, "split.method": file.split.method,
        "split.control_ratio": file.split.control_ratio, "split.salt": file.split.salt,
        "control_share": file.control_share, "repeat": file.repeat, "control.subject": file.control.subject,
        "control.preheader": file.control.preheader, "control.body": file.control.body,
    }  # fmt: skip


_COLUMNS: Final = {
    "split.method": "split", "split.control_ratio": "control_ratio", "split.salt": "split_salt", "repeat": "repeats",
}  # fmt: skip


def row_settings(row: Mapping[str, Any]) -> dict[str, Any]:
    """The same of a stored template."""
    plain = ("name", "state", "property_prefix", "delay_s", "send_window_s", "required_fields", "policy",
             "conversions", "attributes", "other_attrs", "control_share")  # fmt: skip
    found = {name: row[name] for name in plain}
    found |= {f"flow.{name}": row[name] for name in ("flow_id", "treatment_action_id", "control_action_id")}
    found |= {name: row[column] for name, column in _COLUMNS.items()}
    return found | {f"control.{name}": row[f"control_{name}"] for name in ("subject", "preheader", "body")}
