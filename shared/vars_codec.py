"""Rendered copy, stored exactly and small: zstd with the variant's own source as the dictionary.

A rendered body is its variant's source with a few values put in, so against that source it is a handful of
back-references: about 100 bytes for a 10 KB body (`make bench-codec`), where plain zstd needs kilobytes. Unlike
storing only the fields and rendering again, the stored bytes are what the person got, whatever the renderer's
version is later. The price: a variant version that was ever served is never deleted.
"""

from functools import lru_cache

import zstandard

from shared.schemas.copy import VariantSource, Vars

_LEVEL = 3
_SEPARATOR = "\x00"  # cannot occur in a text: PostgreSQL refuses it, so the reader and the renderer remove it
_CACHED_SOURCES = 4096  # about 100 MB of digested dictionaries at 20 KB of source each


class _Codec:
    def __init__(self, source: VariantSource) -> None:
        text = _SEPARATOR.join((source.subject, source.preheader, source.body)).encode()
        dictionary = zstandard.ZstdCompressionDict(text.ljust(8, b" "), dict_type=zstandard.DICT_TYPE_RAWCONTENT)
        self.compressor = zstandard.ZstdCompressor(
            level=_LEVEL, dict_data=dictionary, write_content_size=True, write_dict_id=False
        )
        self.decompressor = zstandard.ZstdDecompressor(dict_data=dictionary)


@lru_cache(maxsize=_CACHED_SOURCES)
def _codec(source: VariantSource) -> _Codec:
    return _Codec(source)


def encode_vars(copy: Vars, source: VariantSource) -> bytes:
    """The stored form of one rendered copy."""
    return _codec(source).compressor.compress(_SEPARATOR.join(copy).encode())


def decode_vars(blob: bytes, source: VariantSource) -> Vars:
    """The rendered copy again, byte for byte. Raises zstandard.ZstdError when blob and source do not match."""
    subject, preheader, body = _codec(source).decompressor.decompress(blob).decode().split(_SEPARATOR)
    return Vars(subject, preheader, body)
