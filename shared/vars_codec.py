"""Rendered copy, stored exactly and small: zstd with the variant's own source as the dictionary.

A rendered body is its variant's source with a few values put in, so against that source it is a handful of
back-references: about 170 bytes for a 10 KB body with ten values (`make bench-codec`), where plain zstd needs 2,500.
Unlike storing only the fields and rendering again, the stored bytes are what the person got, whatever the renderer's
version is later. The price: a variant version that was ever served is never deleted.
"""

from functools import lru_cache

import zstandard

from shared.schemas.copy import VariantSource, Vars

_SEPARATOR = "\x00"  # cannot occur in a text: PostgreSQL refuses it, so the reader and the renderer remove it

# What level 3 does, in smaller tables. By itself zstd sizes them for inputs of any length: 460 KB a source, where
# these take 135, at the same speed and 174 bytes instead of 166 (`make bench-codec`). The window must hold a body.
_PARAMETERS = {
    "window_log": 17,
    "hash_log": 12,
    "chain_log": 12,
    "search_log": 1,
    "min_match": 5,
    "strategy": zstandard.STRATEGY_DFAST,
}
_CACHED_COMPRESSORS = 256  # 35 MB at most; a source that is not among them costs some 150 µs
_CACHED_DECOMPRESSORS = 1024  # some 50 KB each


def _dictionary(source: VariantSource) -> zstandard.ZstdCompressionDict:
    text = _SEPARATOR.join((source.subject, source.preheader, source.body)).encode()
    return zstandard.ZstdCompressionDict(text.ljust(8, b" "), dict_type=zstandard.DICT_TYPE_RAWCONTENT)


@lru_cache(maxsize=_CACHED_COMPRESSORS)
def _compressor(source: VariantSource) -> zstandard.ZstdCompressor:
    parameters = zstandard.ZstdCompressionParameters(**_PARAMETERS, write_content_size=True, write_dict_id=False)
    return zstandard.ZstdCompressor(dict_data=_dictionary(source), compression_params=parameters)


@lru_cache(maxsize=_CACHED_DECOMPRESSORS)
def _decompressor(source: VariantSource) -> zstandard.ZstdDecompressor:
    return zstandard.ZstdDecompressor(dict_data=_dictionary(source))


def encode_vars(copy: Vars, source: VariantSource) -> bytes:
    """The stored form of one rendered copy."""
    return _compressor(source).compress(_SEPARATOR.join(copy).encode())


def decode_vars(blob: bytes, source: VariantSource) -> Vars:
    """The rendered copy again, byte for byte. Raises zstandard.ZstdError when blob and source do not match."""
    subject, preheader, body = _decompressor(source).decompress(blob).decode().split(_SEPARATOR)
    return Vars(subject, preheader, body)
