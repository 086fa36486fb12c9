"""What is made of a generalized fit: other rows and responses, predictions, residuals, refits."""
