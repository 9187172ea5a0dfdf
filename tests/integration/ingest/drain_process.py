"""A process that drains the dataset of a pickle file, or a share of it, to be killed by tests. Not a test."""

import pickle
import resource
import sys
from pathlib import Path

from pista.ingest.drain import drain
from pista.ingest.share import Share

if __name__ == "__main__":
    print("base", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, "KiB", flush=True)
    dataset, settings = pickle.loads(Path(sys.argv[1]).read_bytes())
    print("started", flush=True)
    report = drain(
        dataset,
        settings,
        run_id=sys.argv[2],
        should_stop=lambda: False,
        on_batch=lambda batch: print("batch", batch.records, flush=True),
        share=Share.parse(sys.argv[3] if len(sys.argv) > 3 else "0/1"),
    )
    print("peak", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, "KiB", flush=True)
    print("ended", report.outcome, flush=True)
