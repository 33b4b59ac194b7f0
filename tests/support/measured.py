"""What a test measured beside what it holds."""


def say(**figures: object) -> None:
    """For the pages that tell it, such as docs/reliability.md; seen with `-s`."""
    print("\nmeasured", " ".join(f"{name}={value}" for name, value in figures.items()))  # noqa: T201  # its purpose
