"""Cross-products, criterion, solvers: the numerical core, on numpy and scipy alone."""
