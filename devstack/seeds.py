"""The rows that every stage needs before anything happens: an org and a template with one variant. For tests and
benchmarks that put their own rows straight into the database."""

INSERT_ORG = "INSERT INTO orgs (org_id, slug, name, created_at) VALUES ($1, $2, $2, $3)"
INSERT_TEMPLATE = """
    INSERT INTO templates (org_id, template_id, name, created_at, updated_at) VALUES ($1, 'welcome', 'Welcome', $2, $2)
"""
INSERT_VARIANT = """
    INSERT INTO variants (org_id, copy_id, template_id, name, created_at, updated_at)
    VALUES ($1, $2, 'welcome', 'A', $3, $3)
"""
