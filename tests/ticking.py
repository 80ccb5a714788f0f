"""A process with a schedule and nothing else: it writes a JSON line for every tick and every step that is noticed.

Arguments: the interval in seconds. It ends with its standard input.
"""

from __future__ import annotations

import json
import sys
import time

from domstat.schedule import Schedule


def main() -> None:
    def say(**facts: object) -> None:
        sys.stdout.write(json.dumps(facts) + "\n")
        sys.stdout.flush()

    def tick(due_ms: int) -> None:
        say(due_ms=due_ms, wall_ms=time.time_ns() // 1_000_000, boot_s=time.clock_gettime(time.CLOCK_BOOTTIME))

    schedule = Schedule(
        lambda _name: say(skipped=True), lambda step_s: say(step_s=step_s), lambda suspend_s: say(suspend_s=suspend_s)
    )
    schedule.add("tick", float(sys.argv[1]), tick)
    schedule.start()
    sys.stdin.read()
    schedule.stop()


if __name__ == "__main__":
    main()
