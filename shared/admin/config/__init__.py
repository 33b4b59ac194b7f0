"""An org's configuration as files: read, compared with what is set up, and applied."""
