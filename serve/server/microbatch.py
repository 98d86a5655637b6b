"""Rows that are asked in the same turn of the event loop, answered by one run of the model.

A run takes about as long for eight rows as for one, and each row's answer is the same bits alone and in any batch: the
certificate says so.
"""

from collections.abc import Callable, Sequence

from passfail.errors import RequestError
from serve.http.messages import Pending
from serve.registry import RowAnswer, Served


def answer_together(
    requests: Sequence[Pending],
) -> tuple[list[RowAnswer | RequestError | Exception], Callable[[], None]]:
    """Answer requests for a single row each, those of one model by one run of it.

    Returns
    -------
    For each request what its `finish` takes, or the exception that answering it raised; and a function that tells
    the telemetry of them, to be called when there is time.
    """
    rows: dict[int, tuple[Served, list[int]]] = {}
    for at, request in enumerate(requests):
        rows.setdefault(id(request.served), (request.served, []))[1].append(at)
    answers: list[RowAnswer | RequestError | Exception] = [Exception()] * len(requests)
    observers: list[Callable[[], None]] = []
    found: Sequence[RowAnswer | RequestError | Exception]
    for served, places in rows.values():
        try:
            found, observe = served.answer_rows([requests[at].row for at in places])
            observers.append(observe)
        except Exception as error:  # a fault of the runtime is the answer of these requests, and of no others
            found = [error] * len(places)
        for at, answer in zip(places, found, strict=True):
            answers[at] = answer

    def observe_all() -> None:
        for observe in observers:
            observe()

    return answers, observe_all
