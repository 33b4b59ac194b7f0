"""Reading and writing single profiles."""

from collections.abc import Mapping
from typing import Any

from simulator.account import Account
from simulator.api import resources
from simulator.api.call import Answer, Call, one
from simulator.api.jsonapi import ApiError, Json, invalid, not_found
from simulator.profile import IDENTITY_FIELDS, InvalidWrite, Profile, new_profile, written

WRITABLE = frozenset({*IDENTITY_FIELDS, "properties"})
# Identifiers of other kinds that an import may carry; the box has no use for them.
IGNORED = frozenset({"_kx", "anonymous_id", "subscriptions"})


def get_profile(call: Call) -> Answer:
    person = _existing(call, call.params["id"])
    call.includes()
    return one(call, _resource(call, person), [] if call.query.get("include") else None)


def update_profile(call: Call) -> Answer:
    profile_id = call.params["id"]
    data = profile_data(call.body["data"])
    if data.get("id") != profile_id:
        raise invalid("The id in the body must be the id in the path.", pointer="/data/id")
    person = _existing(call, profile_id)
    attributes = data["attributes"]
    _refuse_taken_email(call, person.id, attributes)
    _write(call, person, data)
    return one(call, _resource(call, person))


def create_or_update_profile(call: Call) -> Answer:
    data = profile_data(call.body["data"])
    person = find_for_import(call.account, data)
    if person is None:
        person = new_profile(call.world.ids.ulid(call.now), writable(data["attributes"]), call.now)
        call.account.add_profile(person, call.by)
        return Answer(201, one(call, _resource(call, person)).body)
    _write(call, person, data)
    return one(call, _resource(call, person))


def find_for_import(account: Account, data: Mapping[str, Any]) -> Profile | None:
    """The profile that an import's identifiers name, None when it is a new one. Raises `ApiError`."""
    attributes = data["attributes"]
    email = attributes.get("email")
    by_email = account.by_email.get(email.lower()) if isinstance(email, str) else None
    if profile_id := data.get("id"):
        if by_email not in (None, profile_id) or profile_id not in account.profiles:
            # Misleading, and how the live API words it even when the id exists but the email is another's.
            raise not_found("profile", profile_id)
        return account.profiles[profile_id]
    if by_email is not None:
        return account.profiles[by_email]
    external_id = attributes.get("external_id")
    if external_id:
        for person in account.profiles.values():
            if person.state.fields.get("external_id") == external_id:
                return person
    if not any(attributes.get(name) for name in ("email", "phone_number", "external_id")):
        raise invalid("One of id, email, phone_number or external_id is required.", pointer="/data/attributes")
    return None


def profile_data(data: Mapping[str, Any]) -> Mapping[str, Any]:
    """The resource of one profile, once its shape is right. Raises `ApiError`."""
    if data.get("type") != "profile":
        raise invalid("The type must be 'profile'.", pointer="/data/type")
    attributes = data.get("attributes")
    if not isinstance(attributes, dict):
        raise invalid("attributes is required and must be an object.", pointer="/data/attributes")
    for name in attributes:
        if name not in WRITABLE and name not in IGNORED:
            detail = f"'{name}' is not a valid field for the resource 'profile'."
            raise invalid(detail, pointer=f"/data/attributes/{name}")
    email = attributes.get("email")
    if email is not None and (not isinstance(email, str) or "@" not in email):
        raise invalid("Invalid email address.", pointer="/data/attributes/email")
    return data


def writable(attributes: Mapping[str, Any]) -> Json:
    """What the box stores of a profile's attributes."""
    return {name: value for name, value in attributes.items() if name in WRITABLE}


def _write(call: Call, person: Profile, data: Mapping[str, Any]) -> None:
    attributes = writable(data["attributes"])
    try:
        state = written(person.state, attributes, _patch_of(data), keep_nulls=False)
    except InvalidWrite as error:
        raise invalid(str(error), pointer=error.pointer) from None
    call.account.write(person, state, attributes.get("properties") or {}, call.now, call.by)


def _patch_of(data: Mapping[str, Any]) -> Mapping[str, Any]:
    meta = data.get("meta") or {}
    patch = meta.get("patch_properties") if isinstance(meta, Mapping) else None
    if patch is not None and not isinstance(patch, Mapping):
        raise invalid("patch_properties must be an object.", pointer="/data/meta/patch_properties")
    return patch or {}


def _existing(call: Call, profile_id: str) -> Profile:
    """Merged and deleted profiles are gone like ones that never were."""
    person = call.account.profiles.get(profile_id)
    if person is None:
        raise not_found("profile", profile_id)
    return person


def _refuse_taken_email(call: Call, profile_id: str, attributes: Mapping[str, Any]) -> None:
    email = attributes.get("email")
    owner = call.account.by_email.get(email.lower()) if isinstance(email, str) else None
    if owner not in (None, profile_id):
        detail = "A profile already exists with one of these identifiers."
        meta = {"duplicate_profile_id": owner}
        raise ApiError(409, "duplicate_profile", "Conflict.", detail, {"pointer": "/data/attributes"}, meta)


def _resource(call: Call, person: Profile) -> Json:
    additional = frozenset(call.listed("additional-fields[profile]"))
    unknown = additional - {"subscriptions", "predictive_analytics"}
    if unknown:
        detail = f"'{sorted(unknown)[0]}' is not a valid additional field for this resource."
        raise invalid(detail, parameter="additional-fields[profile]")
    return resources.profile(call.base, person, call.fields("profile", resources.PROFILE_FIELDS), additional)
