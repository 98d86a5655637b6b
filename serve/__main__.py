"""python -m serve: run the service under gunicorn, in place of this process."""

import os
import sys

if __name__ == "__main__":
    os.execv(sys.executable, [sys.executable, "-m", "gunicorn", "-c", "python:serve.gunicorn_conf"])
