"""Answers rows of different requests in one run of the model.

The requests arrived in the same iteration of the event loop. A run takes about as long for eight rows as for one. The
certificate proves that a row's answer has the same bits alone and in any batch.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence

from passfail.errors import RequestError
from serve.http.messages import Pending
from serve.registry import RowAnswer, Served


def answer_together(
    requests: Sequence[Pending],
) -> tuple[list[RowAnswer | RequestError | Exception], Callable[[], None]]:
    """Answer requests for one row each, with one run for each model.

    Returns
    -------
    For each request the argument of its `finish`, or the exception that the run raised; and a function that records
    the rows, to call after the responses.
    """
    groups: dict[Served, list[int]] = defaultdict(list)
    for at, request in enumerate(requests):
        groups[request.served].append(at)
    answers: list[RowAnswer | RequestError | Exception] = [Exception()] * len(requests)
    observers: list[Callable[[], None]] = []
    found: Sequence[RowAnswer | RequestError | Exception]
    for served, places in groups.items():
        try:
            found, observe = served.answer_rows([requests[at].row for at in places])
            observers.append(observe)
        except Exception as error:  # a fault of the runtime affects only these requests
            found = [error] * len(places)
        for at, answer in zip(places, found, strict=True):
            answers[at] = answer

    def observe_all() -> None:
        for observe in observers:
            observe()

    return answers, observe_all
