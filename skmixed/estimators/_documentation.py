"""Where the documentation of the estimators is."""

from __future__ import annotations

DOCUMENTATION = "https://scikit-mixed.readthedocs.io/en/stable/api/skmixed.{name}.html"
"""Address of the page of an estimator, which no other place spells out."""


class DocumentedMixin:
    """Make scikit-learn's diagram of an estimator link to this package's documentation."""

    _doc_link_module = "skmixed"
    _doc_link_template = DOCUMENTATION

    def _doc_link_url_param_generator(self) -> dict[str, str]:
        """Return what the address is filled in with."""
        return {"name": type(self).__name__}
