"""One model per group, partially pooled."""
