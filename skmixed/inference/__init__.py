"""Reading a fitted model: pure functions of its row-free `Fit`."""
