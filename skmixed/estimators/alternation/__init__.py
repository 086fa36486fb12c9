"""Any regressor or classifier fitted in turn with a mixed model of what it leaves."""
