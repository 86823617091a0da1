"""The queue of map tiles: bounded, latest batch first, nothing painted that left the view, no thread left behind."""

from __future__ import annotations

import threading

from workbench.widgets.tile_queue import MOST, Ask, TileQueue


def ask(name: str) -> Ask:
    return Ask(name, 0, 1, 2, 3, 256)


class Painter:
    """Notes what is painted; the first tile waits until it is let go."""

    def __init__(self) -> None:
        self.painted: list[str] = []
        self.refused: list[str] = []
        self.started, self.go = threading.Event(), threading.Event()
        self.queue = TileQueue(self.paint, lambda tile: self.refused.append(tile.id), self.paint, threads=1)

    def paint(self, tile: Ask) -> None:
        self.started.set()
        self.go.wait(10)
        self.painted.append(tile.id)

    def busy(self) -> None:
        self.queue.ask([ask("first")])
        assert self.started.wait(10)

    def finish(self, count: int) -> list[str]:
        self.go.set()
        for _ in range(1000):
            if len(self.painted) >= count:
                break
            threading.Event().wait(0.01)
        self.queue.close()
        return self.painted


def test_the_latest_batch_comes_first_and_keeps_its_order() -> None:
    painter = Painter()
    painter.busy()
    painter.queue.ask([ask("a"), ask("b")])
    painter.queue.ask([ask("c"), ask("d")])
    assert painter.finish(5) == ["first", "c", "d", "a", "b"]


def test_tiles_that_left_the_view_are_not_painted() -> None:
    painter = Painter()
    painter.busy()
    painter.queue.ask([ask("a"), ask("b"), ask("c")])
    painter.queue.drop(["b", "never asked for"])
    assert painter.finish(3) == ["first", "a", "c"]


def test_the_queue_is_bounded_and_refuses_the_oldest() -> None:
    painter = Painter()
    painter.busy()
    painter.queue.ask([ask(f"old {number}") for number in range(MOST)])
    painter.queue.ask([ask(f"new {number}") for number in range(3)])
    assert painter.refused == ["old 0", "old 1", "old 2"] and len(painter.queue) == MOST
    for turn in range(20):
        painter.queue.ask([ask(f"{turn} {number}") for number in range(MOST)])
    assert len(painter.queue) == MOST and sum(map(len, painter.queue._batches)) == MOST
    painter.go.set()
    painter.queue.close()


def test_each_thread_keeps_to_its_columns_while_there_are_any() -> None:
    columns: dict[str, set[int]] = {}
    together = threading.Barrier(2, timeout=10)

    def paint(tile: Ask) -> None:
        together.wait()
        columns.setdefault(threading.current_thread().name, set()).add(tile.x // 2 % 2)

    queue = TileQueue(paint, lambda tile: None, threads=2)
    queue.ask([Ask(f"{x} {y}", 0, x, y, 5, 256) for y in range(4) for x in range(8)])
    for _ in range(1000):
        if not len(queue):
            break
        threading.Event().wait(0.01)
    queue.close()
    assert sorted(columns.values(), key=str) == [{0}, {1}]


def test_closing_ends_the_threads_and_forgets_the_rest() -> None:
    painter = Painter()
    painter.busy()
    painter.queue.ask([ask("never")])
    threads = list(painter.queue._threads)
    painter.go.set()
    painter.queue.close()
    assert painter.painted in (["first"], ["first", "never"]) and not any(thread.is_alive() for thread in threads)
    painter.queue.ask([ask("late")])
    assert len(painter.queue) == 0 and not painter.queue._threads


def test_tiles_are_prepared_once_nothing_is_asked_for_and_a_request_ends_it() -> None:
    painter = Painter()
    painter.busy()
    painter.queue.prepare([ask("next"), ask("and next")])
    painter.queue.ask([ask("a")])
    painter.queue.prepare([ask("likely")])
    assert painter.finish(3) == ["first", "a", "likely"]


def test_nothing_is_prepared_in_a_closed_queue() -> None:
    painter = Painter()
    painter.busy()
    painter.queue.prepare([ask("next")])
    assert painter.finish(1) == ["first"]
