"""Work in a process of its own that needs no import: a copy of the test's."""

import os
import traceback
from collections.abc import Callable
from typing import TextIO


class Fork:
    """A child that does the work, and tells of it line by line by the file that the work is given.

    It holds copies of this process' locks: start it before threads of the test's own; it may compute and write.
    """

    def __init__(self, work: Callable[[TextIO], None]) -> None:
        reading, writing = os.pipe()
        self._child = os.fork()
        if not self._child:
            code = 1  # whatever happens: never back into the tests
            try:
                with os.fdopen(writing, "w", buffering=1) as log:
                    work(log)
                code = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(code)
        os.close(writing)
        self.log = os.fdopen(reading)

    def end(self) -> tuple[int, list[str]]:
        """Its exit code, negative for a signal, and the lines that were not read yet."""
        with self.log:
            said = self.log.read().splitlines()
        return os.waitstatus_to_exitcode(os.waitpid(self._child, 0)[1]), said
