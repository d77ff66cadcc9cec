"""What an agent's script does: starts a tool, reads its output, writes files, works a little, reports as JSON."""

import concurrent.futures
import hashlib
import json
import os
import pathlib
import subprocess
import sys
import tempfile


def work(n: int) -> str:
    return hashlib.sha256(b"x" * (n * 1000)).hexdigest()


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        notes = pathlib.Path(folder) / "notes.txt"
        notes.write_text("".join(f"note {i}\n" for i in range(1000)))
        tool = subprocess.run(["sh", "-c", "wc -l; echo warning >&2"], stdin=notes.open(), capture_output=True, text=True, check=True)
        with concurrent.futures.ThreadPoolExecutor(4) as threads:
            digests = list(threads.map(work, range(100)))
    print("progress: half way", file=sys.stderr, flush=True)
    print(json.dumps({
        "lines": int(tool.stdout),
        "warning": tool.stderr.strip(),
        "digests": len(set(digests)),
        "agent_type": os.environ.get("EXECD_AGENT_TYPE"),
        "task_id": os.environ.get("EXECD_TASK_ID"),
    }))
    return 0


sys.exit(main())
