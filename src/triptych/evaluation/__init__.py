"""Features -> statistics -> number, each number with its interval and floor."""
