"""The likelihood of a generalized model approximated, at given parameters, with its derivatives."""
