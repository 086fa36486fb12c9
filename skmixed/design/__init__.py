"""From tables to arrays: what a model declares, and what it learned about its columns."""
