"""Models of hearing, from the threshold in quiet to the masking threshold of a sound."""
