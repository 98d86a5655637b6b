"""The servers that ours is compared with, each as in its documentation, on one model.onnx.

MODEL is the folder of the exported version. Four numeric columns, one row or a list of them.
"""

import os
from pathlib import Path

os.environ["ORT_DISABLE_TELEMETRY"] = "1"

ANSWER = b'{"passed":true}'


def bare_wsgi(environ, start_response):
    environ["wsgi.input"].read()
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(ANSWER)))])
    return [ANSWER]


HEADERS = [(b"content-type", b"application/json"), (b"content-length", str(len(ANSWER)).encode())]


async def bare_asgi(scope, receive, send):
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
    await send({"type": "http.response.body", "body": ANSWER})


def runtime():
    import numpy
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(Path(os.environ["MODEL"], "model.onnx"), options)
    return lambda rows: session.run(["logit", "probability"], {"x": numpy.array(rows, dtype=numpy.float64)})


def naive_flask():
    """Flask, as in a tutorial: get_json, a list of rows, jsonify."""
    from flask import Flask, jsonify, request

    app, run = Flask(__name__), runtime()

    @app.post("/predict")
    def predict():
        sent = request.get_json()
        rows = sent if isinstance(sent, list) else [sent]
        logit, probability = run([[row["a"], row["b"], row["c"], row["d"]] for row in rows])
        answers = [
            {"passed": z > 0, "probability": p, "logit": z}
            for z, p in zip(logit.tolist(), probability.tolist(), strict=True)
        ]
        return jsonify(answers if isinstance(sent, list) else answers[0])

    return app


def fast_api():
    """FastAPI, as in its documentation: typed models, an async view."""
    from fastapi import FastAPI
    from pydantic import BaseModel

    class Row(BaseModel):
        a: float
        b: float
        c: float
        d: float

    class Verdict(BaseModel):
        passed: bool
        probability: float
        logit: float

    app, run = FastAPI(), runtime()

    @app.post("/predict")
    async def predict(sent: Row | list[Row]) -> Verdict | list[Verdict]:
        rows = sent if isinstance(sent, list) else [sent]
        logit, probability = run([[row.a, row.b, row.c, row.d] for row in rows])
        answers = [
            Verdict(passed=z > 0, probability=p, logit=z)
            for z, p in zip(logit.tolist(), probability.tolist(), strict=True)
        ]
        return answers if isinstance(sent, list) else answers[0]

    return app
