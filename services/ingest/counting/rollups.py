"""Counts of sends by template, variant, cell and day, made anew where sends have changed, and what waits for them."""

from uuid import UUID

from services.ingest.loading.switch import STATEMENT_TIMEOUT_S
from shared.db.pool import Connection

# Asked before the sends change and after: a send may move from one cell to another.
NOTE_CELLS = """
    INSERT INTO cells
    SELECT DISTINCT s.template_id, s.copy_id, s.cell, s.day FROM tallies t CROSS JOIN LATERAL (
        SELECT * FROM sends s WHERE s.org_id = $1 AND s.transmission_id = t.transmission_id OFFSET 0
    ) s WHERE s.template_id IS NOT NULL
"""
# A send that shows none of our generations may be one of control's: its own day stands for that of its decision.
NOTE_DECIDED = """
    INSERT INTO decided
    SELECT DISTINCT coalesce(s.generation_day, s.day) FROM tallies t CROSS JOIN LATERAL (
        SELECT * FROM sends s WHERE s.org_id = $1 AND s.transmission_id = t.transmission_id OFFSET 0
    ) s
"""
# Last in their transaction, and in one order: whoever counts waits for these rows.
RAISE_DAYS = """
    INSERT INTO result_days AS r (org_id, day) SELECT DISTINCT $1::uuid, day FROM decided ORDER BY 2
    ON CONFLICT (org_id, day) DO UPDATE SET revision = r.revision + 1
"""
RAISE_REPORTS = """
    INSERT INTO result_reports AS r (org_id, template_id) SELECT DISTINCT $1::uuid, template_id FROM cells ORDER BY 2
    ON CONFLICT (org_id, template_id) DO UPDATE SET revision = r.revision + 1
"""

NOTE_ALL_CELLS = """
    INSERT INTO cells
    SELECT template_id, copy_id, cell, day FROM sends WHERE org_id = $1 AND template_id IS NOT NULL
    UNION
    SELECT template_id, copy_id, cell, day FROM rollups WHERE org_id = $1
"""

DELETE_ROLLUPS = """
    DELETE FROM rollups r USING cells c
    WHERE r.org_id = $1 AND r.template_id = c.template_id AND r.day = c.day
      AND r.copy_id IS NOT DISTINCT FROM c.copy_id AND r.cell = c.cell
"""

# Each day of a template is read once, then its cells are chosen: a join by cell would read the day once per cell.
INSERT_ROLLUPS = """
    INSERT INTO rollups (org_id, template_id, copy_id, cell, day, sends, delivered, human_opens, machine_opens,
        human_clicks, bot_clicks, unsubscribes, bounces, spam, conversions, revenue)
    SELECT $1, s.template_id, s.copy_id, s.cell, s.day, count(*),
        count(*) FILTER (WHERE s.delivered), count(*) FILTER (WHERE s.human_opens > 0),
        count(*) FILTER (WHERE s.machine_opens > 0), count(*) FILTER (WHERE s.human_clicks > 0),
        count(*) FILTER (WHERE s.bot_clicks > 0), count(*) FILTER (WHERE s.unsubscribed),
        count(*) FILTER (WHERE s.bounced), count(*) FILTER (WHERE s.spam), count(e.converted_at), sum(e.revenue)
    FROM (SELECT DISTINCT template_id, day FROM cells) d
    JOIN sends s ON s.org_id = $1 AND s.template_id = d.template_id AND s.day = d.day
    CROSS JOIN LATERAL earned($1, s.template_id, s.transmission_id, 'infinity') e
    GROUP BY s.template_id, s.copy_id, s.cell, s.day
    HAVING EXISTS (SELECT FROM cells c WHERE c.template_id = s.template_id AND c.day = s.day
        AND c.copy_id IS NOT DISTINCT FROM s.copy_id AND c.cell = s.cell)
"""

# Asked for every send of a day; most orgs count no orders.
SELECT_CONVERTED = "SELECT EXISTS (SELECT FROM conversions WHERE org_id = $1)"
INSERT_ROLLUPS_WITHOUT_ORDERS = INSERT_ROLLUPS.replace(
    "CROSS JOIN LATERAL earned($1, s.template_id, s.transmission_id, 'infinity') e",
    "CROSS JOIN (SELECT NULL::timestamptz AS converted_at, 0::numeric AS revenue) e",
)


async def note_counted(connection: Connection, org_id: UUID) -> None:
    """Cells and days of decisions that the sends in `tallies` are part of."""
    await connection.execute(NOTE_CELLS, org_id, timeout=STATEMENT_TIMEOUT_S)
    await connection.execute(NOTE_DECIDED, org_id, timeout=STATEMENT_TIMEOUT_S)


async def note_all_cells(connection: Connection, org_id: UUID) -> None:
    """Every cell that has sends or a rollup."""
    await connection.execute(NOTE_ALL_CELLS, org_id, timeout=STATEMENT_TIMEOUT_S)


async def roll_up(connection: Connection, org_id: UUID) -> None:
    """Count what is in `cells` anew, and have results count what is in `decided` and `cells`."""
    await connection.execute("ANALYZE cells")
    await connection.execute(DELETE_ROLLUPS, org_id, timeout=STATEMENT_TIMEOUT_S)
    converted = await connection.fetchval(SELECT_CONVERTED, org_id)
    insert = INSERT_ROLLUPS if converted else INSERT_ROLLUPS_WITHOUT_ORDERS
    await connection.execute("SET LOCAL enable_sort = off")  # sends are many and cells few, which it cannot know
    await connection.execute(insert, org_id, timeout=STATEMENT_TIMEOUT_S)
    await connection.execute("SET LOCAL enable_sort = on")
    await connection.execute(RAISE_DAYS, org_id, timeout=STATEMENT_TIMEOUT_S)
    await connection.execute(RAISE_REPORTS, org_id, timeout=STATEMENT_TIMEOUT_S)
