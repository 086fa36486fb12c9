"""R's ten self-starting curves on data of R's own, as in the examples of its help pages.

ChickWeight (Crowder & Hand 1990), Loblolly (Kung 1986), CO2 (Potvin, Lechowicz & Tardif 1990),
Indometh (Kwan et al. 1976), Theoph (Boeckmann, Sheiner & Beal 1994), DNase (Davidian & Giltinan
1995) and Puromycin (Treloar 1974) are those of R's package datasets. Deviances and coefficients are
those of nls in R 4; of the last chick it finds no start, and they are the best of fits from 200
starts at random.
"""

import numpy as np
import pandas as pd
import pytest

from skmixed import nlmer

DATA = {
    "chick 1": {
        "Time": "0 2 4 6 8 10 12 14 16 18 20 21",
        "weight": "42 51 59 64 76 93 106 125 149 171 199 205",
    },
    "loblolly 301": {
        "age": "3 5 10 15 20 25",
        "height": "4.51 10.89 28.72 41.74 52.7 60.92",
    },
    "co2 Qn1": {
        "conc": "95 175 250 350 500 675 1000",
        "uptake": "16 30.4 34.8 37.2 35.3 39.2 39.7",
    },
    "indometh 1": {
        "time": "0.25 0.5 0.75 1 1.25 2 3 4 5 6 8",
        "conc": "1.5 0.94 0.78 0.48 0.37 0.19 0.12 0.11 0.08 0.07 0.05",
    },
    "theoph 4": {
        "Dose": "4.4 4.4 4.4 4.4 4.4 4.4 4.4 4.4 4.4 4.4 4.4",
        "Time": "0 0.35 0.6 1.07 2.13 3.5 5.02 7.02 9.02 11.98 24.65",
        "conc": "0 1.89 4.6 8.6 8.38 7.54 6.88 5.78 5.33 4.19 1.15",
    },
    "dnase 1": {
        "conc": """
            0.048828125 0.048828125 0.1953125 0.1953125 0.390625 0.390625 0.78125 0.78125 1.5625
            1.5625 3.125 3.125 6.25 6.25 12.5 12.5
        """,
        "density": """
            0.017 0.018 0.121 0.124 0.206 0.215 0.377 0.374 0.614 0.609 1.019 1.001 1.334 1.364
            1.73 1.71
        """,
    },
    "puromycin": {
        "conc": "0.02 0.02 0.06 0.06 0.11 0.11 0.22 0.22 0.56 0.56 1.1 1.1",
        "rate": "76 47 97 107 123 139 159 152 191 201 207 200",
    },
    "chick 6": {
        "Time": "0 2 4 6 8 10 12 14 16 18 20 21",
        "weight": "41 49 59 74 97 124 141 148 155 160 160 157",
    },
}

# data, curve, deviance, coefficients
CURVES = [
    ("chick 1", "weight ~ SSlogis(Time, Asym, xmid, scal)", 76.6623562562,
     [937.03010595, 35.22296241, 11.40520855]),
    ("chick 1", "weight ~ SSfpl(Time, A, B, xmid, scal)", 44.2066130347,
     [27.453203029, 348.971227091, 19.390530351, 6.672621653]),
    ("loblolly 301", "height ~ SSasymp(age, Asym, R0, lrc)", 1.18118349219,
     [95.666878797, -9.078240801, -3.116381026]),
    ("co2 Qn1", "uptake ~ SSasympOff(conc, Asym, lrc, c0)", 11.0574951536,
     [38.13978200, -4.38064701, 51.22323849]),
    ("loblolly 301", "height ~ SSasympOrig(age, Asym, lrc)", 36.2955572072,
     [240.345139338, -4.418291763]),
    ("indometh 1", "conc ~ SSbiexp(time, A1, lrc1, A2, lrc2)", 0.0117820139357,
     [2.0292774364, 0.5793886912, 0.1915474553, -1.7877848828]),
    ("theoph 4", "conc ~ SSfol(Dose, Time, lKe, lKa, lCl)", 5.73195060416,
     [-2.4364940224, 0.1582638256, -3.2860868980]),
    ("dnase 1", "density ~ SSgompertz(log(conc), Asym, b2, b3)", 0.00936163766775,
     [4.6033338313, 2.2713390735, 0.7164665851]),
    ("puromycin", "rate ~ SSmicmen(conc, Vm, K)", 1195.44881444,
     [212.68370727121, 0.06412122579]),
    ("chick 6", "weight ~ SSweibull(Time, Asym, Drop, lrc, pwr)", 49.4157771145,
     [158.97564, 115.00841, -5.5428485, 2.4606104]),
]  # fmt: skip


@pytest.mark.parametrize(("name", "formula", "deviance", "expected"), CURVES)
def test_curves_start_themselves_and_are_those_of_nls(name, formula, deviance, expected):
    columns = {key: np.array(text.split(), float) for key, text in DATA[name].items()}
    data = pd.DataFrame(columns)
    model = nlmer(f"{formula} ~ 1", data)
    assert model.converged_
    # nls stops where its steps promise 1e-5 of the residual
    assert model.residual_variance_ * len(data) <= deviance * (1.0 + 1e-9)
    assert model.residual_variance_ * len(data) == pytest.approx(deviance, rel=1e-7)
    np.testing.assert_allclose(model.coef_, expected, rtol=2e-5)
    np.testing.assert_allclose(
        np.square(model.predict(data) - data.iloc[:, -1]).sum(), deviance, rtol=1e-7
    )
