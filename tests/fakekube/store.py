"""Objects, their history and their journal: what etcd and the watch cache are to the real server.

One counter numbers all writes.  Each kind has a table of its current entries and a bounded log of
events, from which watches are served: a watch is an index into the log, so an event costs nothing
per watcher until that watcher wakes, and is serialised once for all of them.

Entries are never changed in place: a list taken earlier stays as it was, which is what paging
needs.  Every write is appended to the journal before it is answered, so that a killed server
comes back with all that it had acknowledged.  As with the real server, a restart loses the event
history: watches can resume from the counter at the start, and not from before.

Everything here runs on the event loop's thread, without awaiting: each call is atomic.
"""

import asyncio
import json
import os

from .resources import BY_KEY


def dump(obj):
    """Compact JSON as bytes."""
    return json.dumps(obj, ensure_ascii=False, separators=(",", ":")).encode()


class Entry:
    """One version of one object.  `obj` has no kind and apiVersion and must not be changed."""

    __slots__ = ("resource", "namespace", "name", "rv", "obj", "_raw")

    def __init__(self, resource, obj, rv):
        meta = obj["metadata"]
        self.resource = resource
        self.namespace = meta.get("namespace", "")
        self.name = meta["name"]
        self.rv = rv
        self.obj = obj
        self._raw = None

    @property
    def key(self):
        """Its place in the table."""
        return (self.namespace, self.name)

    @property
    def item(self):
        """JSON as it stands in a list: without kind and apiVersion."""
        if self._raw is None:
            self._raw = dump(self.obj)
        return self._raw

    @property
    def whole(self):
        """JSON as it stands alone: with kind and apiVersion."""
        head = f'{{"kind":"{self.resource.kind}","apiVersion":"{self.resource.api_version}",'
        return head.encode() + self.item[1:]


class Event:
    """One write, as watches report it: what was there before, what is there now."""

    __slots__ = ("rv", "before", "after", "_lines")

    def __init__(self, rv, before, after):
        self.rv = rv
        self.before = before
        self.after = after
        self._lines = {}

    def line(self, selection):
        """The line a watch with this selection gets, or None if it concerns it not at all."""
        was = self.before is not None and selection.matches(self.before)
        now = self.after is not None and selection.matches(self.after)
        if not was and not now:
            return None
        kind = "MODIFIED" if was and now else "ADDED" if now else "DELETED"
        if kind not in self._lines:
            self._lines[kind] = event_line(kind, self.after if now else self._gone())
        return self._lines[kind]

    def _gone(self):
        """The last state of an object, under the version of the write that took it away."""
        obj = dict(self.before.obj)
        obj["metadata"] = {**obj["metadata"], "resourceVersion": str(self.rv)}
        return Entry(self.before.resource, obj, self.rv)


def event_line(kind, entry):
    """One line of a watch stream."""
    return b'{"type":"%s","object":%s}\n' % (kind.encode(), entry.whole)


class Table:
    """All objects of one kind."""

    def __init__(self, resource, floor, history):
        self.resource = resource
        self.entries = {}
        self.floor = floor      # a watch can resume from this version or a later one
        self.log = []           # events after floor, oldest first
        self.base = 0           # number of the first event in log, counted from the start
        self._history = history
        self._sorted = None
        self._waiters = set()

    def in_order(self):
        """The entries, ordered by namespace and name as etcd orders them."""
        if self._sorted is None:
            self._sorted = [self.entries[k] for k in sorted(self.entries)]
        return self._sorted

    def publish(self, event):
        """Puts an event into the log and wakes all watches."""
        entry = event.after or event.before
        if event.after is None:
            del self.entries[entry.key]
        else:
            self.entries[entry.key] = event.after
        self._sorted = None
        self.log.append(event)
        if len(self.log) > 2 * self._history:
            self.forget(len(self.log) - self._history)
        self.wake()

    def forget(self, count):
        """Drops the oldest events, as compaction does."""
        if count > 0:
            self.floor = self.log[count - 1].rv
            del self.log[:count]
            self.base += count

    def position_after(self, rv):
        """The number of the first event later than rv."""
        low, high = 0, len(self.log)
        while low < high:
            middle = (low + high) // 2
            if self.log[middle].rv <= rv:
                low = middle + 1
            else:
                high = middle
        return self.base + low

    @property
    def end(self):
        """The number that the next event will have."""
        return self.base + len(self.log)

    def wake(self):
        """Lets every waiting watch look again."""
        waiters, self._waiters = self._waiters, set()
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    async def wait(self, seconds):
        """Waits for an event or until the time is over."""
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.add(waiter)
        try:
            await asyncio.wait_for(waiter, seconds)
        except asyncio.TimeoutError:
            pass
        finally:
            self._waiters.discard(waiter)


