"""What emerges of the archive, as messages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lightfast.api.v1 import memory_pb2 as pb
from lightfast.context.paging import Token, fingerprint, page_size, read_token, write_token
from lightfast.core.errors import NotFound

if TYPE_CHECKING:
    from lightfast.storage.archive.archive import Archive
    from lightfast.storage.archive.emergence.layer import EmergenceLayer
    from lightfast.storage.archive.emergence.records import Cluster

_QUERY = fingerprint("ListClusters")


async def clusters_page(layer: EmergenceLayer, asked: int, page_token: str) -> pb.ListClustersResponse:
    """Return a page of clusters, largest first; later pages show what has been found meanwhile."""
    count = page_size(asked, 100, 1000)
    after: tuple[int, int] | None = None
    if page_token:
        token = read_token(page_token, _QUERY)
        after = (token.number or 0, token.revision)
    found = await layer.clusters(count + 1, after)
    response = pb.ListClustersResponse(clusters=map(_cluster, found[:count]))
    if len(found) > count:
        last = found[count - 1]
        number = int(last.cluster_id.removeprefix("cluster-"))
        response.next_page_token = write_token(Token(_QUERY, number, "", last.size))
    return response


async def clusters_around(layer: EmergenceLayer, archive: Archive, frame_id: str) -> pb.ListClustersResponse:
    """Return the cluster of a frame and its relations; raises `NotFound` for a frame that is not there."""
    cluster, relations = await layer.around(frame_id)
    if cluster is None and not relations:
        why = (await archive.why([frame_id])).get(frame_id, "")
        if why and not why.startswith("locked"):
            raise NotFound(
                f"there is no frame {frame_id} to be read: {why}", reason="FRAME_NOT_FOUND", field="frame_id"
            )
    response = pb.ListClustersResponse(clusters=[] if cluster is None else [_cluster(cluster)])
    for one in relations:
        response.relations.add(
            frame_id=one.frame_id, other_frame_id=one.other_frame_id, strength=one.strength, reason=one.reason
        )
    return response


def _cluster(cluster: Cluster) -> pb.Cluster:
    return pb.Cluster(
        cluster_id=cluster.cluster_id,
        words=cluster.words,
        frame_ids=cluster.frame_ids,
        size=cluster.size,
        coherence=cluster.coherence,
    )
