"""Work for the workers of a Dask cluster."""

from __future__ import annotations

import collections
import contextlib
import itertools
from typing import TYPE_CHECKING

from .exceptions import SFHCNNError
from .optional import require

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any

__all__ = ["map_on_cluster"]

#: How often all workers may die at the same time; dask itself sends an item to four workers before it gives up.
_MAX_LOSSES = 3
#: How long to wait for a worker, seconds.
_PATIENCE_S = 300


def map_on_cluster(
    scheduler: Any, function: Callable[[Any, Any], Any], items: Iterable[Any], shared: Any
) -> Iterator[Any]:
    """Let the workers of a Dask cluster work through a list.

    A worker that dies is replaced by the others. Only a few items per thread are under way at a time, so that what is
    done early does not pile up here.

    Parameters
    ----------
    scheduler : str, ``distributed.Client`` or cluster
        Address of the scheduler (``"tcp://..."``), or a client or cluster of the caller, which stays open.
    function : callable
        Called as ``function(item, shared)``; like both of them, it must survive pickling.
    items : iterable
        What to work through.
    shared : object
        Sent to each worker once.

    Yields
    ------
    object
        What the function returns, in the order of the items.

    Raises
    ------
    ImportError
        If distributed is not installed.
    OSError
        If there is no scheduler at this address.
    SFHCNNError
        If workers die again and again.
    """
    distributed = require("distributed", extra="cube")
    with contextlib.ExitStack() as stack:
        client = scheduler
        if not isinstance(client, distributed.Client):
            # Not the default client: what else the process does with dask is no concern of this one.
            client = stack.enter_context(distributed.Client(scheduler, set_as_default=False))

        def share():
            client.wait_for_workers(1, timeout=_PATIENCE_S)
            return client.scatter(shared, broadcast=True, hash=False)

        def start(items):
            # A pure function of its arguments would be taken from memory when it is to be done again.
            running.extend((item, client.submit(function, item, everywhere, pure=False)) for item in items)

        running: collections.deque[tuple[Any, Any]] = collections.deque()
        items, losses = iter(items), 0
        everywhere = share()
        start(itertools.islice(items, 2 * sum(client.nthreads().values()) + 2))
        try:
            while running:
                try:
                    result = running[0][1].result()
                except distributed.CancelledError as err:  # the last worker that held what is shared is gone
                    losses += 1
                    if losses > _MAX_LOSSES:
                        raise SFHCNNError(
                            f"all workers of the cluster died {losses} times: look at their logs"
                        ) from err
                    lost = [item for item, _ in running]
                    running.clear()
                    everywhere = share()
                    start(lost)
                    continue
                running.popleft()
                start(itertools.islice(items, 1))
                yield result
        except distributed.KilledWorker as err:
            raise SFHCNNError(f"workers of the cluster died, one after the other: look at their logs ({err})") from err
        finally:
            client.cancel([future for _, future in running])
