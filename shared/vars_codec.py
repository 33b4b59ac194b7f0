"""Rendered copy, stored exactly and small: zstd with the variant's own source as the dictionary.

A rendered body is its variant's source with a few values put in, so against that source it is a handful of
back-references: about 170 bytes for a 10 KB body with ten values (`make bench-codec`), where plain zstd needs 2,500.
Unlike storing only the fields and rendering again, the stored bytes are what the person got, whatever the renderer's
version is later. The price: a variant version that was ever served is never deleted.
"""

from collections.abc import Callable
from functools import lru_cache

import zstandard

from shared.schemas.copy import VariantSource, Vars

_SEPARATOR = "\x00"  # cannot occur in a text: PostgreSQL refuses it, so the reader and the renderer remove it

# What level 3 does, in tables of the source's size. By itself zstd sizes them for inputs of any length: 460 KB a 10 KB
# source, where these take 135, at the same speed and 5 bytes more a generation. The window must hold a body.
_WINDOW_LOG = 17
_COPY_MAX_BYTES = 1_000_000  # ten times what fits into a profile write
_LEAST_TABLE_LOG, _MOST_TABLE_LOG = 11, 16
_CACHED_COMPRESSORS = 256  # 35 MB with 10 KB sources; one that is not among them costs some 150 µs
_CACHED_DECOMPRESSORS = 1024  # some 50 KB each


def _text(source: VariantSource) -> bytes:
    return _SEPARATOR.join((source.subject, source.preheader, source.body)).encode().ljust(8, b" ")


def _dictionary(text: bytes) -> zstandard.ZstdCompressionDict:
    return zstandard.ZstdCompressionDict(text, dict_type=zstandard.DICT_TYPE_RAWCONTENT)


@lru_cache(maxsize=_CACHED_COMPRESSORS)
def _compressor(source: VariantSource) -> zstandard.ZstdCompressor:
    text = _text(source)
    # Two to four bytes of text an entry; with more, matches begin to be missed (measured from 2 to 80 KB).
    table_log = min(max(len(text).bit_length() - 2, _LEAST_TABLE_LOG), _MOST_TABLE_LOG)
    parameters = zstandard.ZstdCompressionParameters(
        window_log=_WINDOW_LOG,
        hash_log=table_log,
        chain_log=table_log,
        search_log=1,
        min_match=5,
        strategy=zstandard.STRATEGY_DFAST,
        write_content_size=True,
        write_checksum=True,  # 4 bytes; without it, a damaged copy may open as another text
        write_dict_id=False,
    )
    return zstandard.ZstdCompressor(dict_data=_dictionary(text), compression_params=parameters)


def encode_vars(copy: Vars, source: VariantSource) -> bytes:
    """The stored form of one rendered copy."""
    return _compressor(source).compress(_SEPARATOR.join(copy).encode())


def decode_vars(blob: bytes, source: VariantSource) -> Vars:
    """The rendered copy again, byte for byte. Raises zstandard.ZstdError or ValueError when the blob is damaged, or not
    of this source."""
    return Vars(*(str(text, "utf-8") for text in opener(source)(blob)))


Opener = Callable[[bytes], tuple[bytes, bytes, memoryview]]
"""Subject, preheader and body in UTF-8, as they lie in a blob. Raises like `decode_vars`."""


@lru_cache(maxsize=_CACHED_DECOMPRESSORS)
def opener(source: VariantSource) -> Opener:
    """Opens blobs of one source, for who opens many of them; one at a time."""
    decompress = zstandard.ZstdDecompressor(dict_data=_dictionary(_text(source))).decompress

    def opened(blob: bytes) -> tuple[bytes, bytes, memoryview]:
        frame = zstandard.get_frame_parameters(blob)
        if frame.content_size > _COPY_MAX_BYTES:  # what it says is allocated
            raise ValueError("no copy is as large as this blob says")
        text = decompress(blob)
        first = text.find(0)
        second = text.find(0, first + 1)
        if first < 0 or second < 0 or text.find(0, second + 1) >= 0:
            raise ValueError("a copy has three texts")
        if not frame.has_checksum:  # what has one is what `encode_vars` was given, which was text
            str(text, "utf-8")
        return text[:first], text[first + 1 : second], memoryview(text)[second + 1 :]

    return opened
