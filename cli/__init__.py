"""The `justai` command."""
