"""The multi-exit model in Hugging Face form: `from_pretrained`, `save_pretrained`, Auto classes, `pipeline`."""

from typing import Any

__all__ = ["MultiExitConfig", "MultiExitModel"]


def __getattr__(name: str) -> Any:
    if name == "MultiExitConfig":
        from exitnas.modeling.configuration import MultiExitConfig

        return MultiExitConfig
    if name == "MultiExitModel":
        from exitnas.modeling.model import MultiExitModel

        return MultiExitModel
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
