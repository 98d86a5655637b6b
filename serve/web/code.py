"""Requests as code that a person copies: curl, Python and JavaScript."""

import json
import shlex

from serve.http.messages import JSON


def requests(method: str, url: str, kind: str = "", body: str = "", answers: str = JSON) -> dict[str, str]:
    """Write a request in three languages.

    Parameters
    ----------
    kind, body : the request's Content-Type and body; both empty without a body.
    answers : the response's Content-Type.
    """
    read = "json" if answers == JSON else "text"
    if not kind:
        verb = "" if method == "GET" else f"-X {method} "
        script = f"await fetch({json.dumps(url)}, {{ method: {json.dumps(method)} }})"
        python, curl = f"requests.{method.lower()}({url!r})", f"curl {verb}{shlex.quote(url)}"
    else:
        data = "-d" if kind == JSON else "--data-binary"
        curl = f"curl {shlex.quote(url)} -H 'Content-Type: {kind}' {data} {shlex.quote(body)}"
        sent = f"json={json.loads(body)!r}" if kind == JSON else f"data={body!r}, headers={{'Content-Type': {kind!r}}}"
        python = f"requests.{method.lower()}({url!r}, {sent})"
        text = f"JSON.stringify({body})" if kind == JSON else json.dumps(body)
        script = (
            f"await fetch({json.dumps(url)}, {{\n  method: {json.dumps(method)},\n"
            f"  headers: {{ {json.dumps('Content-Type')}: {json.dumps(kind)} }},\n  body: {text},\n}})"
        )
    return {
        "curl": curl,
        "Python": f"import requests\n\n{python}.{read if read == 'text' else 'json()'}",
        "JavaScript": f"const response = {script};\nawait response.{read}();",
    }
