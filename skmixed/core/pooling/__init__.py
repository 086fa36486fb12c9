"""Estimates of groups, shrunk to those of their parents."""
