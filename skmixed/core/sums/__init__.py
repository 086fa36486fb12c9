"""Cross-products of rows: layouts, levels, sums per level and per pair of levels."""
