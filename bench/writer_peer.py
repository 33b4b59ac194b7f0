"""The same burst through Klaviyo's official SDK, as its documents show it: 16 threads, its own retries.

`python -m bench.writer_peer <base_url> <key>` reads one JSON object: `{"ahead_s", "writes": [{profile_id, from, until,
properties}]}`, moments in epoch seconds of the box's clock, which is `ahead_s` ahead of ours and runs as fast. It
prints `{"wall_s", "written", "failed", "skipped"}` when all were tried. A write whose email has left is
skipped, as ours is.
"""

import json
import sys
import time
import warnings
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

THREADS = 16


def main() -> None:
    """Write them all."""
    warnings.simplefilter("ignore")  # the SDK's generated models warn about their own field names
    from klaviyo_api import KlaviyoAPI

    base_url, key = sys.argv[1:]
    given = json.load(sys.stdin)
    sdk, ended = KlaviyoAPI(key, test_host=base_url), Counter[str]()
    started = time.time()

    def write(one: dict[str, Any]) -> None:
        time.sleep(max(0.0, one["from"] - given["ahead_s"] - time.time()))
        if time.time() + given["ahead_s"] >= one["until"]:
            ended["skipped"] += 1
            return
        attributes = {"properties": one["properties"]}
        body = {"data": {"type": "profile", "id": one["profile_id"], "attributes": attributes}}
        try:
            sdk.Profiles.update_profile(one["profile_id"], body)
        except Exception:  # noqa: BLE001  # it gave up on this one
            ended["failed"] += 1
        else:
            ended["written"] += 1

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(write, given["writes"]))
    print(json.dumps({"wall_s": time.time() - started, **ended}))


if __name__ == "__main__":
    main()
