"""What a running gateway promises, judged from outside: it keeps its word when something breaks or changes."""
