-- Which org a transaction serves is asked once in each statement, not once for each row: reading the setting and making a
-- uuid of it took longer than writing the row. What is allowed stays the same.
CREATE OR REPLACE FUNCTION secure_table(target regclass) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', target);
    EXECUTE format('ALTER TABLE %s FORCE ROW LEVEL SECURITY', target);
    EXECUTE format('CREATE POLICY worker ON %s TO justai_worker USING (current_user = ''justai_worker'')', target);
    EXECUTE format(
        'CREATE POLICY tenant ON %s TO justai_tenant'
        ' USING (org_id = (SELECT nullif(current_setting(''app.org_id'', true), '''')::uuid))',
        target);
    EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %s TO justai_worker, justai_tenant', target);
END
$$;

DO $$
DECLARE
    target regclass;
BEGIN
    -- Parents first, as whoever uses them locks them.
    FOR target IN
        SELECT p.polrelid::regclass FROM pg_policy p JOIN pg_class c ON c.oid = p.polrelid
        WHERE p.polname = 'tenant'
          AND pg_get_expr(p.polqual, p.polrelid) = '(org_id = (NULLIF(current_setting(''app.org_id''::text, true), ''''::text))::uuid)'
        ORDER BY c.relispartition, c.relname
    LOOP
        EXECUTE format(
            'ALTER POLICY tenant ON %s USING (org_id = (SELECT nullif(current_setting(''app.org_id'', true), '''')::uuid))',
            target);
    END LOOP;
END
$$;
