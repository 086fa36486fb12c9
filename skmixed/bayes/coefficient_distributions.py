"""Prior distributions of coefficients."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from skmixed.bayes.scale_distributions import check_positive
from skmixed.design.records import stored


@stored
@dataclass(frozen=True)
class Normal:
    """Normal prior for a coefficient.

    Read more in the user guide: :doc:`/guide/posterior`.

    Parameters
    ----------
    mean : float, default=0.0
        Mean, in units of the coefficient.
    sd : float, default=1.0
        Standard deviation.

    See Also
    --------
    Prior : Assigns it to coefficients.
    Flat : The improper uniform prior.

    Examples
    --------
    >>> from skmixed.bayes import Normal
    >>> Normal(10, 5)
    Normal(mean=10, sd=5)
    """

    mean: float = 0.0
    sd: float = 1.0

    def __post_init__(self) -> None:
        """Check the parameters."""
        check_positive(self, "sd")
        is_number = isinstance(self.mean, int | float | np.number)
        if not is_number or not np.isfinite(self.mean):
            raise ValueError(f"Normal(mean={self.mean!r}): mean must be a finite number")
