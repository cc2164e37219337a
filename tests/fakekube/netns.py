"""Sockets: in another network namespace, and ended by a reset.

A socket stays in the namespace its thread was in when it was made: so the calling thread goes there
for the time of one system call or two and comes back.
"""

import contextlib
import ctypes
import os
import socket
import struct

_CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


def _enter(path):
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if _libc.setns(descriptor, _CLONE_NEWNET) != 0:
            number = ctypes.get_errno()
            raise OSError(number, f"setns to {path}: {os.strerror(number)}")
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def inside(name):
    """The calling thread is in the named namespace meanwhile ("" or None: where it is)."""
    if not name:
        yield
        return
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        _enter(f"/run/netns/{name}")
        try:
            yield
        finally:
            if _libc.setns(home, _CLONE_NEWNET) != 0:
                raise OSError(ctypes.get_errno(), "setns: no way back")
    finally:
        os.close(home)


def split_address(text):
    """(netns, host, port) of "192.0.2.1:6443" or "api@[2001:db8::1]:6443"."""
    netns, _, place = text.rpartition("@")
    host, _, port = place.rpartition(":")
    if not host or not port.isdigit():
        raise SystemExit(f"{text}: expected [NETNS@]ADDRESS:PORT")
    return netns, host.strip("[]"), int(port)


def _tcp(address):
    # asyncio turns Nagle's algorithm off only where the protocol is named.
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)


def unconnected(name, address):
    """A TCP socket in a namespace, for an address of this kind."""
    with inside(name):
        sock = _tcp(address)
    sock.setblocking(False)
    return sock


def listen(name, address, port):
    """A bound TCP socket, not yet listening, in a namespace."""
    with inside(name):
        sock = _tcp(address)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if sock.family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind((address, port))
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return sock


def reset(transport):
    """Ends a connection by a TCP reset: the peer sees an error, not an end."""
    sock = transport.get_extra_info("socket")
    if sock is not None and sock.fileno() >= 0:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()
