"""A process that drains the dataset of a pickle file, or a share of it, to be killed by tests. Not a test.

python drain_process.py FILE RUN [SHARE [STEP OCCURRENCE]]
"""

import importlib.util
import pickle
import resource
import sys
from pathlib import Path

from pista.ingest import drain
from pista.ingest.ledger import LostRaceError
from pista.ingest.share import Share

if __name__ == "__main__":
    file, run, *others = sys.argv[1:]
    dataset, settings = pickle.loads(Path(file).read_bytes())
    share, *kill_at = others or ["0/1"]
    if kill_at:
        spec = importlib.util.spec_from_file_location("kill_points", Path(__file__).with_name("kill_points.py"))
        kill_points = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(kill_points)
        kill_points.kill_at(kill_at[0], int(kill_at[1]))
    print("started", flush=True)
    print("base", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, "KiB", flush=True)
    try:
        report = drain.drain(
            dataset,
            settings,
            run_id=run,
            should_stop=lambda: False,
            on_batch=lambda batch: print("batch", batch.records, flush=True),
            share=Share.parse(share),
        )
        print("peak", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, "KiB", flush=True)
        print("ended", report.outcome, flush=True)
    except LostRaceError:
        print("ended lost_race", flush=True)
