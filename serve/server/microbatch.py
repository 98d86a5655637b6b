"""Answers rows of different requests in one run of the model.

The requests arrived in the same iteration of the event loop. A run takes about as long for eight rows as for one. The
certificate proves that a row's answer has the same bits alone and in any batch.
"""

from collections.abc import Callable, Sequence

from serve.http.messages import Pending
from serve.registry import RowAnswer, Served


def answer_together(
    requests: Sequence[Pending],
) -> tuple[list[RowAnswer | Exception], list[Callable[[], None]]]:
    """Answer requests for one row each, with one run for each model.

    Returns
    -------
    For each request the argument of its `finish`, or the exception that the run raised; and functions that record the
    rows, to call after the responses.
    """
    batches: dict[Served, list[int]] = {}
    for at, request in enumerate(requests):
        batches.setdefault(request.served, []).append(at)
    found: dict[int, RowAnswer | Exception] = {}
    observers: list[Callable[[], None]] = []
    for served, places in batches.items():
        try:
            answers, observe = served.answer_rows([requests[at].row for at in places])
            observers.append(observe)
            found.update(zip(places, answers, strict=True))
        except Exception as error:  # a fault of the runtime affects only these requests
            found.update(dict.fromkeys(places, error))
    return [found[at] for at in range(len(requests))], observers
