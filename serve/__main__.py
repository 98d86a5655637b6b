"""python -m serve: run the service under gunicorn, in place of this process."""

import os
import sys

if __name__ == "__main__":
    # A wrong setting ends here, in one line: gunicorn reads some of the same variables, and less kindly.
    from serve import gunicorn_conf

    os.execv(sys.executable, [sys.executable, "-m", "gunicorn", "-c", f"python:{gunicorn_conf.__name__}"])
