"""A local web page over a store and the runs that go on in it: `checkpoint ui`.

Needs the extra `ui`. Everything shown is read from the store when it is asked for; the page has no state of its own.
It is read-only unless it is told otherwise, and is for the one person who has its address.

Next: cli/lazy.py
"""

from checkpoint.ui.address import Address
from checkpoint.ui.app import serve

__all__ = ["Address", "serve"]
