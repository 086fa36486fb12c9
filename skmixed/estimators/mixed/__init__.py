"""What estimators of mixed models share: parameters, fitted states, predictions, diagnosis."""
