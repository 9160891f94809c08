"""Delivering updates to subscribers, and taking them back.

Owns: the order of service and of undoing. Must not know regions, nor how a change is planned.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from emuvm.abi.tuples import NamedTuple
from emuvm.mm.types import Callback, Update


class Subscriber(NamedTuple):
    """Who is told: each update, and that the change is done."""

    callback: Callback
    committed: Callable[[], None] | None


Subscribers = tuple[Subscriber, ...]


def deliver(subscribers: Subscribers, updates: list[Update]) -> None:
    """Each update to each subscriber, in order. If one raises, all who saw an update see its inverse, and the error goes on."""
    # What was delivered is told by where the loops stand: a list of it would be one more allocation that can fail.
    update: Update | None = None
    subscriber: Subscriber | None = None
    try:
        for update in updates:
            subscriber = None
            for subscriber in subscribers:
                subscriber.callback(update)
    except BaseException as error:
        _undo(subscribers, updates, update, subscriber, error)
        raise


def _undo(
    subscribers: Subscribers, updates: list[Update], update: Update | None, subscriber: Subscriber | None, error: BaseException
) -> None:
    """Deliver the inverse of everything in front of (update, subscriber), last first."""
    reached = False
    for past in reversed(updates):
        for one in reversed(subscribers):
            if not reached:
                reached = past is update and one is subscriber
                continue
            try:
                one.callback(past.inverse())
            except BaseException as second:
                error.add_note(f"undoing {past.kind.value} {past.start:#x}-{past.end:#x} failed too: {second!r}")
        reached = reached or past is update


def attempt(call: Callable[..., None], failure: BaseException | None, *args: Any) -> BaseException | None:
    """Call something that comes after the commit: all of them get their turn, the first failure is kept."""
    try:
        call(*args)
    except BaseException as error:
        return failure or error
    return failure
