"""python -m tests.fuzz MODELS DECODER SECONDS: atheris, guided by coverage.

atheris writes each input that fails into the corpus.
"""

import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["serve", "json", "csv"]):
    from serve.registry import Service
    from serve.settings import Config
    from tests.fuzz.mutate import CORPUS, TOKENS
    from tests.fuzz.targets import TARGETS


def main(models, decoder, seconds):
    services = [Service(Config(Path(models), name, max_rows=1000)) for name in ("admissions", "awkward")]

    def judge(data):
        for service in services:
            TARGETS[decoder](service, data)

    folder = CORPUS / decoder
    grown = Path(models).parent / "corpus" / decoder  # what reached new code; the corpus takes findings only
    grown.mkdir(parents=True, exist_ok=True)
    settings = [f"-max_total_time={seconds}", f"-dict={TOKENS}", f"-artifact_prefix={folder}/found-", "-timeout=5"]
    settings += ["-rss_limit_mb=1024", "-max_len=4096", "-print_final_stats=1"]
    atheris.Setup([sys.argv[0], *settings, str(grown), str(folder)], judge)
    atheris.Fuzz()


if __name__ == "__main__":
    main(*sys.argv[1:])
