"""Understand a customer base from its transaction log."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from crm_analysis.dataset import Dataset, open_dataset

__all__ = ["Dataset", "open_dataset"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Import the engine only when a dataset is opened: the command line starts without it."""
    if name in __all__:
        from crm_analysis import dataset

        return getattr(dataset, name)
    raise AttributeError(f"module 'crm_analysis' has no attribute {name!r}")
