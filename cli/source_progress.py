"""How `justai source files` shows how far files in hand are."""

import asyncio
from collections.abc import Awaitable, Callable

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from cli.display import console, printable
from shared.admin.sources.files import SourceFile

_LOOK_S = 1.0  # real seconds
_UNITS = ("bytes", "KB", "MB", "GB", "TB")


def size(count: float) -> str:
    """So many bytes, in the unit that says it best."""
    step = 0
    while count >= 1000 and step < len(_UNITS) - 1:
        count, step = count / 1000, step + 1
    return f"{count:,.0f} {_UNITS[step]}" if step == 0 or count >= 100 else f"{count:,.1f} {_UNITS[step]}"


def how_far(file: SourceFile) -> str:
    """Its state, and of one in hand how far it is and how fast."""
    if file.got_bytes is None or file.got_rows is None:
        return file.state
    if file.got_rows:
        return f"{file.state}: {file.got_rows:,} rows{f', {file.per_s:,.0f}/s' if file.per_s else ''}"
    part = f"{100 * file.got_bytes / file.size:.0f} %" if file.size else "0 %"
    return f"{file.state}: {part} fetched{f', {size(file.per_s)}/s' if file.per_s else ''}"


async def follow_files(look: Callable[[], Awaitable[tuple[int, list[SourceFile]]]]) -> None:
    """A bar for all files that wait and one for each in hand, until none waits. `look`: how many wait, and those in
    hand."""
    bars = Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(), console=console(stderr=True), transient=True,
    )  # fmt: skip
    with bars:
        every = bars.add_task("files", total=0, rate="")
        most = 0
        shown: dict[object, TaskID] = {}
        while (seen := await look())[0]:
            waiting, in_hand = seen
            most = max(most, waiting)
            bars.update(every, total=most, completed=most - waiting)
            for file_id in set(shown) - {file.file_id for file in in_hand}:
                bars.remove_task(shown.pop(file_id))
            for file in in_hand:
                if file.file_id not in shown:
                    shown[file.file_id] = bars.add_task(printable(file.path), total=file.size, rate="")
                bars.update(shown[file.file_id], completed=file.got_bytes or 0, rate=how_far(file))
            await asyncio.sleep(_LOOK_S)
