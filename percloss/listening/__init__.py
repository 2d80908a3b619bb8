"""Listening tests: recordings and what people said of them, read from a table or from a set as it is published."""
