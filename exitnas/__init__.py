"""exitnas: neural architecture search for the early exits of BERT-style encoders.

Importing this package is cheap: torch and transformers are loaded by the parts that need them.
"""

__version__ = "0.1.0"
