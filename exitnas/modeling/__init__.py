"""The multi-exit model in Hugging Face form: `from_pretrained`, `save_pretrained`, Auto classes, `pipeline`.

Importing this package registers the model with transformers' Auto classes.
"""

from exitnas.modeling.configuration import MultiExitConfig
from exitnas.modeling.model import MultiExitForSequenceClassification, MultiExitOutput

__all__ = ["MultiExitConfig", "MultiExitForSequenceClassification", "MultiExitOutput"]
