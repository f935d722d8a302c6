"""Takes rights away from this process, then becomes the command: `confine.py MEMORY CPU FILE COMMAND...`.

A script of its own, so that nothing runs between fork and exec in a process that has threads. It imports only
the standard library.
"""

import contextlib
import os
import resource
import sys


def main() -> None:
    """Limits in bytes, CPU seconds and bytes per written file; a core dump would be a copy of the upload."""
    memory, cpu_seconds, file_bytes, *command = sys.argv[1:]
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(file_bytes), int(file_bytes)))
    resource.setrlimit(resource.RLIMIT_CPU, (int(cpu_seconds), int(cpu_seconds) + 1))
    with contextlib.suppress(ValueError):  # macOS refuses to limit the address space
        resource.setrlimit(resource.RLIMIT_AS, (int(memory), int(memory)))
    os.execv(command[0], command)  # noqa: S606 (no shell is the point)


if __name__ == "__main__":
    main()
