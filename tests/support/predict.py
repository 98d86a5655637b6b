"""POST /predict by Flask's test client, and the faults of its answer."""

import json

GOOD = {"gre": 800, "gpa": 4.0, "rank": 1}


def post(client, body, content_type="application/json"):
    data = body if isinstance(body, (str, bytes)) else json.dumps(body)
    return client.post("/predict", data=data, content_type=content_type)


def problems(response, status=422):
    """The place and the words of each fault of a problem document."""
    assert (response.status_code, response.content_type) == (status, "application/problem+json")
    return [(error["pointer"], error["detail"]) for error in response.json.get("errors", [])]
