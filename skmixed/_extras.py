"""Libraries that come with an extra of the package."""

from __future__ import annotations


def missing(library: str, extra: str, what: str) -> ImportError:
    """Return the error that says how to install a library that `what`, in words, needs."""
    return ImportError(
        f"{what} needs {library}, which is not installed: "
        f"python -m pip install 'scikit-mixed[{extra}]', or '.[{extra}]' in a checkout"
    )
