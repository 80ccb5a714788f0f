"""Orders: whoever gives them, and at whatever moment, they are read, each once and in their order."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
from pathlib import Path

from domstat.orders import Order, Orders

PATIENCE_S = 30.0

ELSEWHERE = """
import signal, threading, time
from domstat.orders import Order, Orders

orders = Orders()
signal.set_wakeup_fd(orders.wakeup_fd, warn_on_full_buffer=False)
signal.signal(signal.SIGTERM, lambda *_: orders.put(Order.STOP))

def strike():
    time.sleep(0.2)  # by then the main thread sleeps, and the signal does not interrupt it
    signal.pthread_kill(threading.get_ident(), signal.SIGTERM)

threading.Thread(target=strike, daemon=True).start()
print(orders.get().value)
"""
"""A signal that interrupts another thread than the one that runs handlers."""


def test_orders_are_read_in_their_order() -> None:
    orders = Orders()
    for order in (Order.RELOAD, Order.RELOAD, Order.STOP):
        orders.put(order)
    assert [orders.get() for _ in range(3)] == [Order.RELOAD, Order.RELOAD, Order.STOP]


def test_a_reader_sleeps_until_another_thread_gives_one() -> None:
    orders, got = Orders(), list[Order]()
    reader = threading.Thread(target=lambda: got.append(orders.get()), daemon=True)
    reader.start()
    reader.join(0.05)
    assert reader.is_alive()
    orders.put(Order.STOP)
    reader.join(PATIENCE_S)
    assert got == [Order.STOP]


def test_a_pipe_that_is_full_holds_up_nobody_and_loses_nothing() -> None:
    orders = Orders()
    with os.fdopen(os.dup(orders.wakeup_fd), "wb", buffering=0) as pipe:
        while pipe.write(bytes(4096)):
            pass
    orders.put(Order.RELOAD)
    orders.put(Order.STOP)
    assert [orders.get(), orders.get()] == [Order.RELOAD, Order.STOP]


def test_a_signal_wakes_the_main_thread_wherever_the_kernel_delivers_it() -> None:
    """Or comes when the main thread is about to sleep: one stop in sixty was not heard on a busy machine."""
    done = subprocess.run(
        [sys.executable, "-c", ELSEWHERE], capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    assert (done.stdout, done.stderr) == ("stop\n", "")


def test_the_pipe_is_closed_with_the_orders() -> None:
    orders = Orders()
    entry = Path(f"/proc/self/fd/{orders.wakeup_fd}")
    held = entry.readlink()
    del orders
    gc.collect()
    assert not entry.exists() or entry.readlink() != held
