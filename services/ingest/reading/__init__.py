"""Bytes of a file → events and numbered rejects, whatever its format: with care row by row, or quickly in blocks."""
