"""Other packages' names and arguments on this package's measures, for code that was written for them."""
