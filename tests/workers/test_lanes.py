"""Lanes: a slow kind never takes every thread."""

import threading

from workers.delivery import Delivery
from workers.lanes import Lane


def deliveries(count: int) -> list[Delivery]:
    return [object() for _ in range(count)]  # type: ignore[misc]


def test_no_more_are_under_way_than_the_lane_is_wide_and_they_leave_in_order():
    taken: list[Delivery] = []
    lane = Lane(2, taken.append)
    five = deliveries(5)
    lane.enter(five)
    assert taken == five[:2]
    lane.left()
    assert taken == five[:3]
    lane.left()
    lane.left()
    assert taken == five
    lane.left()
    lane.left()
    more = deliveries(1)
    lane.enter(more)
    assert taken == five + more, "a lane that was empty is open"


def test_many_threads_lose_and_double_none():
    taken: list[Delivery] = []
    lane = Lane(3, taken.append)
    crowd = deliveries(300)
    threads = [threading.Thread(target=lane.enter, args=([one],)) for one in crowd]
    threads += [threading.Thread(target=lane.left) for _ in range(297)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(taken) == len({id(one) for one in taken}) == 300
