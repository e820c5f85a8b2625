"""The bilevel search: weights on D1, architecture parameters on D2."""
