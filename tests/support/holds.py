"""The time for which one call holds the interpreter's lock, in its thread's CPU time."""

import contextlib
import gc
import sys
import time


def least_hold(function, *arguments, suppress=Exception, tries=10, enough=0.05):
    """The least of a few `longest_hold`: a page fault or a cold cache takes much longer."""
    found = [longest_hold(function, *arguments, suppress=suppress)]
    while len(found) < tries and min(found)[0] > enough:
        found.append(longest_hold(function, *arguments, suppress=suppress))
    return min(found)


def longest_hold(function, *arguments, suppress=Exception):
    """The longest hold, and the time of the whole call, in seconds of processor time.

    A hold is the time between two calls or returns of Python or C. Between two of them no other thread can run;
    after each of them one may.
    """
    longest = 0.0
    clock = time.thread_time

    def profile(frame, event, argument):
        nonlocal longest, last
        now = clock()
        if now - last > longest:
            longest = now - last
        last = clock()

    gc.disable()  # a collection takes as long as this process has objects; a service's are frozen
    began = last = clock()
    sys.setprofile(profile)
    try:
        with contextlib.suppress(suppress):
            function(*arguments)
    finally:
        sys.setprofile(None)
        gc.enable()
    return longest, clock() - began
