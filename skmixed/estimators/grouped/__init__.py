"""One model per group, pooled by what the data say."""