class Store:
    """All tables, the counter and the journal."""

    def __init__(self, path=None, history=10000):
        self.rv = 1
        self._history = history
        self._journal = None
        self.tables = {k: Table(r, 0, history) for k, r in BY_KEY.items()}
        if path:
            self._open(path)
        for table in self.tables.values():
            table.floor = self.rv

    def table(self, resource):
        """The table of a kind."""
        return self.tables[resource.key]

    def get(self, resource, namespace, name):
        """The current entry, or None."""
        return self.tables[resource.key].entries.get((namespace or "", name))

    def put(self, resource, obj):
        """Writes an object under a new version; returns its entry.  Takes over `obj`."""
        self.rv += 1
        obj["metadata"]["resourceVersion"] = str(self.rv)
        entry = Entry(resource, obj, self.rv)
        table = self.tables[resource.key]
        before = table.entries.get(entry.key)
        self._record(resource, entry.key, entry.item)
        table.publish(Event(self.rv, before, entry))
        return entry

    def remove(self, entry, last=None):
        """Removes an object; `last` is its final state if that differs.  Returns that state's
        entry under the version of the removal."""
        self.rv += 1
        self._record(entry.resource, entry.key, b"null")
        before = Entry(entry.resource, last, entry.rv) if last else entry
        event = Event(self.rv, before, None)
        self.tables[entry.resource.key].publish(event)
        return event._gone()  # pylint: disable=protected-access

    def compact(self):
        """Forgets all history: watches can resume from now on only."""
        for table in self.tables.values():
            table.forget(len(table.log))
            table.floor = self.rv

    def _record(self, resource, key, raw):
        if self._journal is None:
            return
        head = dump({"rv": self.rv, "table": resource.key, "key": key})
        os.write(self._journal, head[:-1] + b',"object":' + raw + b"}\n")

    def _open(self, path):
        if os.path.exists(path):
            self._replay(path)
        self._rewrite(path)
        self._journal = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)

    def _replay(self, path):
        """Reads a journal.  A last line without its end was never acknowledged: ignored."""
        with open(path, "rb") as file:
            for line in file:
                if not line.endswith(b"\n"):
                    break
                record = json.loads(line)
                self.rv = max(self.rv, record["rv"])
                table = self.tables.get(record["table"])
                if table is None:
                    continue
                if record["object"] is None:
                    table.entries.pop(tuple(record["key"]), None)
                else:
                    obj = record["object"]
                    entry = Entry(table.resource, obj, int(obj["metadata"]["resourceVersion"]))
                    table.entries[entry.key] = entry

    def _rewrite(self, path):
        """Replaces the journal by one line per live object."""
        with open(path + ".new", "wb") as file:
            file.write(dump({"rv": self.rv, "table": "", "key": [], "object": None}) + b"\n")
            for table in self.tables.values():
                for entry in table.entries.values():
                    head = dump({"rv": entry.rv, "table": table.resource.key, "key": entry.key})
                    file.write(head[:-1] + b',"object":' + entry.item + b"}\n")
        os.replace(path + ".new", path)
