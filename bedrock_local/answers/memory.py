"""Remember what was worked out about a long text, so that asking it again costs little."""

from collections import OrderedDict
from collections.abc import Callable
from hashlib import blake2b
from threading import Lock
from typing import Generic, TypeVar

Value = TypeVar("Value")


def digest(*parts: str) -> str:
    """Name a list of texts by its content; the borders between the texts count."""
    state = blake2b(digest_size=16)
    for part in parts:
        data = part.encode("utf-8", "surrogatepass")
        state.update(len(data).to_bytes(8, "big"))
        state.update(data)
    return state.hexdigest()


class Memory(Generic[Value]):
    """Keep the most recently used values up to a bound; safe to share between threads.

    Two threads that miss the same key at once both work it out: the lock is never held over the work.
    """

    def __init__(self, bound: int) -> None:
        self._bound = bound
        self._values: OrderedDict[str, Value] = OrderedDict()
        self._lock = Lock()

    def get(self, key: str, work_out: Callable[[], Value]) -> Value:
        """Return the value of a key, working it out on the first ask."""
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
                return self._values[key]
        value = work_out()
        with self._lock:
            self._values[key] = value
            self._values.move_to_end(key)
            while len(self._values) > self._bound:
                self._values.popitem(last=False)
        return value

    def __len__(self) -> int:
        with self._lock:
            return len(self._values)
