"""An echo server for pods, TCP and UDP, IPv4 and IPv6, on each port given.

UDP: the datagram comes back with "|NAME|CLIENT-ADDRESS|CLIENT-PORT" added.
TCP: on accept one line "NAME CLIENT-ADDRESS CLIENT-PORT", then each line back with "NAME " before it.
Connections live until the client ends them.  Bounded: CONNECTIONS_MAX connections (more are closed
at once), LINE_MAX bytes a line and UNSENT_MAX bytes unsent (a client past either is cut off).

Prints "ready" once all sockets listen; runs until a signal.  Standard library only: it is started
many times over, and must start fast.
"""

import os
import select
import socket
import sys

CONNECTIONS_MAX = 900
LINE_MAX = 4096
UNSENT_MAX = 65536


def listen_on(port):
    """Dual-stack UDP and TCP sockets on one port."""
    udp = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    tcp = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
    for sock in (udp, tcp):
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setblocking(False)
        sock.bind(("::", port))
    udp.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
    tcp.listen(1024)
    return udp, tcp


def plain(address):
    """An address as a user writes it: without the IPv4-mapped prefix."""
    return address[7:] if address.startswith("::ffff:") else address


class Connection:
    def __init__(self, sock, peer, name):
        self.sock, self.unread = sock, b""
        self.unsent = b"%s %s %d\n" % (name, plain(peer[0]).encode(), peer[1])


class Echo:
    def __init__(self, name, ports):
        self.name = name.encode()
        self.poll = select.epoll()
        self.udp, self.tcp, self.connections = {}, {}, {}
        for port in ports:
            udp, tcp = listen_on(port)
            self.udp[udp.fileno()] = udp
            self.tcp[tcp.fileno()] = tcp
            self.poll.register(udp, select.EPOLLIN)
            self.poll.register(tcp, select.EPOLLIN)

    def on_datagrams(self, sock):
        for _ in range(64):
            try:
                data, ancillary, _, peer = sock.recvmsg(65535, 64)
            except BlockingIOError:
                return
            except OSError:
                continue  # an ICMP error for an earlier answer
            # Answer from the address that was asked, by whatever device the route says.
            source = [(level, kind, value[:16] + bytes(4)) for level, kind, value in ancillary
                      if (level, kind) == (socket.IPPROTO_IPV6, socket.IPV6_PKTINFO)]
            answer = b"%s|%s|%s|%d" % (data, self.name, plain(peer[0]).encode(), peer[1])
            try:
                sock.sendmsg([answer], source, 0, peer)
            except OSError:
                pass  # no route back or a full queue: lost, as datagrams may be

    def on_accept(self, listener):
        for _ in range(64):
            try:
                sock, peer = listener.accept()
            except OSError:
                return
            if len(self.connections) >= CONNECTIONS_MAX:
                sock.close()
                continue
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection = Connection(sock, peer, self.name)
            self.connections[sock.fileno()] = connection
            self.poll.register(sock, select.EPOLLIN)
            self.flush(connection)

    def drop(self, connection):
        del self.connections[connection.sock.fileno()]
        connection.sock.close()

    def flush(self, connection):
        try:
            while connection.unsent:
                sent = connection.sock.send(connection.unsent)
                connection.unsent = connection.unsent[sent:]
        except BlockingIOError:
            pass
        except OSError:
            self.drop(connection)
            return
        if len(connection.unsent) > UNSENT_MAX:
            self.drop(connection)
            return
        want = select.EPOLLIN | (select.EPOLLOUT if connection.unsent else 0)
        self.poll.modify(connection.sock, want)

    def on_readable(self, connection):
        try:
            data = connection.sock.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.drop(connection)
            return
        *lines, connection.unread = (connection.unread + data).split(b"\n")
        if len(connection.unread) > LINE_MAX or any(len(line) > LINE_MAX for line in lines):
            self.drop(connection)
            return
        connection.unsent += b"".join(b"%s %s\n" % (self.name, line) for line in lines)
        self.flush(connection)

    def run(self):
        while True:
            for fd, events in self.poll.poll():
                if fd in self.udp:
                    self.on_datagrams(self.udp[fd])
                elif fd in self.tcp:
                    self.on_accept(self.tcp[fd])
                elif fd in self.connections:
                    connection = self.connections[fd]
                    if events & (select.EPOLLIN | select.EPOLLHUP | select.EPOLLERR):
                        self.on_readable(connection)
                    if fd in self.connections and events & select.EPOLLOUT:
                        self.flush(connection)


def main(argv):
    if len(argv) < 4 or argv[1] != "--name":
        sys.exit("usage: backend.py --name NAME PORT...")
    echo = Echo(argv[2], [int(p) for p in argv[3:]])
    os.write(1, b"ready\n")
    echo.run()


if __name__ == "__main__":
    main(sys.argv)
