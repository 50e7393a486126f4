"""Says hello beside the main thread: a hello with thousands of parameters takes milliseconds to write.

Nothing in here touches `td`: what is said was gathered before, on the main thread.
"""

import queue
import threading

from lightfast_link.client import LinkClient

from . import connect


class Greeter:
    """Makes the link's client and changes what it says, one thing after the other."""

    def __init__(self):
        self._work = queue.Queue()
        self._lock = threading.Lock()
        self._client = None
        self._left = False
        self.problem = ""
        self._thread = threading.Thread(target=self._run, name="lightfast-greeting", daemon=True)
        self._thread.start()

    @property
    def client(self):
        """The client, `None` until it is made."""
        return self._client

    def join(self, home, hello):
        """Make the client; it connects by itself."""
        self._work.put(lambda: self._make(home, hello))

    def again(self, changes):
        """Change fields of the hello, and join anew."""
        self._work.put(lambda: self._client is not None and self._client.rehello(**changes))

    def leave(self, timeout):
        """End: the client says goodbye, in at most *timeout* seconds."""
        with self._lock:
            self._left = True
            client = self._client
        self._work.put(None)
        if client is not None:
            client.close(timeout)

    def _make(self, home, hello):
        made = LinkClient(connect.transport(home), hello)
        with self._lock:
            if not self._left:
                self._client = made.start()

    def _run(self):
        while True:
            work = self._work.get()
            if work is None:
                return
            try:
                work()
            except (OSError, RuntimeError, ValueError) as error:
                self.problem = "hello could not be said: %s" % error
