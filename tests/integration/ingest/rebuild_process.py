"""A process that rebuilds the dataset of a pickle file from raw, to be killed by tests. Not a test."""

import pickle
import sys
from pathlib import Path

from pista.ingest.rebuild import Source, rebuild

if __name__ == "__main__":
    dataset, settings, admin_dsn = pickle.loads(Path(sys.argv[1]).read_bytes())
    rebuild(
        admin_dsn, dataset, settings, Source.RAW, on_batch=lambda report: print("batch", report.records, flush=True)
    )
    print("ended", flush=True)
