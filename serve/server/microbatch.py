"""Rows that are asked in the same turn of the event loop, answered by one run of the model.

A run takes about as long for eight rows as for one, and each row's answer is the same bits alone and in any batch: the
certificate says so.
"""

from types import coroutine

from passfail.errors import InvalidInstance


class Turn:
    """What endpoints that are started one after the other share: all are, before the first of them goes on."""

    def __init__(self):
        self._batch, self._notes = None, []

    async def answer(self, model, row):
        """One row, d numbers, None for missing -> what `Model.answers` says of it, or raises."""
        batch = self._batch
        if batch is None or batch.model is not model:
            batch = self._batch = Batch(model, self._notes)
        at = len(batch.rows)
        batch.rows.append(row)
        await _others()
        answer = batch.answers()[at]
        if isinstance(answer, InvalidInstance):
            raise answer
        return answer

    def note(self):
        """Tell who watches what was answered; nobody's answer need wait for that."""
        for note in self._notes:
            note()


class Batch:
    """The rows of one model; the first to want its answer has all of them answered."""

    def __init__(self, model, notes):
        self.model, self.rows, self._answers = model, [], None
        self._notes = notes

    def answers(self):
        """For each row what `Turn.answer` returns, or the InvalidInstance that it raises."""
        if self._answers is None:
            try:
                self._answers = self._ask(self.rows)
            except InvalidInstance:
                self._answers = [self._alone(row) for row in self.rows]
        return self._answers

    def _ask(self, rows):
        answers, note = self.model.answers(rows)
        self._notes.append(note)
        return answers

    def _alone(self, row):
        try:
            return self._ask([row])[0]
        except InvalidInstance as error:
            return error


@coroutine
def _others():
    """Wait until the others have been started."""
    yield


def at_once(endpoint):
    """The answer of an endpoint (its coroutine) whose request shares no turn, and so waits for nobody."""
    try:
        endpoint.send(None)
    except StopIteration as finished:
        return finished.value
    raise RuntimeError("an endpoint waits, and its request shares no turn")
