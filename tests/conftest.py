"""Settings of the test run."""

import os

# The worker processes of a run share the cores already. Set before anything loads numpy.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # of boosting, whose threads wait for each other

from hypothesis import settings

settings.register_profile("skmixed", deadline=None, print_blob=True)
settings.load_profile("skmixed")
