"""Any regressor or classifier, fitted alternately with a mixed model."""
