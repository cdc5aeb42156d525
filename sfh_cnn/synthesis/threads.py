"""Linear algebra on one thread."""

from sfh_cnn.core import require

__all__ = ["one_thread"]


def one_thread():
    """Context in which BLAS uses one thread.

    Matrix products are split differently on more threads, and their last digits change with it: the same
    configuration would not give the same bytes everywhere. Mocks are made in parallel by several processes.

    Returns
    -------
    threadpoolctl.threadpool_limits
    """
    return require("threadpoolctl", extra="synthesis").threadpool_limits(1, user_api="blas")
