"""Answers rows of different requests in one run of the model.

The requests arrived in the same iteration of the event loop. A run takes about as long for eight rows as for one. The
certificate proves that a row's answer has the same bits alone and in any batch.
"""

from collections.abc import Callable, Sequence

from passfail.errors import RequestError
from serve.http.messages import Pending
from serve.registry import RowAnswer


def answer_together(
    requests: Sequence[Pending],
) -> tuple[list[RowAnswer | RequestError | Exception], Callable[[], None]]:
    """Answer requests for one row each, with one run for each model.

    Returns
    -------
    For each request the argument of its `finish`, or the exception that the run raised; and a function that records
    the rows, to call after the responses.
    """
    found: dict[int, RowAnswer | RequestError | Exception] = {}
    observers: list[Callable[[], None]] = []
    for served in dict.fromkeys(one.served for one in requests):
        some = [(at, one.row) for at, one in enumerate(requests) if one.served is served]
        answers: Sequence[RowAnswer | RequestError | Exception]
        try:
            answers, observe = served.answer_rows([row for _, row in some])
            observers.append(observe)
        except Exception as error:  # a fault of the runtime affects only these requests
            answers = [error] * len(some)
        found |= {at: answer for (at, _), answer in zip(some, answers, strict=True)}

    def observe_all() -> None:
        for observe in observers:
            observe()

    return [found[at] for at in range(len(requests))], observe_all
