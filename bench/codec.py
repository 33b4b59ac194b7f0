"""What rendered copy costs to keep: bytes and microseconds a generation, four ways. `make bench-codec`

    whole     the three texts as they are
    zstd      each generation on its own, zstd level 3
    fields    only the fields, rendered again whenever somebody reads
    source    zstd against the variant's own source (what we do)

The copy is an HTML email of about 10 KB, made of sentences so that plain zstd gets a fair chance; every person has
other values. Times are of one core, the best of several rounds, since other work only ever makes them longer.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from uuid import UUID

import orjson
import zstandard

from bench.copy import email, people
from bench.report import Report
from services.generator.render import Renderer
from shared.schemas.copy import Vars
from shared.vars_codec import decode_vars, encode_vars

_BODY_BYTES = 10_000
_PEOPLE = 500
_ROUNDS = 7
_LEVEL = 3
_NAMES = {
    "whole": "whole",
    "zstd": "zstd, each on its own",
    "fields": "only the fields, rendered again",
    "source": "zstd against the source",
}


def _best_us(work: Callable[[], object], of: int) -> float:
    """Microseconds for one of the `of` things that a call of `work` does."""
    best_s = float("inf")
    for _ in range(_ROUNDS):
        began = time.process_time()
        work()
        best_s = min(best_s, time.process_time() - began)
    return best_s / of * 1e6


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, show, write `bench/results/codec.json`."""
    argparse.ArgumentParser(description=__doc__).parse_args(arguments)
    report = Report("codec")
    source, fields = email(UUID(int=1), _BODY_BYTES), people(_PEOPLE)
    renderer = Renderer()
    copies = [renderer.render(source, one) for one in fields]
    compressor, decompressor = zstandard.ZstdCompressor(level=_LEVEL), zstandard.ZstdDecompressor()

    whole = [_joined(copy) for copy in copies]
    alone = [compressor.compress(text) for text in whole]
    again = [orjson.dumps(one) for one in fields]
    against = [encode_vars(copy, source) for copy in copies]
    if [decode_vars(blob, source) for blob in against] != copies:
        raise AssertionError("what was stored is not what was rendered")

    written = {
        "whole": (whole, lambda: [_joined(copy) for copy in copies]),
        "zstd": (alone, lambda: [compressor.compress(_joined(copy)) for copy in copies]),
        "fields": (again, lambda: [orjson.dumps(one) for one in fields]),
        "source": (against, lambda: [encode_vars(copy, source) for copy in copies]),
    }
    read: dict[str, Callable[[], object]] = {
        "whole": lambda: [_apart(blob) for blob in whole],
        "zstd": lambda: [_apart(decompressor.decompress(blob)) for blob in alone],
        "fields": lambda: [renderer.render(source, orjson.loads(blob)) for blob in again],
        "source": lambda: [decode_vars(blob, source) for blob in against],
    }
    figures = {"body_bytes": sum(len(copy.body.encode()) for copy in copies) / _PEOPLE}
    for how, (blobs, write) in written.items():
        figures[f"{how}_bytes"] = sum(map(len, blobs)) / _PEOPLE
        figures[f"{how}_write_us"] = _best_us(write, _PEOPLE)
        figures[f"{how}_read_us"] = _best_us(read[how], _PEOPLE)
    rows = [
        (
            name,
            f"{figures[how + '_bytes']:,.0f}",
            f"{figures[how + '_write_us']:.1f}",
            f"{figures[how + '_read_us']:.1f}",
        )
        for how, name in _NAMES.items()
    ]
    report.table("One generation, kept", ("how", "bytes", "write µs", "read µs"), rows)
    report.finish(figures, {})


def _joined(copy: Vars) -> bytes:
    return "\0".join(copy).encode()


def _apart(text: bytes) -> Vars:
    return Vars(*text.decode().split("\0"))


if __name__ == "__main__":
    main()
