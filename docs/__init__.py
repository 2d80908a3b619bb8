"""The documentation: pages, and what is made for them from the package."""
