"""python -m serve: run the service under gunicorn, in place of this process. python -m serve replay, use: see there."""

import os
import sys

if __name__ == "__main__":
    if sys.argv[1:2] == ["replay"]:
        from serve.replay import main

        sys.exit(main(sys.argv[2:]))
    if sys.argv[1:2] == ["use"]:
        from serve.use import main

        sys.exit(main(sys.argv[2:]))
    # A wrong setting ends here, in one line: gunicorn reads some of the same variables, and less kindly.
    from serve import gunicorn_conf

    os.execv(sys.executable, [sys.executable, "-m", "gunicorn", "-c", f"python:{gunicorn_conf.__name__}"])
