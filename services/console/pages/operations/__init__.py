"""Operations: what emails showed, what waits, what came in and went out, one person's story."""
