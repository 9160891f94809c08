"""Delivering updates to subscribers, and taking them back.

Owns: the order of service and of undoing. Must not know regions, nor how a change is planned.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from emuvm.abi.tuples import NamedTuple
from emuvm.mm.types import Callback, Kind, Update

Again = Callable[[], None]
"""Does at once what some updates and the end of their change came to before. It cannot refuse."""
Prepare = Callable[[list[Update]], "Again | None"]


class Subscriber(NamedTuple):
    """Who is told: each update, and that the change is done. `prepare`: an `Again` for these updates, None to be told one by one."""

    callback: Callback
    committed: Callable[[], None] | None
    prepare: Prepare | None = None


Subscribers = tuple[Subscriber, ...]


def deliver(subscribers: Subscribers, updates: list[Update]) -> None:
    """Each update to each subscriber, in order. If one raises, all who saw an update see its inverse, and the error goes on.

    Taking back starts where the error came from and goes to the first step. All it needs is made before anybody is told:
    when memory has run out, it works without.
    """
    steps: list[tuple[Callback, Update, Update]] = []
    for update in updates:
        inverse = update.inverse()
        for subscriber in subscribers:
            steps.append((subscriber.callback, update, inverse))
    backwards = reversed(steps)
    step = None
    try:
        for step in steps:
            step[0](step[1])
    except BaseException as error:
        for past in backwards:
            if past is step:
                break
        for callback, _update, inverse in backwards:
            try:
                callback(inverse)
            except BaseException as second:
                _note(error, inverse, second)
        raise


def deliver_one(subscribers: Subscribers, update: Update) -> None:
    """`deliver` of what most changes are."""
    inverse, backwards = update.inverse(), reversed(subscribers)
    last = None
    try:
        for last in subscribers:
            last.callback(update)
    except BaseException as error:
        for subscriber in backwards:
            if subscriber is last:
                break
        for subscriber in backwards:
            try:
                subscriber.callback(inverse)
            except BaseException as second:
                _note(error, inverse, second)
        raise


def undoes(update: Update, last: Update) -> bool:
    """Is `update` the inverse of `last`, which came just before? Inverses carry the same region objects; new regions are new objects."""
    return update.old is last.new and update.new is last.old and (update.kind is Kind.MOVE) == (last.kind is Kind.MOVE)


def _note(error: BaseException, inverse: Update, second: BaseException) -> None:
    try:
        error.add_note(f"taking back failed too, at {inverse.kind.value} {inverse.start:#x}-{inverse.end:#x}: {second!r}")
    except BaseException:
        # No memory for a note, or an error that cannot be shown: taking back the other steps matters more.
        pass


Call = tuple[Callable[..., Any], tuple[Any, ...]]
"""A function and its arguments."""


def finish(calls: Iterator[Call]) -> None:
    """What comes after the commit: all of them get their turn, then the first failure is raised."""
    failure: BaseException | None = None
    for function, args in calls:
        try:
            function(*args)
        except BaseException as error:
            if failure is None:
                failure = error
    if failure is not None:
        raise failure
