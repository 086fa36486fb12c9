"""Outbreaks of a lung disease in herds of cattle."""

from __future__ import annotations

import pandas as pd

# Herd, then period:new cases/animals at risk. Published facts: Lesnoff et al. (2004).
_CASES = """
1 1:2/14 2:3/12 3:4/9 4:0/5
2 1:3/22 2:1/18 3:1/21
3 1:8/22 2:2/16 3:0/16 4:2/20
4 1:2/10 2:0/10 3:2/9 4:0/6
5 1:5/18 2:0/25 3:0/24 4:1/4
6 1:3/17 2:0/17 3:0/18 4:1/20
7 1:8/16 2:1/10 3:3/9 4:0/5
8 1:12/34
9 1:2/9 2:0/6 3:0/8 4:0/6
10 1:1/22 2:1/22 3:0/18 4:2/22
11 1:0/25 2:5/27 3:3/22 4:1/22
12 1:2/10 2:1/8 3:0/6 4:0/5
13 1:1/21 2:2/24 3:0/19 4:0/23
14 1:11/19 2:0/2 3:0/3 4:0/2
15 1:1/19 2:1/15 3:1/15 4:0/15
"""


def load_cbpp() -> pd.DataFrame:
    """Load the incidence of contagious bovine pleuropneumonia in 15 herds over four periods.

    Zebu herds of the Ethiopian highlands were followed during an outbreak. Each row has the number
    of new cases in a herd in one quarter and the number of animals at risk: proportions, the
    standard example of a binomial response with a random intercept.

    Returns
    -------
    pandas.DataFrame of shape (56, 4)
        The columns are

        - ``herd``: label of the herd, a string, "1" to "15";
        - ``incidence``: new cases, an integer;
        - ``size``: animals at risk at the beginning of the period, an integer;
        - ``period``: quarter, a string, "1" to "4". Herd 2 lacks the last one, and herd 8 has the
          first alone.

    See Also
    --------
    load_sleepstudy : Measurements with random slopes.
    skmixed.glmer : Takes proportions as ``cbind(incidence, size - incidence)``.

    References
    ----------
    .. [1] Lesnoff, M., Laval, G., Bonnet, P., Abdicho, S., Workalemahu, A., Kifle, D., Peyraud, A.,
       Lancelot, R. and Thiaucourt, F. (2004). Within-herd spread of contagious bovine
       pleuropneumonia in Ethiopian highlands. Preventive Veterinary Medicine 64, 27-40.
       :doi:`10.1016/j.prevetmed.2004.03.005`.

    Examples
    --------
    >>> from skmixed.datasets import load_cbpp
    >>> load_cbpp().head(3)
      herd  incidence  size period
    0    1          2    14      1
    1    1          3    12      2
    2    1          4     9      3
    """
    rows = []
    for line in _CASES.strip().splitlines():
        herd, *periods = line.split()
        for each in periods:
            period, _, counts = each.partition(":")
            incidence, _, size = counts.partition("/")
            rows.append((herd, int(incidence), int(size), period))
    return pd.DataFrame(rows, columns=["herd", "incidence", "size", "period"])
