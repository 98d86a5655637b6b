"""python -m tests.support.clients NAME ADDRESS...: the answers to an official client.

The rows come as JSON on standard input. Prints, as JSON, for each address {form: the probabilities}; `refused` is what
the client says of a level that there isn't. Each client is imported where it is asked for, by a Python that has it.
"""

import asyncio
import json
import sys

from tests.support import ROOT

OTHERS = ROOT / ".venv-clients" / "bin" / "python"  # has the clients that the tests' own environment has not
FEATURES = [("gre", "FP64"), ("gpa", "FP64"), ("rank", "BYTES")]
LEVELS = ["1", "2", "3", "4"]


def triton(address, rows):
    import tritonclient.http as http

    client = http.InferenceServerClient(address.removeprefix("http://"))
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("admissions", "1")
    assert client.get_model_metadata("admissions")["versions"] == ["1"]
    assert client.get_model_repository_index()[0]["state"] == "READY"

    def ask(inputs, output="probability", **binary):
        wanted = [http.InferRequestedOutput(output, **binary)] if binary else None
        return client.infer("admissions", inputs, outputs=wanted, request_id="7").as_numpy(output).tolist()

    def tensors(columns, **binary):
        return [http.InferInput(*about).set_data_from_numpy(values, **binary) for about, values in columns]

    try:
        ask(tensors(_whole([{**rows[0], "rank": None}])))
    except http.InferenceServerException as error:
        refused = str(error)
    return {
        "x": ask(tensors(_whole(rows), binary_data=True)),
        "x in JSON": ask(tensors(_whole(rows), binary_data=False), binary_data=False),
        "features": ask(tensors(_columns(rows), binary_data=True)),
        "features in JSON": ask(tensors(_columns(rows), binary_data=False), binary_data=False),
        "labels": [label.decode() for label in ask(tensors(_columns(rows)), "label")],
        "refused": refused,
    }


def kserve(address, rows):
    return asyncio.run(_kserve(address, rows))


async def _kserve(address, rows):
    import httpx
    from kserve import InferenceRESTClient, InferInput, InferRequest, RESTConfig
    from kserve.protocol.infer_type import RequestedOutput

    async with InferenceRESTClient(RESTConfig(protocol="v2")) as client:
        assert await client.is_server_live(address)
        assert await client.is_server_ready(address)
        assert await client.is_model_ready(address, "admissions")

        async def ask(columns, output="probability", binary=True):
            inputs = [InferInput(*about) for about, _ in columns]
            for one, (_, values) in zip(inputs, columns, strict=True):
                one.set_data_from_numpy(values, binary_data=binary)
            wanted = [RequestedOutput(output, {"binary_data": binary})]
            request = InferRequest("admissions", inputs, "7", request_outputs=wanted)
            answer = await client.infer(address, request, model_name="admissions")
            assert (answer.id, answer.model_name, len(answer.outputs)) == ("7", "admissions", 1)
            return answer.outputs[0].as_numpy().tolist()

        try:
            await ask(_whole([{**rows[0], "rank": None}]))
        except httpx.HTTPStatusError as error:
            refused = str(error)
        return {
            "x": await ask(_whole(rows)),
            "x in JSON": await ask(_whole(rows), binary=False),
            "features": await ask(_columns(rows)),
            "features in JSON": await ask(_columns(rows), binary=False),
            "labels": [_text(label) for label in await ask(_columns(rows), "label")],
            "refused": refused,
        }


def mlflow(address, rows):
    import pandas
    from mlflow.pyfunc.scoring_server.client import ScoringServerClient

    client = ScoringServerClient(*address.removeprefix("http://").split(":"))
    client.ping()
    assert client.get_version().count(".") == 2
    frame = pandas.DataFrame(rows)

    def ask(data, column="probability"):
        return client.invoke(data).get_predictions()[column].tolist()

    try:
        ask(frame.assign(rank="9"))
    except Exception as error:  # the client raises this very class
        refused = str(error)
    return {
        "dataframe": ask(frame),
        "columns in another order": ask(frame[["rank", "gpa", "gre"]]),
        "rows": ask(rows),
        "arrays": ask(frame.to_numpy()),
        "labels": ask(frame, "label"),
        "refused": refused,
    }


def _whole(rows):
    """[((name, shape, datatype), values)] of one tensor; rank None becomes an invalid index."""
    import numpy as np

    codes = {level: code for code, level in enumerate(LEVELS)} | {None: 9}
    x = np.array([[row["gre"], row["gpa"], codes[row["rank"]]] for row in rows], dtype=np.float64)
    return [(("x", list(x.shape), "FP64"), x)]


def _columns(rows):
    """The same of one tensor a feature."""
    import numpy as np

    dtypes = {"FP64": np.float64, "BYTES": np.object_}
    return [
        ((name, [len(rows)], kind), np.array([row[name] for row in rows], dtype=dtypes[kind]))
        for name, kind in FEATURES
    ]


def _text(label):
    return label.decode() if isinstance(label, bytes) else label


if __name__ == "__main__":
    client, addresses = {"triton": triton, "kserve": kserve, "mlflow": mlflow}[sys.argv[1]], sys.argv[2:]
    given = json.load(sys.stdin)
    print(json.dumps([client(address, given) for address in addresses]))
