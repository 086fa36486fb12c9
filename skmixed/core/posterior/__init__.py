"""The posterior of a linear mixed model that is sampled in few dimensions."""
