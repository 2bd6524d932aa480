"""The wheel and the sdist, as those have them who install the package."""
