"""python -m bench.sketch PORT: the least that answers a row, with the parts of the service.

llhttp parses, msgspec decodes, SHA-256 digests the body, the rows of a loop iteration share a run of ONNX Runtime.
There are no limits, no metrics, no receipt and no proof: the distance from here is the price of these.
"""

import asyncio
import hashlib
import sys

import httptools
import msgspec
import uvloop

from bench.peers import runtime


class Row(msgspec.Struct, gc=False):
    a: float
    b: float
    c: float
    d: float


class Connection(asyncio.Protocol):
    def __init__(self, sketch):
        self.sketch = sketch

    def connection_made(self, transport):
        self.transport, self.parser = transport, httptools.HttpRequestParser(self)

    def data_received(self, data):
        self.parser.feed_data(data)

    def on_body(self, body):
        self.body = body

    def on_message_complete(self):
        self.sketch.add(self.transport, self.body)


class Sketch:
    def __init__(self, loop):
        self.loop, self.run, self.decode, self.calls = loop, runtime(), msgspec.json.Decoder(Row).decode, []

    def add(self, transport, body):
        if not self.calls:
            self.loop.call_soon(self.answer)
        self.calls.append((transport, body, msgspec.structs.astuple(self.decode(body))))

    def answer(self):
        calls, self.calls = self.calls, []
        logits, probabilities = (found.tolist() for found in self.run([row for _, _, row in calls]))
        for (transport, sent, _), logit, probability in zip(calls, logits, probabilities, strict=True):
            body = msgspec.json.encode({"passed": logit > 0, "probability": probability, "logit": logit})
            head = f"X-Request-Digest: {hashlib.sha256(sent).hexdigest()}\r\nContent-Length: {len(body)}\r\n\r\n"
            transport.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n" + head.encode() + body)


async def serve(port):
    loop = asyncio.get_running_loop()
    sketch = Sketch(loop)
    async with await loop.create_server(lambda: Connection(sketch), "127.0.0.1", port) as server:
        await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
