"""scikit-learn's metadata routing, off and on."""

import pytest
import sklearn


@pytest.fixture(params=[False, True], ids=["routing off", "routing on"])
def routing(request):
    with sklearn.config_context(enable_metadata_routing=request.param):
        yield request.param
