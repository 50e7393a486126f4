"""In which lane each method goes; what is not named here is interactive."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from lightfast.context.flow.records import Lane

Pick = Callable[[Any], Lane]
"""Says in which lane a request goes, where that depends on what it asks for."""


def _history(request: Any) -> Lane:
    """Let what ends in the past, and every page but the first, wait: it may lie in the archive."""
    return Lane.BACKGROUND if request.page_token or request.until_revision else Lane.STATE


LANES: Mapping[str, Lane | Pick] = {
    # What watches follows the state, and lasts; what is read of the past by the page comes after it.
    "ContextService.Watch": Lane.STATE,
    "ContextService.KeepLease": Lane.STATE,
    "ContextService.History": _history,
    "ContextService.Describe": Lane.STATE,
    "TransportService.WatchTransport": Lane.STATE,
    "AppService.Diagnose": Lane.STATE,
    "AppService.Resync": Lane.STATE,
    "AssetService.WriteAsset": Lane.STATE,
    "AssetService.ReadAsset": Lane.STATE,
    "AssetService.ListAssets": Lane.STATE,
    "MemoryService.AppendFrames": Lane.STATE,
    "MemoryService.ArchiveStats": Lane.STATE,
    "MemoryService.ListClusters": Lane.STATE,
    "AdminService.ListErrors": Lane.STATE,
    "AdminService.ListBackups": Lane.STATE,
    "ShowService.ListRecordings": Lane.STATE,
    "ContextService.Publish": Lane.SIGNAL,
    # What takes long, and nobody waits for with a hand on a fader.
    "ContextService.Compact": Lane.BACKGROUND,
    "ContextService.CollectGarbage": Lane.BACKGROUND,
    "MemoryService.VerifyArchive": Lane.BACKGROUND,
    "MemoryService.RepairArchive": Lane.BACKGROUND,
    "MemoryService.MigrateArchive": Lane.BACKGROUND,
    "MemoryService.ExportArchive": Lane.BACKGROUND,
    "MemoryService.ImportArchive": Lane.BACKGROUND,
    "MemoryService.RotateSecret": Lane.BACKGROUND,
    "AdminService.Backup": Lane.BACKGROUND,
    "ShowService.ExportRecording": Lane.BACKGROUND,
}


def lane_of(service: str, method: str) -> Lane | Pick:
    """Return the lane of a *method* of a *service*, both as the contract names them."""
    return LANES.get(f"{service}.{method}", Lane.INTERACTIVE)
