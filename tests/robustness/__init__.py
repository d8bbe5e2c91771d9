"""Inputs of every kind that people bring: made here, read here, held against the truth."""
