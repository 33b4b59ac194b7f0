"""AWS KMS as far as we use it: over HTTP, with real wrapping, bound to key and encryption context as there."""

import base64
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tests.support.loopback import hosted

ARN = "arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"
ALIAS = "alias/justai"


@dataclass
class Kms:
    """One key. `refuses`: the error that every call gets; `calls`: the operations, in order."""

    url: str = ""
    refuses: tuple[int, str] | None = None
    calls: list[str] = field(default_factory=list)
    key: AESGCM = field(default_factory=lambda: AESGCM(os.urandom(32)))

    async def answer(self, request: web.Request) -> web.Response:
        operation = request.headers["X-Amz-Target"].removeprefix("TrentService.")
        self.calls.append(operation)
        if not request.headers.get("Authorization", "").startswith("AWS4-HMAC-SHA256 Credential=AK/"):
            return _refusal(403, "IncompleteSignatureException")
        if self.refuses is not None:
            return _refusal(*self.refuses)
        asked = await request.json()
        if asked["KeyId"] not in (ARN, ALIAS):
            return _refusal(400, "NotFoundException" if operation.startswith("Generate") else "IncorrectKeyException")
        context = json.dumps(asked["EncryptionContext"], sort_keys=True).encode()
        if operation == "GenerateDataKeyWithoutPlaintext":
            nonce = os.urandom(12)
            blob = nonce + self.key.encrypt(nonce, os.urandom(asked["NumberOfBytes"]), context)
            return _said({"KeyId": ARN, "CiphertextBlob": base64.b64encode(blob).decode()})
        blob = base64.b64decode(asked["CiphertextBlob"])
        try:
            plain = self.key.decrypt(blob[:12], blob[12:], context)
        except InvalidTag:
            return _refusal(400, "InvalidCiphertextException")
        return _said({"KeyId": ARN, "Plaintext": base64.b64encode(plain).decode()})


def _said(body: dict[str, Any]) -> web.Response:
    return web.Response(text=json.dumps(body), content_type="application/x-amz-json-1.1")


def _refusal(status: int, code: str) -> web.Response:
    body = json.dumps({"__type": code, "message": "no"})
    return web.Response(status=status, text=body, content_type="application/x-amz-json-1.1")


@asynccontextmanager
async def kms_serving() -> AsyncIterator[Kms]:
    """Over loopback."""
    kms = Kms()
    app = web.Application()
    app.router.add_post("/", kms.answer)
    async with hosted(app) as kms.url:
        yield kms
