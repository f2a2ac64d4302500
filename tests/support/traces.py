"""What strace wrote down, in the order in which it happened."""

import re


def finished(trace: str) -> list[str]:
    """Return the calls in the order in which they ended, each as one line without its process id."""
    begun: dict[str, str] = {}
    calls = []
    for line in trace.splitlines():
        pid, _, call = line.partition(" ")
        call = call.strip()
        if call.endswith("<unfinished ...>"):
            begun[pid] = call.removesuffix("<unfinished ...>").rstrip()
        elif resumed := re.match(r"<\.\.\. \w+ resumed>(.*)", call):
            calls.append(begun.pop(pid, "") + resumed[1])
        else:
            calls.append(call)
    return calls
