"""The lab: reference models to train with the losses of this package, and what is done to their estimates.

It is for reading, copying and experiments. Nothing else of the package imports it.
"""
