"""A model on its cross-products: specification, structures, units, criterion."""
