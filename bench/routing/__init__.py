"""How good is the choice of a model when only other datasets are known?

See docs/routing-quality.md.
"""
