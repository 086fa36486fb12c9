"""Many responses to one design: sums, lock-step searches, refits."""
