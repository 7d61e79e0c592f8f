"""Datasets of inversions: shards of Parquet, made by workers on one machine, a cluster's array jobs, or Ray."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hyperstyle.runtime.lazy import lazy_names

__all__ = ["Item", "RowSettings", "ShardRow", "invert_shard", "load_shards"]

if TYPE_CHECKING:
    from hyperstyle.bulk.items import Item
    from hyperstyle.bulk.load import ShardRow, load_shards
    from hyperstyle.bulk.settings import RowSettings
    from hyperstyle.bulk.shard import invert_shard
else:  # hidden from type checkers, which would accept any name
    __getattr__ = lazy_names(
        __name__,
        {
            "items": ("Item",),
            "load": ("ShardRow", "load_shards"),
            "settings": ("RowSettings",),
            "shard": ("invert_shard",),
        },
    )
