"""Labels turned into numbers: their levels, what is learned of them, the columns that come out."""
