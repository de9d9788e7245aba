"""Clears up after a launcher that was killed.

    python -m scenarios.processes.reaper FOLDER

waits for the end of its standard input, which is the end of the launcher, however it came;
then it stops every process of the run whose temporary folder is FOLDER, and deletes that.
Ray's helpers would otherwise outlive their run for good.
"""

import os
import shutil
import sys

from scenarios.processes.tree import stop_all


def main() -> None:
    """Wait, then stop all."""
    folder = sys.argv[1]
    os.read(0, 1)
    stop_all(set(), folder)
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
